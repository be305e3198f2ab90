"""A small pipeline without a fault, as text, so that tests can plant one and ask for its line."""

from pathlib import Path

from raypipe.errors import DefinitionError, Fault
from raypipe.spec import Pipeline, lint, load

RIDES = """
from datetime import datetime

import polars as pl

from raypipe import AtLeast, Pipeline, Search, Stream, Table, agg, checks, csv, derived, hours, days, minutes
from raypipe import Finish, models, periods, request, retrain, search, Retrain

zones = Table(
    "zones",
    csv("zones.csv"),
    key="zone",
    columns={str: "zone borough", float: "area"},
    gate=[checks.unique("zone"), checks.between("area", 0, 100)],
)
rides = Stream(
    "rides",
    csv("rides.csv"),
    id=["ride"],
    time="asked_at",
    columns={str: "ride zone driver", float: "fare tip", datetime: "asked_at done_at"},
    derive={"borough": zones.lookup("borough", by="zone"), "tipped": pl.col("tip") > 0},
    reveals={"done_at": ["fare", "tip"]},
    gate=[
        checks.not_null("ride"),
        checks.between("fare", 0, 500),
        checks.refers("zone", to=zones),
        checks.matches("ride", "r[0-9]+"),
        checks.one_of("zone", "a", "b"),
        checks.holds(pl.col("done_at") > pl.col("asked_at")),
        checks.fresh(within=hours(6)),
    ],
)
asked = request("ride", "zone", "driver", "asked_at").with_features(
    zone="zone",
    hour=pl.col("asked_at").dt.hour(),
)
by_zone = rides.at("done_at").by("zone").features(
    zone_fare=agg.mean("fare", hours(3)),
    zone_last=agg.last("tip", max_age=days(1)),
    zone_recent=agg.decayed_mean("fare", half_life=hours(1)),
    zone_median=agg.percentile("fare", 0.5, days(1)),
)
place = zones.columns_by("zone", "area")
ratio = derived(ratio=pl.col("zone_fare") / pl.col("area"))
pipeline = Pipeline(
    "rides",
    ask=rides.before("asked_at"),
    inputs=[asked, by_zone, place, ratio],
    label=rides.label(pl.col("tip") > 0, settled_after=days(1)),
    split=periods(train="2013-01..2013-02", tune="2013-03", holdout="2013-04"),
    search=Search([models.LightGBM(num_leaves=search.integer(4, 64)), models.Linear()], trials=4),
)
"""


def pipeline_of(folder: Path, text: str = RIDES) -> Pipeline:
    file = folder / "pipeline.py"
    file.write_text(text)
    return load(file)


def faults_of(folder: Path, text: str) -> tuple[Fault, ...]:
    """What lint and the loader say of a definition; nothing when it is sound."""
    try:
        lint(pipeline_of(folder, text))
    except DefinitionError as error:
        return error.faults
    return ()


def planted(*changes: tuple[str, str]) -> str:
    """The sound definition with some of its text replaced; each piece of text must be there once."""
    text = RIDES
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def line_of(text: str, mark: str = "# here") -> int:
    [line] = [number for number, line in enumerate(text.splitlines(), 1) if mark in line]
    return line
