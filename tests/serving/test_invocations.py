"""MLflow's scoring protocol: all forms of a request give the same answer, and MLflow's own client reads it."""

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator

import httpx
import pandas as pd
import polars as pl
import pytest
import uvicorn

from raypipe.serving.app import App
from tests.serving.test_parse import GOOD

Open = Callable[[], httpx.AsyncClient]
ROWS = [GOOD, GOOD | {"carrier": "AA", "flight": 2}]
JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


def send(client: Open, body: object, kind: str = JSON) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client() as http:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            return await http.post("/late/invocations", content=content, headers={"Content-Type": kind})

    return asyncio.run(ask())


def parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


FRAME = pl.DataFrame(ROWS)
TIMES = FRAME.with_columns(pl.col("scheduled_at").str.to_datetime("%+", time_zone="UTC"))
COLUMNS = {name: FRAME[name].to_list() for name in FRAME.columns}
FORMS: dict[str, tuple[object, str]] = {
    "split": ({"dataframe_split": {"columns": FRAME.columns, "data": [list(r.values()) for r in ROWS]}}, JSON),
    "split with index": (
        {"dataframe_split": {"index": [0, 1], "columns": FRAME.columns, "data": [list(r.values()) for r in ROWS]}},
        JSON,
    ),
    "records": ({"dataframe_records": ROWS, "params": {"x": 1}}, "application/json; charset=utf-8"),
    "instances": ({"instances": ROWS}, JSON),
    "instances as rows": ({"instances": [list(row.values()) for row in ROWS]}, JSON),
    "inputs": ({"inputs": COLUMNS, "params": None}, JSON),
    "csv": (FRAME.with_columns(charter=pl.lit("false")).write_csv().encode(), CSV),
    "parquet": (parquet(FRAME), PARQUET),
    "parquet with times": (parquet(TIMES), PARQUET),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_gives_the_same_answer(client: Open, form: str) -> None:
    async def ask() -> list[float]:
        async with client() as http:
            told = (await http.post("/late/predict", json={"rows": ROWS})).json()["predictions"]
            return [one["probability"] for one in told]

    answer = send(client, *FORMS[form])
    assert answer.status_code == 200, answer.text
    assert answer.json().pop("predictions") == asyncio.run(ask())
    assert (answer.json()["model"], answer.json()["version"]) == ("late", 1)


WRONG: dict[str, tuple[object, str, int]] = {
    "no form": ({}, JSON, 400),
    "two forms": ({"instances": [], "inputs": []}, JSON, 400),
    "other keys": ({"instances": ROWS, "x": 1}, JSON, 400),
    "a list": ([1], JSON, 400),
    "no rows": ({"instances": []}, JSON, 400),
    "too many rows": ({"instances": [{}] * 4_097}, JSON, 413),
    "ragged": ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, JSON, 400),
    "columns twice": ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, JSON, 400),
    "columns of two lengths": ({"inputs": {"a": [1], "b": [1, 2]}}, JSON, 400),
    "params": ({"inputs": COLUMNS, "params": 1}, JSON, 400),
    "wrong value": ({"instances": [GOOD | {"flight": "1"}]}, JSON, 400),
    "NaN": (json.dumps({"instances": [GOOD | {"distance": float("nan")}]}).encode(), JSON, 400),
    "keys twice": (b'{"inputs": {}, "inputs": {}}', JSON, 400),
    "nested deeply": (b'{"inputs": ' + b"[" * 50_000 + b"]" * 10, JSON, 400),
    "long number": (b'{"inputs": ' + b"9" * 5_000 + b"}", JSON, 400),
    "lone surrogate": (b'{"inputs": "\\ud800"}', JSON, 400),
    "no content type": ({}, "", 415),
    "text": (b"x", "text/plain", 415),
    "latin-1": (b"{}", "application/json; charset=latin-1", 415),
    "no csv": (b'a,b\n"', CSV, 400),
    "ragged csv": (b"a,b\n1\n", CSV, 400),
    "not utf-8": (b"a,b\n\xff,1\n", CSV, 400),
    "no parquet": (b"PAR1xxxxPAR1", PARQUET, 400),
    "lists in parquet": (parquet(FRAME.with_columns(flight=pl.lit([1]))), PARQUET, 400),
    "naive time in parquet": (
        parquet(TIMES.with_columns(pl.col("scheduled_at").dt.replace_time_zone(None))),
        PARQUET,
        400,
    ),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_body_is_refused_without_repeating_it(client: Open, case: str) -> None:
    body, kind, status = WRONG[case]
    answer = send(client, body, kind)
    assert answer.status_code == status, answer.text
    if status == 415:
        assert answer.headers["content-type"].startswith("text/plain")
    else:
        assert set(answer.json()) == {"error_code", "message"}
    assert "ud800" not in answer.text


@pytest.fixture
def port(app: App, free_port: Callable[[], int]) -> Iterator[int]:
    number = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=number, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield number
    server.should_exit = True
    thread.join()


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow.*")
def test_mlflows_own_client(port: int) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    # The client takes the port for the end of the address, so a path may follow it.
    client = ScoringServerClient("127.0.0.1", f"{port}/late")  # type: ignore[no-untyped-call]
    client.wait_server_ready(timeout=10)
    answer = client.invoke(pd.DataFrame(ROWS), params={"x": 1})
    assert answer.get_predictions().shape == (2, 1)
    assert httpx.get(f"http://127.0.0.1:{port}/late/version").text == client.get_version()
