"""What happens to the model that a search chose before it is judged, and how it is judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from raypipe.spec.values import FrozenMap, place, written_at

Calibrate: TypeAlias = Literal["auto", "none", "platt", "isotonic"]
Costs: TypeAlias = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, init=False)
class Finish:
    """The end of a search: calibrate, choose the threshold, and judge once on the holdout.

    Args:
        calibrate: how probabilities are mended: ``platt`` (two numbers), ``isotonic`` (a rising line), ``none``, or
            ``auto``: what does best on the newest rows before the holdout.
        costs: what an error costs, by the truth and then by the answer: ``{"true": {"false": 5.0}, "false": {"true":
            1.0}}``. What is not named costs nothing. None: every error costs 1.
        by: request fields or features; the model is judged on each of their values too.
        fair: request fields or features over whose values the model is to treat rows alike; measures of fairness are
            told for each.
        whole: fit the model that was judged once more, with the rows that it was judged on. Its judgement is that of
            the model without them.
    """

    calibrate: Calibrate
    costs: FrozenMap[FrozenMap[float]] | None
    by: tuple[str, ...]
    fair: tuple[str, ...]
    whole: bool = False
    where: str = place()

    def __init__(
        self,
        *,
        calibrate: Calibrate = "auto",
        costs: Costs | None = None,
        by: Sequence[str] = (),
        fair: Sequence[str] = (),
        whole: bool = False,
    ) -> None:
        kept = None if costs is None else FrozenMap({truth: FrozenMap(row) for truth, row in costs.items()})
        fields: dict[str, object] = {"calibrate": calibrate, "costs": kept, "by": tuple(by), "fair": tuple(fair)}
        fields |= {"whole": whole, "where": written_at()}
        for name, content in fields.items():
            object.__setattr__(self, name, content)
