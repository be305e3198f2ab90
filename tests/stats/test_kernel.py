"""The kernel's four verbs: whatever way events come into a state, and are put together, the answers are the same."""

import math
import random
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import reduce

import numpy as np
import pytest

from raypipe.stats import decay, kernel, one, stored
from raypipe.stats.blocks import Block, Shared
from raypipe.stats.places import places
from raypipe.stats.tracks import Track, View

HOUR = 3_600_000_000
KEYS = 7
#: (key, time, value), in order.
Event = tuple[int, int, float]


@dataclass(frozen=True)
class Numbers:
    """All forms of a number."""

    valued: bool = True
    totals: bool = True
    squares: bool = True
    numbers: bool = True
    hashes: bool = True
    kept: bool = True
    is_text: bool = False
    is_float: bool = True
    half_lives: tuple[int, ...] = (HOUR, 1_000)
    firsts: bool = True


@dataclass(frozen=True)
class Asked:
    op: str
    rows: tuple[int, ...] = (2,)
    rank: float | None = None
    max_age: int | None = None
    half_life: int = 0


def history(seed: int, many: int = 400) -> list[Event]:
    rng = random.Random(seed)
    values = [0.1, -0.0, 7.0, 1e300, -1e300, 1e-300, math.inf]
    made = [
        (rng.randrange(KEYS - 1), rng.randrange(40 * HOUR), rng.choice([*values, rng.gauss(0, 1e6)]))
        for _ in range(many)
    ]
    return sorted({(key, time): (key, time, value) for key, time, value in made}.values())


def track_of(events: list[Event]) -> Track:
    keys, times, values = (np.array(column) for column in zip(*events, strict=True)) if events else [np.zeros(0)] * 3
    starts = np.searchsorted(keys, np.arange(KEYS + 1))
    values = values.astype(np.float64) + 0.0
    return kernel.init(Numbers(), starts, times.astype(np.int64), values, values)


def state_of(events: list[Event], before: Block | None = None) -> Block:
    track = track_of(events)
    return kernel.update(before, Numbers(), track, track.starts[:-1], track.starts[1:], Shared())


def in_parts(events: list[Event], rng: random.Random) -> list[list[Event]]:
    cut = [rng.randrange(5) for _ in events]
    return [[event for event, part in zip(events, cut, strict=True) if part == one] for one in range(5)]


def read(state: Block, asked: Asked, keys: list[int], times: list[int], windows: list[int]) -> list[float | None]:
    track = stored.track(Numbers(), state)
    who, when = np.array(keys), np.array(times)
    edges = np.stack([when, when + 1, *(when - window for window in windows)])
    found = places(track.starts, track.times, who, edges)
    lows = {2 + i: np.minimum(row, found[0]) for i, row in enumerate(found[2:])}
    (answer, *_) = kernel.finalize(asked, track, View(when, track.starts[who], found[0], found[1] - 1, lows))
    return answer.plain()


def plainly(events: list[Event], op: str, key: int, time: int, window: int) -> float | None:
    """What is asked, by looking at every event."""
    seen = [value for k, at, value in events if k == key and time - window <= at < time]
    before = [at for k, at, _ in events if k == key and at <= time]
    finite = [value for value in seen if math.isfinite(value)]
    match op:
        case "count":
            return len(seen)
        case "sum":
            return math.inf if math.inf in seen else math.fsum(finite)
        case "min" | "max":
            return (min if op == "min" else max)(seen, default=None)
        case "distinct":
            return len(set(seen))
        case "first" | "last":
            return None if not seen else seen[0] if op == "first" else seen[-1]
        case "percentile":
            return sorted(seen)[math.ceil(0.9 * len(seen)) - 1] if seen else None
        case "since":
            return (time - before[-1]) / 1e6 if before else None
        case _:
            return (time - before[0]) / 1e6 if before else None


