"""Which features hold a value as it came, which are computed of values, and which are of the clock alone."""

from raypipe.spec import computed, load, of_clock
from tests.architecture.source import ROOT
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


def test_what_follows_from_the_moment_of_asking_alone_is_of_the_clock(tmp_path):
    """A weekday is, and what is made of it; what reads anything else, or nothing at all, is not."""
    features = """hour=pl.col("asked_at").dt.hour(),
    weekday=pl.col("asked_at").dt.weekday(),
    rider_weekday=pl.concat_str("driver", pl.col("asked_at").dt.weekday().cast(pl.String)),
    one=pl.lit(1),"""
    more = 'place, ratio, pl.col("weekday").ge(6).alias("weekend"), (pl.col("hour") * pl.col("area")).alias("both")]'
    text = planted(('hour=pl.col("asked_at").dt.hour(),', features), ("place, ratio]", more))
    assert of_clock(pipeline_of(tmp_path, text)) == {"hour", "weekday", "weekend"}


def test_flights_have_three_features_of_the_clock():
    flights = load(ROOT / "examples/flights/pipeline.py")
    assert of_clock(flights) == {"minute_of_day", "weekday", "day_of_year"}


def test_rows_without_a_moment_have_nothing_of_the_clock(tmp_path):
    text = planted(
        ('ask=rides.before("asked_at")', "ask=zones.rows()"),
        ('label=rides.label(pl.col("tip") > 0, settled_after=days(1))', 'label=zones.label(pl.col("area") > 1)'),
    )
    assert of_clock(pipeline_of(tmp_path, text)) == frozenset()
