"""Features for a request, from stored state: the same kernel and the same expressions as over history."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import polars as pl

from raypipe.clock import iso
from raypipe.contracts.records import Materialized
from raypipe.contracts.stores import MovedError, OnlineStore, Reading
from raypipe.errors import FeatureError, RequestError
from raypipe.features import frames, keys, state
from raypipe.features.kernel import compute
from raypipe.features.materialize import name
from raypipe.features.plan import GroupPlan, plans
from raypipe.spec import Pipeline, TableFeatures, micros
from raypipe.spec.shape import schema
from raypipe.stats.exact import Ints

#: How often reading is begun anew before a store that is updated all the time is given up.
ATTEMPTS = 5
_NOTHING = Materialized(
    pipeline="", definition="", snapshots=(), watermark=0, oldest=0, generation=0, entities=0, bytes=0, digest=""
)


class OnlineFeatures:
    """The features of one pipeline over a store, compiled once; a replica keeps one and uses it in one thread.

    A request is taken as asked ``lead`` before its moment, exactly as its row of history would be, and sees what was
    known at the store's watermark. Questions older than `Materialized.oldest` are refused: what they saw is gone.

    Args:
        pipeline: the definition.
        store: where `materialize` has put the state.
    """

    def __init__(self, pipeline: Pipeline, store: OnlineStore) -> None:
        self._pipeline, self._store, self._name = pipeline, store, name(pipeline)
        self._plans = list(plans(pipeline))
        self._tables = [item for item in pipeline.inputs if isinstance(item, TableFeatures)]
        self._asked = [*(plan.group.asked for plan in self._plans), *((item.by,) for item in self._tables)]
        self._beside = frames.Beside(self._kinds())
        self._logic = list(frames.logic(pipeline))
        self._names = list(pipeline.feature_names)
        self._lead = micros(pipeline.ask.lead)
        self._head, self._record = b"", _NOTHING

    def materialized(self) -> Materialized:
        """What the store holds now.

        Raises:
            FeatureError: nothing has been materialized for this version of the features.
        """
        with self._store.read(self._name) as reading:
            return self._current(reading)

    def watermark(self) -> int:
        """The moment up to which the store knows what happened, microseconds UTC.

        Raises:
            FeatureError: nothing has been materialized for this version of the features.
        """
        return self.materialized().watermark

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        """The features of some requests.

        Args:
            requests: one row a prediction, one column a request field, typed as in the asked stream.

        Returns:
            The feature columns in the pipeline's order, one row a request, in the same order.

        Raises:
            FeatureError: nothing is materialized.
            RequestError: a request has no time, or it is older than the state reaches.
        """
        moment = requests[self._pipeline.ask.moment]
        if moment.null_count():
            raise RequestError("is missing", where=moment.name)
        frame = self._beside(requests, self._read(requests, moment.cast(pl.Int64).to_numpy() - self._lead))
        for expressions in self._logic:
            frame = frame.with_columns(expressions)
        return frame[self._names]

    def _read(self, requests: pl.DataFrame, asked: Ints) -> list[frames.Made]:
        """What comes from the store; begun anew when the store was updated in between."""
        for _ in range(ATTEMPTS - 1):
            with suppress(MovedError):
                return self._read_once(requests, asked)
        return self._read_once(requests, asked)

    def _read_once(self, requests: pl.DataFrame, asked: Ints) -> list[frames.Made]:
        with self._store.read(self._name) as reading:
            self._require_in_reach(asked, self._current(reading))
            return self._stored(requests, asked, reading) if reading is not None else []

    def _stored(self, requests: pl.DataFrame, asked: Ints, reading: Reading) -> list[frames.Made]:
        """What comes from the store, all read in one go."""
        fields = {name: keys.comparable(requests[name]).to_list() for names in self._asked for name in names}
        wanted = [
            [keys.stored(number, key) for key in zip(*(fields[name] for name in names), strict=True)]
            for number, names in enumerate(self._asked)
        ]
        distinct = list(dict.fromkeys(key for column in wanted for key in column if key is not None))
        found = dict(zip(distinct, reading.get(distinct), strict=True))
        made: list[frames.Made] = []
        for plan, column in zip(self._plans, wanted, strict=False):
            made += _group(plan, [found.get(key) if key else None for key in column], asked)
        for item, column in zip(self._tables, wanted[len(self._plans) :], strict=True):
            made += frames.unpacked(item, [found.get(key) if key else None for key in column])
        return made

    def _kinds(self) -> dict[str, pl.DataType]:
        kinds = {feature.name: feature.dtype for plan in self._plans for feature in plan.features}
        for item in self._tables:
            known = schema(item.table)
            kinds |= {feature: known[column] for feature, column in item.features.items()}
        return kinds

    def _current(self, reading: Reading | None) -> Materialized:
        if reading is None:
            cure = "Run `raypipe run`, or `raypipe materialize`"
            raise FeatureError("no features are stored for this version", where=self._pipeline.name, cure=cure)
        if reading.head != self._head:
            self._head, self._record = reading.head, Materialized.from_json(reading.head)
        return self._record

    def _require_in_reach(self, asked: Ints, current: Materialized) -> None:
        if len(asked) and int(asked.min()) < current.oldest:
            # What was asked is not repeated: this text goes back to the caller.
            what = f"is older than the stored features, which reach back to {iso(current.oldest + self._lead)}"
            raise RequestError(what, where=self._pipeline.ask.moment, cure="Ask about the present")


def _group(plan: GroupPlan, states: Sequence[bytes | None], asked: Ints) -> list[frames.Made]:
    """The features of one group from the states of the asked entities, each decoded once."""
    numbers: dict[bytes, int] = {}
    rows = [-1 if one is None else numbers.setdefault(one, len(numbers)) for one in states]
    answers = compute(plan, state.unpack(plan, list(numbers)), np.array(rows, np.int64), asked)
    return [frames.Made(f.name, f.dtype, answer) for f, answer in zip(plan.features, answers, strict=True)]
