"""A feature reader that needs no store, opened by name in a replica."""

from collections.abc import Sequence

import polars as pl

from raypipe.contracts.reader import FeatureReader
from raypipe.serving.fields import request_fields
from raypipe.spec import Pipeline


class FakeReader:
    """What the request gives, and a constant for the rest."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sizes: list[int] = []

    def watermark(self) -> int:
        return 1_372_636_800_000_000

    def state(self) -> tuple[int, int]:
        return 7, self.watermark()

    def compute(self, requests: pl.DataFrame) -> pl.DataFrame:
        self.sizes.append(requests.height)
        return requests.select(
            "carrier",
            pl.col("scheduled_at").dt.hour().alias("hour"),
            pl.col("distance"),
            origin_delay_1h=pl.lit(10.0),
        )

    def answer(self, rows: Sequence[Sequence[object]]) -> Sequence[Sequence[object]]:
        fields, columns = request_fields(self.pipeline), zip(*rows, strict=True)
        return self.compute(pl.DataFrame([f.series(c) for f, c in zip(fields, columns, strict=True)])).rows()


def open_reader(pipeline: Pipeline) -> FeatureReader:
    return FakeReader(pipeline)
