"""Features for a request, from stored state: the same kernel and the same expressions as over history."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl

from raypipe.clock import iso
from raypipe.contracts.reader import FEW
from raypipe.contracts.records import Materialized
from raypipe.contracts.stores import OnlineStore
from raypipe.errors import FeatureError, RequestError
from raypipe.features import frames, keys
from raypipe.features.logic import RowLogic, steps, with_logic
from raypipe.features.materialize import name
from raypipe.features.plan import plans
from raypipe.features.seen import Seen
from raypipe.features.single import Value
from raypipe.spec import Pipeline, TableFeatures, micros
from raypipe.spec.shape import schema
from raypipe.stats.arrays import Ints

#: How often reading is begun anew when the store is updated all the time.
ATTEMPTS = 5
_NOTHING = Materialized(
    pipeline="", definition="", snapshots=(), watermark=0, oldest=0, generation=0, entities=0, bytes=0, digest=""
)


class OnlineFeatures:
    """The features of one pipeline over a store, compiled once; a replica keeps one and uses it in one thread.

    A request is taken as asked ``lead`` before its moment, exactly as its row of history would be, and sees what was
    known then, and at the store's watermark. Questions older than `Materialized.oldest` are refused: what they saw is
    gone. States that were read are kept, decoded, until the store's head changes.

    Args:
        pipeline: the definition.
        store: where `materialize` has put the state.
    """

    def __init__(self, pipeline: Pipeline, store: OnlineStore) -> None:
        self._pipeline, self._store, self._name = pipeline, store, name(pipeline)
        self._plans = list(plans(pipeline))
        self._tables = [item for item in pipeline.inputs if isinstance(item, TableFeatures)]
        self._asked = [*(plan.group.asked for plan in self._plans), *((item.by,) for item in self._tables)]
        self._lead = micros(pipeline.ask.lead)
        self._head, self._record = b"", _NOTHING
        self._seen = Seen(self._plans)
        self._logic = list(steps(pipeline))
        asked, made = schema(pipeline.ask.stream), self._made_kinds()
        fields = {field: asked[field] for field in pipeline.request.fields}
        self._plainly = [frames.plainly(kind) for kind in fields.values()]
        self._row_logic = RowLogic(pipeline, fields | made)
        self._kinds = self._row_logic.kinds
        self._features = {name: self._kinds[name] for name in pipeline.feature_names}
        places = {name: i for i, name in enumerate(self._kinds)}
        self._keys = [[places[field] for field in fields] for fields in self._asked]
        self._moment = places[pipeline.ask.moment] if pipeline.ask.timed else None
        self._truths = [places[name] for name, kind in made.items() if kind == pl.Boolean]
        self._chosen = [places[name] for name in pipeline.feature_names]

    def state(self) -> tuple[int, int]:
        """Generation of the stored state that was read last, and its watermark in microseconds UTC."""
        return self._record.generation, self._record.watermark

    def forget(self) -> None:
        """Let go of every state that was read: the next question asks the store."""
        self._seen.clear()

    def materialized(self) -> Materialized:
        """What the store holds now.

        Raises:
            FeatureError: nothing has been materialized for this version of the features.
        """
        self._fetch([])
        return self._record

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
        if requests.height <= FEW:
            fields = [frames.physical(requests[name]) for name in self._pipeline.request.fields]
            return frames.of_rows(self._rows([list(row) for row in zip(*fields, strict=True)]), self._features)
        made = self._stored(requests, self._asked_at(requests))
        frame = with_logic(requests.hstack([one.column() for one in made]), self._logic)
        return frame[list(self._features)]

    def answer(self, rows: Sequence[Sequence[object]]) -> list[list[Value]]:
        """The same without frames, which for a few requests take longer than the work.

        Args:
            rows: the fields of each request, in the pipeline's order; times as ``datetime`` with a zone.

        Returns:
            For each the features in the pipeline's order: times in microseconds UTC, dates in days, None where there
            is nothing; errors as in `compute`.
        """
        plain = [[plainly(value) for plainly, value in zip(self._plainly, row, strict=True)] for row in rows]
        if len(rows) <= FEW:
            return self._rows(plain)
        fields = list(self._pipeline.request.fields)
        columns = [
            frames.typed(n, values, self._kinds[n]) for n, values in zip(fields, zip(*plain, strict=True), strict=True)
        ]
        return [list(row) for row in zip(*map(frames.physical, self.compute(pl.DataFrame(columns))), strict=True)]

    def _rows(self, rows: list[list[Value]]) -> list[list[Value]]:
        """The features of a few rows of fields, all as plain values: for these, frames take longer than the work."""
        asked = self._moments(rows)
        columns = [self._column(number, rows) for number in range(len(self._keys))]
        self._see(list(dict.fromkeys(key for column in columns for key in column if key is not None)))
        self._require_in_reach(min(asked, default=None))
        for number, column in enumerate(columns[: len(self._plans)]):
            questions = list(zip(column, asked, strict=True))
            for row, found in zip(rows, self._seen.rows(number, questions), strict=True):
                row.extend(found)
        for item, column in zip(self._tables, columns[len(self._plans) :], strict=True):
            stored = {key: frames.plain_row(item, self._seen.row(key)) for key in set(column)}
            for row, key in zip(rows, column, strict=True):
                row.extend(stored[key])
        for row in rows if self._truths else ():
            for place in self._truths:
                row[place] = None if (value := row[place]) is None else bool(value)
        self._row_logic(rows)
        return [[row[place] for place in self._chosen] for row in rows]

    def _moments(self, rows: list[list[Value]]) -> list[int]:
        """The same of rows of fields as plain values."""
        place = self._moment
        if place is None:
            return [self.watermark()] * len(rows)
        self._require_moment(any(row[place] is None for row in rows))
        return [cast("int", row[place]) - self._lead for row in rows]

    def _column(self, number: int, rows: Sequence[Sequence[Value]]) -> list[bytes | None]:
        """What each row's entity in a group or table is stored under."""
        places = self._keys[number]
        if len(rows) == 1:
            return [keys.stored(number, [rows[0][place] for place in places])]
        return keys.stored_each(number, [tuple([row[place] for place in places]) for row in rows])

    def _asked_at(self, requests: pl.DataFrame) -> Ints:
        """When each is asked, microseconds UTC; what has no time is asked of the present."""
        if not self._pipeline.ask.timed:
            return np.full(requests.height, self.watermark(), dtype=np.int64)
        moment = requests[self._pipeline.ask.moment]
        self._require_moment(moment.null_count())
        times: Ints = moment.cast(pl.Int64).to_numpy()
        return times - self._lead

    def _stored(self, requests: pl.DataFrame, asked: Ints) -> list[frames.Made]:
        """What comes from the store: whatever was not read before in one go, and all of one moment."""
        fields = {name: keys.comparable(requests[name]).to_list() for names in self._asked for name in names}
        wanted = [
            keys.stored_each(number, list(zip(*(fields[name] for name in names), strict=True)))
            for number, names in enumerate(self._asked)
        ]
        self._see(list(dict.fromkeys(key for column in wanted for key in column if key is not None)))
        self._require_in_reach(int(asked.min()))
        made: list[frames.Made] = []
        for number, (plan, column) in enumerate(zip(self._plans, wanted, strict=False)):
            answers = self._seen.answers(number, column, asked)
            made += [frames.Made(f.name, f.dtype, answer) for f, answer in zip(plan.features, answers, strict=True)]
        for item, column in zip(self._tables, wanted[len(self._plans) :], strict=True):
            made += frames.unpacked(item, [self._seen.row(key) for key in column])
        return made

    def _see(self, wanted: Sequence[bytes]) -> None:
        """Have the states of all these keys as they are under one head."""
        for _ in range(ATTEMPTS):
            before = self._head
            missing = self._seen.missing(wanted)
            values = self._fetch(missing)
            self._seen.add(missing, values)
            if self._head == before or len(missing) == len(wanted):
                return
        # It moves between any two looks: ask for everything in one.
        self._seen.clear()
        self._seen.add(wanted, self._fetch(wanted))

    def _fetch(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """Values, with the head as it was at that moment; when it is another one, what was seen holds no more."""
        found = self._store.fetch(self._name, wanted)
        if found is None:
            cure = "Run `raypipe run`, or `raypipe materialize`"
            raise FeatureError("no features are stored for this version", where=self._pipeline.name, cure=cure)
        head, values = found
        if head != self._head:
            self._head, self._record = head, Materialized.from_json(head)
            self._seen.clear()
        return values

    def _made_kinds(self) -> dict[str, pl.DataType]:
        kinds = {feature.name: feature.dtype for plan in self._plans for feature in plan.features}
        for item in self._tables:
            known = schema(item.table)
            kinds |= {feature: known[column] for feature, column in item.features.items()}
        return kinds

    def _require_moment(self, missing: int) -> None:
        if missing:
            raise RequestError("is missing", where=self._pipeline.ask.moment)

    def _require_in_reach(self, asked: int | None) -> None:
        current = self._record
        if asked is not None and asked < current.oldest:
            # What was asked is not repeated: this text goes back to the caller.
            what = f"is older than the stored features, which reach back to {iso(current.oldest + self._lead)}"
            raise RequestError(what, where=self._pipeline.ask.moment, cure="Ask about the present")
