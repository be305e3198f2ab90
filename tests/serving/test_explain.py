"""Explanations: exact for trees, exact for what adds up, always adding up to the score; an example that looks real."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import lightgbm
import numpy as np
import pytest

from raypipe.serving.app import MOST_EXPLAINED
from raypipe.serving.engine import Engine
from raypipe.serving.explain import explainer
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from tests.serving.conftest import GOLDEN
from tests.serving.reader import FakeReader
from tests.serving.test_parse import GOOD

Open = Callable[[], httpx.AsyncClient]
WEIGHTS = np.array([0.3, 0.01, 0.0001, 0.02])


def ask(client: Open, body: object, query: str) -> httpx.Response:
    async def post() -> httpx.Response:
        async with client() as http:
            return await http.post(f"/late/predict{query}", json=body)

    return asyncio.run(post())


def test_an_additive_model_is_explained_exactly(client: Open, engine: Engine) -> None:
    told = ask(client, GOOD, "?explain=true").json()
    why = told["explanation"]
    assert why["method"] == "sampled-shapley"
    odds = np.log(told["probability"] / (1 - told["probability"]))
    assert why["base"] + sum(why["contributions"].values()) == pytest.approx(odds, abs=1e-4)
    starts = np.nan_to_num(engine.model.encode(GOLDEN)).mean(axis=0)
    row = np.nan_to_num(engine.matrix(engine.parser.convert([GOOD]))[0])
    assert list(why["contributions"].values()) == pytest.approx(list(WEIGHTS * (row - starts)), abs=1e-4)
    assert list(why["contributions"]) == list(engine.model.pipeline.feature_names)


def test_many_rows_are_explained_and_none_unasked(client: Open) -> None:
    told = ask(client, {"rows": [GOOD, GOOD | {"carrier": "AA"}]}, "?explain=true").json()["predictions"]
    assert told[0]["explanation"] != told[1]["explanation"]
    assert "explanation" not in ask(client, GOOD, "?explain=false").json()
    assert "explanation" not in ask(client, GOOD, "").json()
    assert ask(client, {"rows": [GOOD] * (MOST_EXPLAINED + 1)}, "?explain=true").status_code == 413
    for query in ("?explain=", "?explain=yes", "?explain=true&explain=true"):
        assert ask(client, GOOD, query).json()["error"]["field"] == "explain"


def test_trees_are_told_by_their_own_shap_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)).astype(np.float32)
    x[::7, 1] = np.nan
    y = (np.nan_to_num(x[:, 0] * x[:, 1]) + x[:, 2] > 0).astype(float)
    booster = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(x, y), 20)
    (tmp_path / "model.txt").write_text(booster.model_to_string())
    columns = [SimpleNamespace(name=name) for name in "abc"]
    model: Any = SimpleNamespace(
        served=Served(folder=str(tmp_path), digest="", version=1),
        card=SimpleNamespace(algorithm="lightgbm"),
        signature=SimpleNamespace(columns=columns),
    )
    found = explainer(model)(x[:20])
    assert {one.method for one in found} == {"tree-shap"}
    odds = [one.base + sum(one.contributions.values()) for one in found]
    assert odds == pytest.approx(booster.predict(x[:20], raw_score=True), abs=1e-9)
    # A feature that no tree reads adds nothing; another one does.
    assert any(abs(one.contributions["c"]) > 0.1 for one in found)


@pytest.mark.parametrize(("suggested", "flight"), [({"flight": 1545, "origin": "JFK"}, 1545), ({"flight": "x"}, 1)])
def test_the_example_is_a_real_question_where_there_is_one(
    served: Served, tmp_path: Path, suggested: Mapping[str, object], flight: int
) -> None:
    pointer = Pointer(tmp_path / "serving", "late")
    assert pointer.suggested() == {}
    pointer.suggest(suggested)
    example = Engine(served, FakeReader, Meter(), suggested=pointer.suggested()).example()
    assert (example["flight"], example["carrier"]) == (flight, "AA")
    assert example["origin"] == suggested.get("origin", "text")
