import msgspec
import polars as pl
import pytest

from raypipe.errors import TrainingError
from raypipe.training.data import check_counts, learn_signature, read
from tests.training.data import FEATURES, frame, training_set


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        (frame(50, 1).head(0), "late: period tune: has no rows. Widen the period"),
        (frame(50, 1).with_columns(label=pl.lit(True)), "late: period tune: all 50 labels are true"),
        (frame(50, 1).with_columns(label=pl.lit(False)), "late: period tune: all 50 labels are false"),
        (
            frame(50, 1).with_columns(wind=1 / pl.when(pl.col("hour") > 5).then(1.0).otherwise(0.0)),
            r"late: period tune: feature `wind` is infinite in \d+ rows. Guard its division",
        ),
        (frame(50, 1).drop("wind"), "tune.parquet cannot be read: .*wind"),
        (
            frame(50, 1).with_columns(label=pl.when(pl.col("hour") > 5).then("label")),
            r"late: period tune: \d+ rows have no label",
        ),
    ],
)
def test_a_period_that_nothing_can_be_learned_from_is_told(tmp_path, tune, said):
    record = training_set(tmp_path, 100, tune=tune)
    with pytest.raises(TrainingError, match=said):
        read(record, "tune")


@pytest.mark.parametrize(("rows", "said"), [(0, "has no rows"), (40, "all 40 labels are true")])
def test_a_holdout_that_judges_nothing_is_told_before_the_search(tmp_path, rows, said):
    record = training_set(tmp_path, 100, holdout=frame(rows, 1).with_columns(label=pl.lit(True)))
    with pytest.raises(TrainingError, match=f"late: period holdout: {said}"):
        check_counts(record)


def test_a_missing_or_corrupt_file_is_told(tmp_path):
    record = training_set(tmp_path, 100)
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(TrainingError, match=r"train.parquet cannot be read: .*Build the training set again"):
        read(record, "train")
    (tmp_path / "tune.parquet").unlink()
    with pytest.raises(TrainingError, match=r"tune.parquet cannot be read"):
        read(record, "tune")


@pytest.mark.parametrize(
    ("value", "said"),
    [(3.0, "feature `wind` is 3.0 in all 100 rows"), (None, "feature `wind` is missing in all 100 rows")],
)
def test_a_feature_that_never_varies_is_named(value, said):
    with pytest.raises(TrainingError, match=said):
        learn_signature(frame(100, 0).with_columns(wind=pl.lit(value, pl.Float64)), FEATURES, "late")


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (
            {"label not settled": 1_200, "outside the periods": 3},
            (
                r"has no rows; of all periods were left out: 1,200 because their label .*, 3 outside the periods\. "
                r"Shorten `settled_after`, .* or run again when the labels have settled; widen"
            ),
        ),
        ({"carrier is in an earlier period": 9}, r"left out: 9 carrier is in an earlier period\. Leave out `apart`"),
        ({"no label": 0}, r"period tune: has no rows\. Widen the period, or ingest more history"),
    ],
)
def test_what_took_the_rows_of_a_period_is_told(tmp_path, left, said):
    record = training_set(tmp_path, 100, tune=frame(50, 1).head(0))
    with pytest.raises(TrainingError, match=said):
        check_counts(msgspec.structs.replace(record, left_out=left))


@pytest.mark.parametrize("label", ["on time", 3.5])
def test_a_holdout_of_one_class_or_number_is_told_before_the_search(tmp_path, label):
    varied = [frame(60, seed).with_columns(label=pl.col("carrier")) for seed in range(2)]
    same = frame(40, 1).with_columns(label=pl.lit(label))
    record = training_set(tmp_path, 100, train=varied[0], tune=varied[1], holdout=same)
    with pytest.raises(TrainingError, match=f"late: period holdout: all 40 labels are {label}"):
        check_counts(record)
