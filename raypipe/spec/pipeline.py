"""The whole life of a model as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TypeAlias

import polars as pl

from raypipe.errors import DefinitionError, Fault
from raypipe.spec.checks import Check
from raypipe.spec.expressions import Expression
from raypipe.spec.features import Derived, Request
from raypipe.spec.finish import Finish
from raypipe.spec.log import Log
from raypipe.spec.retrain import Retrain
from raypipe.spec.search import Search
from raypipe.spec.sources import Ask, FeatureGroup, Label, Lookup, Source, Stream, Table, TableFeatures
from raypipe.spec.split import Periods, Split
from raypipe.spec.values import FrozenMap, place, written_at

Inputs: TypeAlias = Request | FeatureGroup | TableFeatures | Derived


@dataclass(frozen=True)
class AtLeast:
    """Promote a new version when its holdout metric is at least as good as the champion's, by ``champion_plus``."""

    champion_plus: float = 0.0
    where: str = place()


#: What definitions that say nothing of it mean.
_AS_IS = Finish()


@dataclass(frozen=True, init=False)
class Pipeline:
    """A model's life: what it is asked, what it sees, what it predicts, how it is found.

    Args:
        name: names the model, the HTTP prefix, and everything that is stored.
        ask: when predictions are asked.
        inputs: what the model sees, in this order. A bare Polars expression with an alias is a derived feature.
        label: the truth that is predicted.
        split: the rows to train, tune and judge on: `periods`, or `shares` of data without time.
        search: where the best model is looked for.
        promote: when a new version takes over.
        finish: what is done to the best model, and how it is judged.
        as_of: the moment a run pretends to be at: nothing known later is used. None: now.
        unit: the request field that says whom a prediction is about: a unit stays with one version while several
            answer. Empty: each request stands for itself.
        log: what is kept of every prediction.
        retrain: when it is trained anew; None: when somebody runs it.
        meanings: what features mean, by name, for the catalogue.
        owner: who answers for them.
        owners: who answers for features that somebody else does, by name.
        before_training: checks of the training set: request fields, ``asked_at``, features, ``label``, ``period``.
        before_promotion: checks of what a candidate answers on the holdout: the same columns but ``period``, and
            ``prediction``.
        value: business figures of a prediction, by name: expressions over ``score``, ``label`` (what was decided),
            ``truth``, request fields, and outcomes told as feedback. A row counts once what a figure reads is known.
    """

    name: str
    ask: Ask
    inputs: tuple[Inputs, ...]
    label: Label
    split: Split
    search: Search
    promote: AtLeast
    as_of: datetime | None
    finish: Finish = _AS_IS
    unit: str = ""
    log: Log = Log()  # noqa: RUF009  # frozen
    retrain: Retrain | None = None
    meanings: FrozenMap[str] = FrozenMap()  # noqa: RUF009  # frozen
    owner: str = ""
    owners: FrozenMap[str] = FrozenMap()  # noqa: RUF009  # frozen
    before_training: tuple[Check, ...] = ()
    before_promotion: tuple[Check, ...] = ()
    value: FrozenMap[Expression] = FrozenMap()  # noqa: RUF009  # frozen
    where: str = place()

    def __init__(
        self,
        name: str,
        *,
        ask: Ask,
        inputs: Sequence[Inputs | pl.Expr],
        label: Label,
        split: Split,
        search: Search,
        promote: AtLeast | None = None,
        finish: Finish | None = None,
        as_of: str | None = None,
        unit: str = "",
        log: Log | None = None,
        retrain: Retrain | None = None,
        meanings: Mapping[str, str] | None = None,
        owner: str = "",
        owners: Mapping[str, str] | None = None,
        before_training: Sequence[Check] = (),
        before_promotion: Sequence[Check] = (),
        value: Mapping[str, pl.Expr | str] | None = None,
    ) -> None:
        fields = {
            "name": name,
            "ask": ask,
            "inputs": tuple(_derived(item) if isinstance(item, pl.Expr) else item for item in inputs),
            "label": label,
            "split": split,
            "search": _by_task(search, label),
            "promote": promote or AtLeast(),
            "as_of": None if as_of is None else _moment(as_of),
            "finish": finish or _AS_IS,
            "unit": unit,
            "log": log or Log(),
            "retrain": retrain,
            "meanings": FrozenMap(meanings or {}),
            "owner": owner,
            "owners": FrozenMap(owners or {}),
            "before_training": tuple(before_training),
            "before_promotion": tuple(before_promotion),
            "value": FrozenMap({figure: Expression.of(item) for figure, item in (value or {}).items()}),
            "where": written_at(),
        }
        for field, content in fields.items():
            object.__setattr__(self, field, content)

    @property
    def request(self) -> Request:
        """What a caller sends: the first (and only) request among the inputs."""
        return next(item for item in self.inputs if isinstance(item, Request))

    @property
    def groups(self) -> tuple[FeatureGroup, ...]:
        """The aggregates over past events, in order."""
        return tuple(item for item in self.inputs if isinstance(item, FeatureGroup))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The model's inputs in order."""
        return tuple(chain.from_iterable(item.features for item in self.inputs))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every table and stream it needs, each once, those that others look things up in first."""
        found: dict[str, Source] = {}
        for source in (self.ask.stream, self.label.stream, *(_source(item) for item in self.inputs)):
            if source is not None:
                _collect(source, found)
        for check in (*self.before_training, *self.before_promotion):
            if check.to is not None:
                _collect(check.to, found)
        return tuple(found.values())

    @property
    def periods(self) -> Periods:
        """The split of rows with a time.

        Raises:
            DefinitionError: rows have none, so none are newer than others.
        """
        if isinstance(self.split, Periods):
            return self.split
        what = "rows without time are split by chance: none are newer than others"
        raise DefinitionError([Fault(self.split.where, what, "Ask about a stream, and split by `periods`")])

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams among the sources."""
        return tuple(source for source in self.sources if isinstance(source, Stream))


def _by_task(search: object, label: object) -> object:
    """The search by the task's own metric; of what is no search, or no label, lint tells."""
    if isinstance(search, Search) and isinstance(label, Label):
        return search.of_task(label.task)
    return search


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        cure = "Write it as `2013-07-03` or `2013-07-03T06:00Z`"
        raise DefinitionError([Fault(written_at(), f"`as_of` is `{text}`, not a date or time", cure)]) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _derived(expr: pl.Expr) -> Derived:
    return Derived(FrozenMap({expr.meta.output_name(): Expression.of(expr)}))


def _source(item: Inputs) -> Source | None:
    if isinstance(item, FeatureGroup):
        return item.moment.stream
    return item.table if isinstance(item, TableFeatures) else None


def _collect(source: Source, found: dict[str, Source]) -> None:
    """Depth first: whatever a source looks up or refers to comes before it."""
    needed: list[Table] = [way.table for way in source.derive.values() if isinstance(way, Lookup)]
    needed += [check.to for check in source.gate if check.to is not None]
    for table in needed:
        if table.name not in found and table != source:
            _collect(table, found)
    found.setdefault(source.name, source)