WINDOWED = [Asked(op) for op in ("count", "sum", "min", "max", "distinct", "first", "last")]
LATEST = [Asked(op, ()) for op in ("since", "tenure")]
QUESTIONS = [(key, time) for key in range(KEYS) for time in range(0, 44 * HOUR, HOUR * 3 // 2)]


@pytest.mark.parametrize("asked", [*WINDOWED, Asked("percentile", rank=0.9), *LATEST], ids=lambda one: one.op)
def test_what_comes_of_parts_is_what_a_loop_over_all_events_finds(asked: Asked) -> None:
    events = history(1)
    state = reduce(lambda made, part: state_of(part, made), in_parts(events, random.Random(2)), None)
    assert state is not None
    keys, times = (list(column) for column in zip(*QUESTIONS, strict=True))
    for window in (HOUR // 2, 9 * HOUR):
        wanted = [plainly(events, asked.op, key, time, window) for key, time in QUESTIONS]
        assert read(state, asked, keys, times, [window]) == wanted
        assert len({repr(one) for one in wanted}) > 3


@pytest.mark.parametrize("seed", range(5))
def test_states_merge_in_any_order(seed: int) -> None:
    rng, events = random.Random(seed), history(seed)
    a, b, c, *_ = states = [state_of(part) for part in in_parts(events, rng)]
    whole = state_of(events)
    rng.shuffle(states)
    for made in (
        reduce(lambda one, other: kernel.merge(one, other, Shared()), states),
        reduce(lambda one, other: kernel.merge(other, one, Shared()), states),
    ):
        assert np.array_equal(made.slots.times, whole.slots.times)
        for rows in ("running", "plain", "firsts"):
            assert np.array_equal(getattr(made, rows), getattr(whole, rows)), rows
        # Sums that fade are rounded as they are added; all else is exact.
        assert np.allclose(made.fading, whole.fading, rtol=1e-12, atol=0)
    left = kernel.merge(kernel.merge(a, b, Shared()), c, Shared())
    right = kernel.merge(a, kernel.merge(b, c, Shared()), Shared())
    assert np.array_equal(left.running, right.running)


def test_deviations_and_decays_are_those_of_their_definitions() -> None:
    events = [(0, HOUR, 3.0), (0, 2 * HOUR, 5.0), (0, 4 * HOUR, 10.0), (1, HOUR, 8.0)]
    state = state_of(events)
    deviation = read(state, Asked("std"), [0, 0, 1], [5 * HOUR, 4 * HOUR, 5 * HOUR], [9 * HOUR])
    assert deviation == [math.sqrt(13), math.sqrt(2), None]
    decayed = {op: Asked(f"decayed_{op}", (), half_life=HOUR) for op in ("sum", "count", "mean")}
    found = {op: read(state, one, [0, 1], [4 * HOUR, 4 * HOUR], []) for op, one in decayed.items()}
    # An hour after it happened, an event counts half; the one at the time of asking not at all.
    assert found == {"sum": [3 / 8 + 5 / 4, 1.0], "count": [1 / 8 + 1 / 4, 1 / 8], "mean": [13 / 3, 8.0]}


def test_a_large_sum_is_what_it_has_faded_to_after_more_half_lives_than_a_weight_can_tell() -> None:
    events, asked = [(0, 0, 1e308)], Asked("decayed_sum", (), half_life=1_000)
    later = state_of([(0, 1_500_000, 0.0)], state_of(events))
    for halves in (1_060, 1_200, 2_000):
        wanted = float(Fraction(1e308) / 2**halves)
        assert wanted > 0
        assert read(state_of(events), asked, [0], [halves * 1_000], []) == [wanted]
        assert one.faded(1e308 / decay.SCALE, halves * 1_000, 1_000) == wanted
    assert read(later, asked, [0], [2_000_000], []) == [float(Fraction(1e308) / 2**2_000)]


def test_whoever_has_no_history_is_told_what_nothing_adds_up_to() -> None:
    nobody = kernel.nobody(replace(Numbers(), is_float=False, is_text=True))
    assert len(nobody.starts) == 1
    empty = state_of([])
    every = [*WINDOWED, Asked("std"), Asked("percentile", rank=0.5)]
    said = {asked.op: read(empty, asked, [3], [HOUR], [HOUR])[0] for asked in every}
    assert {op: value for op, value in said.items() if value is not None} == {"count": 0, "sum": 0.0, "distinct": 0}
    assert {op: value for op, value in kernel.EMPTY.items() if op in said} == {"count": 0, "sum": 0.0, "distinct": 0}
