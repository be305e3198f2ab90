"""What features mean, in plain Python: every question looks at every event. Shares no code with the package.

Sums are of fractions, so that what is expected is what is true, not what some order of additions gives.
"""

import math
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction

from raypipe.spec import FeatureGroup
from raypipe.spec.agg import Aggregate

Event = dict[str, object]
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def micros(moment: datetime | timedelta) -> int:
    span = moment - EPOCH if isinstance(moment, datetime) else moment
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def features(
    group: FeatureGroup, rows: list[Event], values: dict[str, list[object]], key: tuple[object, ...], q: int, as_of: int
) -> dict[str, object]:
    """Every feature of a group for one question.

    Args:
        group: the definition.
        rows: the stream's rows, in any order, each id once.
        values: for each feature the value of its expression, row by row.
        key: the asked key.
        q: when it is asked.
        as_of: nothing known later is there.
    """
    stream = group.moment.stream
    delay = micros(stream.delay)
    found = {}
    for name, aggregate in group.features.items():
        seen = []
        for place, row in enumerate(rows):
            at = row[group.moment.at]
            if at is None or None in key or tuple(row[part] for part in group.key) != key:
                continue
            time = micros(at)
            published = row[stream.published] if stream.published else None
            known = (time if published is None else micros(published)) + delay
            value = values[name][place] if aggregate.value is not None else True
            if value is None or value != value or known > as_of or known > q:
                continue
            value = value + 0.0 if isinstance(value, float) else value  # there is one zero
            seen.append((time, known, tuple(row[part] for part in stream.id), value))
        found[name] = one(aggregate, sorted(seen, key=lambda event: event[:3]), q)
    return found


def one(aggregate: Aggregate, seen: list[tuple[int, int, tuple[object, ...], object]], q: int) -> object:
    """One aggregate of the events that were known, in order."""
    if aggregate.op in ("last", "since") and aggregate.window is None:
        return latest(aggregate, [event for event in seen if event[0] <= q], q)
    if aggregate.op == "tenure":
        times = [time for time, *_ in seen if time <= q]
        return (q - min(times)) / 1e6 if times else None
    before = [event for event in seen if event[0] < q]
    if aggregate.half_life is not None:
        return decayed(aggregate, before, q)
    low = q - micros(aggregate.window)
    if tail := micros(aggregate.tail):
        low = math.floor(Fraction(low, tail)) * tail
    inside = [value for time, _, _, value in before if time >= low]
    return windowed(aggregate, inside)


def latest(aggregate: Aggregate, seen: list[tuple[int, int, tuple[object, ...], object]], q: int) -> object:
    if not seen:
        return None
    time, _, _, value = seen[-1]
    if aggregate.max_age is not None and q - time > micros(aggregate.max_age):
        return None
    return value if aggregate.op == "last" else (q - time) / 1e6


def windowed(aggregate: Aggregate, inside: list[object]) -> object:
    match aggregate.op:
        case "count":
            return len(inside)
        case "distinct":
            return len(set(inside))
        case "first":
            return inside[0] if inside else None
        case "last":
            return inside[-1] if inside else None
    numbers = [float(value) for value in inside]
    match aggregate.op:
        case "sum":
            return with_infinities(numbers, lambda: as_double(sum(map(Fraction, numbers), Fraction(0))))
        case "mean":
            total = lambda: as_double(sum(map(Fraction, numbers), Fraction(0)) / len(numbers))  # noqa: E731
            return with_infinities(numbers, total) if numbers else None
        case "std":
            return deviation(numbers)
        case "min":
            return min(numbers, default=None)
        case "max":
            return max(numbers, default=None)
        case "percentile":
            return percentile(numbers, aggregate.rank)
    raise AssertionError(aggregate.op)


def deviation(numbers: list[float]) -> float | None:
    if len(numbers) < 2 or any(math.isinf(number) for number in numbers):
        return None
    exact = [Fraction(number) for number in numbers]
    mean = sum(exact, Fraction(0)) / len(exact)
    variance = sum(((number - mean) ** 2 for number in exact), Fraction(0)) / (len(exact) - 1)
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 60, 10_000, -10_000
        return float((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())


def percentile(numbers: list[float], rank: float) -> float | None:
    if not numbers:
        return None
    place = math.ceil(Fraction(str(rank)) * len(numbers))
    value = sorted(numbers)[place - 1]
    return value if len(numbers) <= 64 or math.isinf(value) else seven_digits(value)


def seven_digits(value: float) -> float:
    """Rounded to seven significant binary digits, halves away from zero; what is not a normal number is zero."""
    if value == 0:
        return 0.0
    _, exponent = math.frexp(value)
    unit = Fraction(2) ** (exponent - 7)
    rounded = math.floor(abs(Fraction(value)) / unit + Fraction(1, 2)) * unit
    return 0.0 if rounded < Fraction(2) ** -1022 else math.copysign(float(rounded), value)


def decayed(aggregate: Aggregate, before: list[tuple[int, int, tuple[object, ...], object]], q: int) -> object:
    half_life = micros(aggregate.half_life)
    weights = [weight((q - time) / half_life) for time, *_ in before]
    if aggregate.op == "decayed_count":
        return as_double(sum(weights, Fraction(0)))
    numbers = [float(value) for *_, value in before]
    if aggregate.op == "decayed_sum":
        return with_infinities(numbers, lambda: as_double(weighed(weights, numbers)))
    if not numbers:
        return None
    # Weights relative to the latest event: the mean does not fade.
    newest = before[-1][0]
    relative = [weight((newest - time) / half_life) for time, *_ in before]
    return with_infinities(numbers, lambda: as_double(weighed(relative, numbers) / sum(relative, Fraction(0))))


def weight(halves: float) -> Fraction:
    """What is left of one after so many half-lives, also where that is less than any double."""
    whole = math.floor(halves)
    return Fraction(2.0 ** (whole - halves)) / 2**whole if whole < 2_200 else Fraction(0)


def weighed(weights: list[Fraction], numbers: list[float]) -> Fraction:
    return sum((w * Fraction(x) for w, x in zip(weights, numbers, strict=True)), Fraction(0))


def with_infinities(numbers: list[float], finite: object) -> float | None:
    plus, minus = math.inf in numbers, -math.inf in numbers
    if plus or minus:
        return None if plus and minus else math.inf if plus else -math.inf
    return finite()


def as_double(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, 1 if value > 0 else -1)
