# mypy: ignore-errors
# pandera's checks take any callable, and name none of their types.
"""The same checks as a person writes them with pandera alone, on its Polars backend."""

from datetime import timedelta

import numpy as np
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from benchmarks.gates.data import AS_OF, CHANNELS, STATUSES

UTC = pl.Datetime("us", "UTC")
#: Quantiles of what was there before, by which the score is compared.
BINS = 256


def schema_of(before: pl.DataFrame, stores: list[int]) -> pa.DataFrameSchema:
    """The schema: columns, their checks, and checks of the whole.

    Args:
        before: what was there before, a frame.
        stores: the keys that there are, a list.
    """

    def column(kind, *checks, nullable=True):
        return pa.Column(kind, list(checks), nullable=nullable)

    within = lambda low, high, name: pa.Check.in_range(low, high, name=name)  # noqa: E731
    share = lambda data: data.lazyframe.select(pl.col(data.key).count() >= 0.9 * pl.len()).collect().item()  # noqa: E731
    middle = lambda data: data.lazyframe.select(  # noqa: E731
        pl.col(data.key).quantile(0.5, interpolation="equiprobable").is_between(20, 60)
    ).collect().item()  # fmt: skip
    different = lambda data: data.lazyframe.select(pl.col(data.key).n_unique().is_between(10, 50)).collect().item()  # noqa: E731
    unique = lambda data: data.lazyframe.select(~pl.col("id").is_duplicated())  # noqa: E731
    town_shares = before["town"].value_counts(normalize=True)
    # What is compared with is worked out before the clock starts, as raypipe and Great Expectations do.
    edges = np.quantile(before["score"].to_numpy(), np.arange(1, BINS) / BINS)
    below = np.arange(1, BINS) / BINS

    def same_towns(data):
        now = data.lazyframe.collect()["town"].value_counts(normalize=True)
        both = now.join(town_shares, on="town", how="full", coalesce=True).fill_null(0)
        return float((both["proportion"] - both["proportion_right"]).abs().sum()) / 2 <= 0.1

    def same_scores(data):
        values = data.lazyframe.select("score").collect()["score"].to_numpy()
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=BINS)
        return bool(np.abs(counts.cumsum()[:-1] / len(values) - below).max() <= 0.1)

    columns = {
        "id": column(pl.Int64, pa.Check(unique, name="unique id"), nullable=False),
        "store": column(pl.Int64, pa.Check.isin(stores, name="store"), nullable=False),
        "units": column(pl.Int64, within(1, 100, "units")),
        "stock": column(pl.Int64),
        "price": column(pl.Float64, within(0, 1_000, "price"), pa.Check(middle, name="median price")),
        "tax": column(pl.Float64, within(0, 500, "tax")),
        "total": column(pl.Float64),
        "weight": column(pl.Float64),
        "lat": column(pl.Float64, within(-90, 90, "lat")),
        "lon": column(pl.Float64, within(-180, 180, "lon")),
        "score": column(pl.Float64, pa.Check(same_scores, name="drift of score")),
        "sku": column(pl.String, pa.Check.str_matches(r"^[A-Z]{3}-[0-9]{4}$", name="sku"), nullable=False),
        "town": column(
            pl.String, pa.Check(different, name="towns"), pa.Check(same_towns, name="drift of town"), nullable=False
        ),
        "channel": column(pl.String, pa.Check.isin(CHANNELS, name="channel")),
        "email": column(
            pl.String,
            pa.Check.str_matches(r"^[a-z0-9.]+@[a-z]+\.[a-z]{2,3}$", name="email"),
            pa.Check(share, name="null share of email"),
        ),
        "status": column(pl.String, pa.Check.isin(STATUSES, name="status")),
        "online": column(pl.Boolean),
        "at": column(UTC),
        "event_time": column(UTC),
        "known_at": column(UTC),
    }  # fmt: skip
    newest = AS_OF - timedelta(hours=6)
    whole = [
        pa.Check(lambda d: d.lazyframe.select(pl.col("total") >= pl.col("price")), name="total"),
        pa.Check(
            lambda d: d.lazyframe.select(pl.col("known_at") - pl.col("event_time") <= timedelta(hours=2)), name="lag"
        ),
        pa.Check(lambda d: d.lazyframe.select(pl.col("known_at").max() >= newest).collect().item(), name="fresh"),
        pa.Check(
            lambda d: bool(abs(d.lazyframe.select(pl.len()).collect().item() - before.height) <= 0.1 * before.height),
            name="like before",
        ),
    ]
    return pa.DataFrameSchema(columns, checks=whole, strict=True)


def failed(schema: pa.DataFrameSchema, frame: pl.DataFrame) -> dict[str, int]:
    """By check how many rows fail it, 0 for a check of the whole; nothing when all is well."""
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        found = {}
        for error in errors.schema_errors:
            name = {"dtype": "schema"}.get(str(error.check).partition("(")[0], getattr(error.check, "name", None))
            if str(error.check) == "not_nullable":
                name = f"not null {error.schema.name}"
            cases = error.failure_cases
            found[name or str(error.check)] = cases.height if isinstance(cases, pl.DataFrame) else 0
        return found
    return {}
