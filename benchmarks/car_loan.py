"""Will a car loan be repaid? NannyML's synthetic loans: what they follow changes at row 25,000 of the second half.

``python -m benchmarks.car_loan`` writes the rows out of NannyML's wheel to the file that the pipeline reads.
"""

from datetime import datetime
from pathlib import Path

import polars as pl

from raypipe import Pipeline, Search, Stream, checks, csv, days, models, periods, request, retrain

FILE = Path(__file__).parents[1] / ".raypipe-bench" / "car_loan.csv"
NUMBERS = "car_value debt_to_income_ratio loan_length driver_tenure"
TEXTS = "salary_range repaid_loan_on_prev_car size_of_downpayment"
FIELDS = [*NUMBERS.split(), *TEXTS.split()]

loans = Stream(
    "loans",
    csv(str(FILE)),
    id=["id"],
    time="timestamp",
    columns={int: "id", datetime: "timestamp", float: f"{NUMBERS} repaid", str: TEXTS},
    derive={"settled_at": pl.col("timestamp") + pl.duration(days=2)},
    reveals={"settled_at": ["repaid"]},
    gate=[checks.not_null("timestamp", "repaid"), checks.rows(1_000)],
)
pipeline = Pipeline(
    "car_loan",
    ask=loans.before("timestamp"),
    inputs=[request(*FIELDS, "timestamp").with_features(**{name: name for name in FIELDS})],
    label=loans.label(pl.col("repaid") == 1, settled_after=days(2)),
    split=periods(train="2018-01..2018-08", tune="2018-09", holdout="2018-10", zone="UTC"),
    search=Search([models.LightGBM()], trials=1, metric="log_loss"),
    retrain=retrain.hybrid(rise=0.25),
)


def write(file: Path = FILE) -> None:
    """The 100,000 loans of both halves in order of time, each with whether it was repaid."""
    from benchmarks.drift import wheel

    with wheel() as archive:
        reference, analysis, target = (
            pl.read_csv(archive.read(f"nannyml/datasets/data/synthetic_car_loan_{part}.csv"))
            for part in ("reference", "analysis", "analysis_target")
        )
    second = analysis.join(target.cast({"repaid": pl.Float64}), on="id", validate="1:1")
    both = pl.concat([reference, second.select(reference.columns)])
    file.parent.mkdir(exist_ok=True)
    both.drop("y_pred", "y_pred_proba").with_columns(pl.col("timestamp") + "Z").write_csv(file)


if __name__ == "__main__":
    write()
