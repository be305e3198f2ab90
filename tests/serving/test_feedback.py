"""Feedback: late, repeated, corrected; on the disk before it is acknowledged, in the lake with its time."""

import asyncio
import json
from pathlib import Path

import httpx
import polars as pl
import pytest

from raypipe.clock import ManualClock
from raypipe.contracts.logs import FEEDBACK
from raypipe.contracts.target import Target
from raypipe.errors import RequestError
from raypipe.flows.collect import collect
from raypipe.lake import Lake
from raypipe.serving.answers import Answers
from raypipe.serving.app import App
from raypipe.serving.feedback import FeedbackFace, FeedbackLog, parse


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def told(app: App, tmp_path: Path, clock: ManualClock):
    app.add(FeedbackFace(FeedbackLog(tmp_path / "log" / "feedback" / "late", clock), 10_000, 1.0))

    def tell(body: object) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
                headers = {"content-type": "application/json"}
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                return await client.post("/late/feedback", content=content, headers=headers)

        return asyncio.run(send())

    return tell


def kept(tmp_path: Path, clock: ManualClock) -> pl.DataFrame:
    lake = Lake(tmp_path / "lake")
    collect(lake, tmp_path, clock)
    return lake.log(FEEDBACK, "late").rows().collect()


def test_what_is_told_last_stands_and_corrections_keep_their_time(told, tmp_path: Path, clock: ManualClock) -> None:
    first = {"request_id": "a", "label": True}
    assert told(first).json()["accepted"] == 1
    told(first)  # repeated, for the caller heard no answer
    told(first | {"outcomes": {}})  # nothing more is told
    clock.advance(500)
    told({"feedback": [{"request_id": "a", "outcomes": {"cost": 3}}, {"request_id": "a", "row": 1, "label": False}]})
    rows = kept(tmp_path, clock)
    assert rows.select("request_id", "row", "label", "outcomes").rows() == [
        ("a", 0, True, '{"cost":3.0}'),
        ("a", 1, False, None),
    ]
    clock.advance(500)
    told({"request_id": "a", "label": False})
    assert kept(tmp_path, clock).filter(row=0).select("label", "outcomes").rows() == [(False, '{"cost":3.0}')]
    then = Lake(tmp_path / "lake").log(FEEDBACK, "late").rows(until=2_000).collect()
    assert then.filter(row=0)["label"].to_list() == [True], "as it was known then"


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({"request_id": "a"}, 422, "feedback[0]"),
        ({"label": True}, 422, "feedback"),
        ({"request_id": "a b", "label": True}, 422, "request_id"),
        ({"request_id": "a", "label": "yes"}, 422, "feedback[0].label"),
        ({"request_id": "a", "label": 1}, 422, "feedback[0].label"),
        ({"request_id": "a", "label": ["yes"]}, 422, "label"),
        ({"request_id": "a", "outcomes": {"cost": "much"}}, 422, "outcomes[...]"),
        ({"request_id": "a", "label": True, "secret": 1}, 422, "feedback"),
        ({"feedback": []}, 422, "feedback"),
        (b'{"request_id": "a", "outcomes": {"cost": NaN}}', 400, "body"),
        (b"\xff", 400, "body"),
        (b'{"request_id": "a", "label": true, "label": false}', 400, "body"),
        (b'{"request_id": "a", "label": true, "row": 0, "row": 0}', 400, "body"),
        (b'{"feedback": [{"request_id": "a", "outcomes": {"cost": 1, "cost": 2}}]}', 400, "body"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_its_field(
    told, tmp_path: Path, body: object, status: int, where: str
) -> None:
    answer = told(body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, where)
    assert "secret" not in answer.text
    assert "much" not in answer.text
    assert not (tmp_path / "log").exists()


def test_it_is_on_the_disk_before_it_is_acknowledged(told, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fdatasync", broken)
    assert told({"request_id": "a", "label": True}).status_code == 503


@pytest.mark.parametrize(
    ("target", "label", "kept_as", "refused"),
    [
        (Target(task="regression"), 12, (None, 12.0, None), [True, "12"]),
        (Target(task="count"), 1.5e300, (None, 1.5e300, None), [False, "many"]),
        (Target(task="quantile", quantile=0.9), -0.5, (None, -0.5, None), [True]),
        (Target(task="multiclass", classes=("late", "early")), "late", (None, None, "late"), [True, 2]),
        # A class that the model has never seen is what was true, all the same.
        (Target(task="multiclass", classes=("late", "early")), "never", (None, None, "never"), []),
        (Target(), False, (False, None, None), [0, "false"]),
    ],
)
def test_a_label_is_told_as_the_model_predicts_and_kept_as_it_is(target, label, kept_as, refused, tmp_path, clock):
    tell = FeedbackLog(tmp_path / "log" / "feedback" / "late", clock)
    tell.add(parse(json.dumps({"request_id": "a", "label": label}).encode(), target))
    assert kept(tmp_path, clock).select("label", "number", "category").rows() == [kept_as]
    for wrong in refused:
        with pytest.raises(RequestError, match="must be") as refusal:
            parse(json.dumps({"feedback": [{"request_id": "a", "label": wrong}]}).encode(), target)
        assert refusal.value.where == "feedback[0].label"


def test_a_class_that_the_model_has_never_seen_is_kept_and_the_answer_says_so(
    told, app: App, tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Target(task="multiclass", classes=("normal", "quick", "slow"))
    monkeypatch.setattr(Answers, "target", property(lambda _: target))
    labels = ["slow", "slwo", "never", None]
    rows = [{"request_id": f"id{n}", "label": label, "outcomes": {"cost": 1}} for n, label in enumerate(labels)]
    answer = told({"feedback": rows}).json()
    assert (answer["accepted"], answer["unknown"]) == (4, 2)
    assert answer["warning"].startswith("feedback[1].label and 1 more: no class that the model has seen")
    assert answer["warning"].endswith("Did you mean `slow`?")
    assert "slwo" not in answer["warning"]
    assert kept(tmp_path, clock).sort("request_id")["category"].to_list() == labels
    assert told({"request_id": "a", "label": "quick"}).json().keys() == {"accepted", "request_id"}
