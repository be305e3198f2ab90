"""Whatever is wrong with a request, and by whichever protocol it comes: its own words do not come back."""

import asyncio
import json

import httpx
import pytest

from raypipe.serving.app import App
from tests.serving.test_parse import CANARY, GOOD

TENSOR = {"name": CANARY, "datatype": "BYTES", "shape": [1], "data": [CANARY]}
REQUESTS: dict[str, tuple[str, object]] = {
    "predict": ("/late/predict", GOOD | {CANARY: CANARY}),
    "predict, explain": (f"/late/predict?explain={CANARY}", GOOD),
    "a path": (f"/late/{CANARY}", GOOD),
    "records": ("/late/invocations", {"dataframe_records": [GOOD | {CANARY: CANARY}]}),
    "split": ("/late/invocations", {"dataframe_split": {"columns": [CANARY], "data": [[CANARY]]}}),
    "an unknown form": ("/late/invocations", {CANARY: CANARY}),
    "inputs": ("/late/invocations", {"inputs": {CANARY: [CANARY]}}),
    "a tensor": ("/late/v2/models/late/infer", {"inputs": [TENSOR]}),
    "a datatype": ("/late/v2/models/late/infer", {"inputs": [TENSOR | {"name": "carrier", "datatype": CANARY}]}),
    "an output": ("/late/v2/models/late/infer", {"inputs": [TENSOR], "outputs": [{"name": CANARY}]}),
    "a model": (f"/late/v2/models/{CANARY}/infer", {"inputs": [TENSOR]}),
    "a version": (f"/late/v2/models/late/versions/{CANARY}/infer", {"inputs": [TENSOR]}),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_an_error_holds_nothing_of_the_request(app: App, case: str) -> None:
    path, body = REQUESTS[case]

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    answer = asyncio.run(ask())
    assert 400 <= answer.status_code < 500
    assert CANARY not in answer.text
