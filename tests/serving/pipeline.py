"""A pipeline of four features over one stream; small enough to check by hand."""

import polars as pl

from raypipe.spec import Pipeline, Stream, agg, csv, days, hours, models, periods, request, search

flights = Stream(
    "flights",
    csv("flights.csv"),
    id=["carrier", "scheduled_at"],
    time="scheduled_at",
    columns={str: "carrier origin stamp", int: "flight", float: "distance dep_delay", bool: "charter"},
    derive={"scheduled_at": pl.col("stamp").str.to_datetime(time_zone="UTC")},
    reveals={"scheduled_at": ["dep_delay"]},
)
pipeline = Pipeline(
    "late",
    ask=flights.before("scheduled_at", hours(1)),
    inputs=[
        request("carrier", "flight", "origin", "charter", "scheduled_at", optional=("distance",)).with_features(
            carrier="carrier", hour=pl.col("scheduled_at").dt.hour(), distance="distance"
        ),
        flights.at("scheduled_at").by("origin").features(origin_delay_1h=agg.mean("dep_delay", hours(1))),
    ],
    label=flights.label(pl.col("dep_delay") > 15, settled_after=days(1)),
    split=periods(train="2013-01", tune="2013-02", holdout="2013-03"),
    search=search.Search([models.Linear()]),
)
