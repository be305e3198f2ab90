"""A training set without some of its rows: a training set of its own, beside the whole one."""

import shutil
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

import polars as pl
from msgspec import structs

from raypipe.contracts.records import TrainingSet
from raypipe.features import spine
from raypipe.features.training_set import RECORD, by_period, known, publish, write
from raypipe.spec.questions import PERIOD

#: The rows that are not in it, with the check that each failed and why.
ASIDE = "set_aside.parquet"


def without(whole: TrainingSet, rows: pl.LazyFrame, faulty: pl.DataFrame) -> TrainingSet:
    """Write a training set without its faulty rows, and those into a file beside it. What is there is left as it is.

    Args:
        whole: stays as it is.
        rows: all its rows, with the column ``period``.
        faulty: columns ``row`` (the place among ``rows``, from 0), ``check`` and ``reason``; each place once.

    Returns:
        Its record: ``left_out`` counts what was set aside, by check.
    """
    name = sha256(faulty.write_ndjson().encode()).hexdigest()[:8]
    target = Path(f"{whole.folder}-{name}")
    if (record := known(target)) is not None:
        return record
    places = faulty.lazy().with_columns(pl.col("row").cast(pl.get_index_type()))
    placed = rows.with_row_index("row")
    good = placed.join(places.select("row"), on="row", how="anti", maintain_order="left").drop("row")
    frame = good.rename({PERIOD: spine.PERIOD}).collect()
    draft = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        placed.join(places, on="row", how="inner", maintain_order="left").drop("row").collect().write_parquet(
            draft / ASIDE
        )
        counts = dict(faulty.group_by("check", maintain_order=True).len().iter_rows())
        record = structs.replace(
            whole,
            folder=str(target),
            digest=write(frame, draft),
            rows=by_period(frame, pl.len()),
            positives=by_period(frame, pl.col(spine.LABEL).sum()) if whole.positives else {},
            left_out=whole.left_out | {f"set aside by {check}": rows for check, rows in counts.items()},
        )
        (draft / RECORD).write_text(record.to_json())
        publish(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return record
