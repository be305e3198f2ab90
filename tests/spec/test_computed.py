"""Which features hold a value as it came, and which are computed of values."""

from raypipe.spec import computed
from tests.spec.rides import pipeline_of, planted


def test_windows_and_expressions_are_computed_and_columns_are_not(tmp_path):
    features = """zone_last=agg.last("tip", max_age=days(1)),
    zone_first=agg.first("fare", hours(2)),
    zone_doubled=agg.last(pl.col("tip") * 2, max_age=days(1)),
    zone_tipped=agg.last("tipped", max_age=days(1)),
    zone_highest=agg.max("fare", hours(2)),
    zone_since=agg.since(),"""
    text = planted(
        ('zone_last=agg.last("tip", max_age=days(1)),', features),
        ('zone="zone",\n', 'zone="zone",\n    rider=pl.col("driver").cast(pl.String),\n'),
    )
    pipeline = pipeline_of(tmp_path, text)
    assert set(pipeline.feature_names) - computed(pipeline) == {"zone", "rider", "zone_last", "zone_first", "area"}


def test_a_new_name_makes_nothing_of_a_column_and_no_column_of_what_is_computed(tmp_path):
    renamed = 'place, ratio, pl.col("area").alias("size"), pl.col("zone_fare").alias("usual")]'
    found = computed(pipeline_of(tmp_path, planted(("place, ratio]", renamed))))
    assert "size" not in found
    assert {"ratio", "usual"} <= found
