"""What is asked: a hundred different questions about flights, in the forms that the systems want them in."""

import json
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from raypipe.clock import SystemClock
from raypipe.contracts import bundle
from raypipe.features import OnlineFeatures
from raypipe.ledger import Ledger
from raypipe.serving.fields import Value
from raypipe.serving.oip_messages import message
from raypipe.serving.tensors import raw_texts
from raypipe.settings import Settings, load_settings
from raypipe.wiring import connect, open_registry

#: So many different rows are asked in turn.
DIFFERENT = 100


@dataclass(frozen=True)
class Asked:
    """A workspace's champion of flights, and what it is asked.

    Attributes:
        settings: of the workspace.
        champion: the folder of its bundle.
        frame: the questions, typed as in the stream.
    """

    settings: Settings
    champion: Path
    frame: pl.DataFrame

    @classmethod
    def in_workspace(cls) -> "Asked":
        """Of the workspace that the settings name."""
        settings = load_settings()
        ledger = Ledger.in_folder(settings.home, SystemClock())
        version = open_registry(settings, ledger, mirror=False).get("flights", "champion")
        ledger.close()
        return cls(settings, Path(version.folder), _flights(settings))

    @cached_property
    def questions(self) -> list[dict[str, Value]]:
        """What raypipe is asked, as its callers write it."""
        rows = self.frame.rows(named=True)
        return [row | {"scheduled_at": row["scheduled_at"].isoformat()} for row in rows]

    @cached_property
    def matrix(self) -> np.ndarray:
        """What the model gets, a row a question; it stands in for what callers of a peer would have looked up."""
        golden = bundle.signature(self.champion).encode(bundle.golden(self.champion))
        return np.nan_to_num(np.resize(golden, (DIFFERENT, golden.shape[1])))

    def fields(self, rows: int) -> list[bytes]:
        """Requests of one row each, or one of all, as callers of raypipe send them."""
        asked = self.questions
        return [json.dumps(one).encode() for one in asked] if rows == 1 else [json.dumps({"rows": asked}).encode()]

    def tensors(self, rows: int) -> bytes:
        """The first so many, as raw tensors in a message of the Open Inference Protocol."""
        inputs, raw = [], []
        for column in self.frame.head(rows).iter_columns():
            texts = column.dtype == pl.String
            inputs.append({"name": column.name, "datatype": "BYTES" if texts else "INT64", "shape": [rows]})
            raw.append(raw_texts(column.to_list()) if texts else column.cast(pl.Int64).to_numpy().tobytes())
        asked = message("ModelInferRequest")(model_name="flights", inputs=inputs, raw_input_contents=raw)
        content: bytes = asked.SerializeToString()
        return content

    def numbers(self, rows: int) -> list[bytes]:
        """Requests of so many rows, as callers of a peer send them."""
        return [json.dumps({"rows": part.tolist()}).encode() for part in self.parts(rows)]

    def parts(self, rows: int) -> list[np.ndarray]:
        """The matrix, so many rows at a time."""
        return np.split(self.matrix, DIFFERENT // rows)


def _flights(settings: Settings) -> pl.DataFrame:
    """Flights of the day that begins where the stored features end, as callers would ask for them."""
    platform = connect(settings)
    with closing(platform.ledger):
        pipeline = bundle.pipeline(Path(platform.registry.get("flights", "champion").folder))
        state = OnlineFeatures(pipeline, platform.store).materialized()
        snapshot = platform.lake.published(pipeline.ask.stream)
        assert snapshot is not None
        rows = pl.scan_parquet(platform.lake.paths(snapshot)).select(pipeline.request.fields).drop_nulls()
        end = pl.lit(state.watermark).cast(pl.Datetime("us", "UTC"))
        found = rows.filter(pl.col("scheduled_at") > end).sort("scheduled_at").head(1_000).collect()
    return found.sample(DIFFERENT, seed=0)
