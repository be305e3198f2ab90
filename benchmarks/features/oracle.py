"""What the answers must be, in plain Python: every question looks at every event of its key."""

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from datetime import timedelta
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TypeAlias

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.features.peers import LENGTHS

Value: TypeAlias = float | int | None
Answer: TypeAlias = dict[str, Value]
#: When it happened and when it was known (microseconds UTC), and how much it was.
Event: TypeAlias = tuple[int, int, float]
#: The oracle is given so long; of tables of more events it is asked less, for it reads those of all its keys.
SECONDS, MANY = 20.0, 1_000_000


def windows(folder: Path, questions: int) -> list[Answer]:
    """The answers to the first questions of a case of windows: as many as are told in `SECONDS`, one at least."""
    file = pq.ParquetFile(folder / "events.parquet")
    questions = max(30, min(questions, questions * MANY // file.metadata.num_rows))
    table = pq.read_table(folder / "questions.parquet").slice(0, questions)
    asked = list(zip(table["key"].to_pylist(), table["at"].cast("int64").to_pylist(), strict=True))
    columns = ["at", "published" if "published" in file.schema_arrow.names else "at", "amount"]
    history: dict[object, list[Event]] = defaultdict(list)
    wanted = pc.field("key").isin({key for key, _ in asked})
    for batch in file.iter_batches(1_000_000, columns=list(dict.fromkeys(["key", *columns]))):
        found = batch.filter(wanted)
        parts = [found["key"], *(found[name] if name == "amount" else found[name].cast("int64") for name in columns)]
        for key, *event in zip(*(part.to_pylist() for part in parts), strict=True):
            history[key].append(tuple(event))
    answers: list[Answer] = []
    began = monotonic()
    while len(answers) < len(asked) and (not answers or monotonic() - began < SECONDS):
        key, at = asked[len(answers)]
        answers.append(_question(history[key], at))
    return answers


def _question(events: list[Event], asked: int) -> Answer:
    """Events are in the order of their time; the first that may be in a window is looked up."""
    answer: Answer = {}
    for name, length in LENGTHS.items():
        first = bisect_left(events, (asked - length // timedelta(microseconds=1),))
        end = bisect_left(events, (asked,))
        seen = [amount for _, known, amount in islice(events, first, end) if known <= asked]
        answer |= {f"count_{name}": len(seen), f"sum_{name}": math.fsum(seen)}
        answer |= {f"mean_{name}": math.fsum(seen) / len(seen) if seen else None}
        answer |= {f"min_{name}": min(seen, default=None), f"max_{name}": max(seen, default=None)}
    return answer


def as_of(folder: Path, questions: int) -> list[Answer]:
    """The answers to the first questions of a case of look-ups: of each view the latest row at or before the time."""
    asked = pq.read_table(folder / "questions.parquet").slice(0, questions).to_pylist()
    answers: list[Answer] = [{} for _ in asked]
    for path in sorted(folder.glob("view*.parquet")):
        rows = pq.read_table(path, filters=pc.field("key").isin({row["key"] for row in asked})).to_pylist()
        history: dict[object, list[dict[str, object]]] = defaultdict(list)
        for row in sorted(rows, key=lambda row: row["at"]):
            history[row.pop("key")].append(row)
        for question, answer in zip(asked, answers, strict=True):
            mine = history[question["key"]]
            place = bisect_right([row["at"] for row in mine], question["at"])
            values = mine[place - 1] if place else dict.fromkeys(pq.read_schema(path).names)
            answer.update({k: v for k, v in values.items() if k not in ("id", "key", "at")})  # type: ignore[misc]
    return answers


def wrong(found: list[Answer], truth: list[Answer]) -> int:
    """How many answers are not the truth, by more than 1e-9 of it; missing rows are wrong too."""
    bad = sum(
        any(not _close(row.get(name), value) for name, value in answer.items())
        for row, answer in zip(found, truth, strict=False)
    )
    return bad + max(0, len(truth) - len(found))


def _close(found: Value, truth: Value) -> bool:
    if found is None or found != found or truth is None:
        nothing = found is None or found != found
        # Peers say of an empty sum that there is none; it is the same news.
        return nothing and truth in (None, 0)
    return abs(found - truth) <= 1e-9 * max(1.0, abs(truth))
