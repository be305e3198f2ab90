"""Will an order be sent back? The smallest whole pipeline: one CSV file, one gate, two keys, one search."""

from datetime import datetime
from pathlib import Path

import polars as pl

from raypipe import Pipeline, Search, Stream, agg, checks, csv, days, hours, models, periods, request

orders = Stream(
    "orders",
    csv(str(Path(__file__).with_name("orders.csv"))),
    id=["order_id"],
    time="ordered_at",
    columns={datetime: "ordered_at", str: "order_id shop kind", int: "items returned", float: "amount"},
    # The file says in the same row whether the order came back. That is known two weeks later, and nothing may see it
    # before: it is listed under the moment that reveals it.
    derive={"settled_at": pl.col("ordered_at") + pl.duration(days=14)},
    reveals={"settled_at": ["returned"]},
    gate=[
        checks.not_null("shop", "kind", "amount"),
        checks.between("amount", 0, 5_000),
        checks.one_of("shop", "north", "south", "east"),
        checks.rows(10_000),
    ],
)

asked = request("shop", "kind", "items", "amount", "ordered_at").with_features(
    shop="shop", kind="kind", items="items", amount="amount"
)
shop = orders.by("shop").features(orders_1d=agg.count(days(1)), amount_6h=agg.mean("amount", hours(6)))
settled = orders.at("settled_at").by("shop").features(returned_7d=agg.mean("returned", days(7)))

pipeline = Pipeline(
    "orders",
    ask=orders.before("ordered_at"),
    inputs=[asked, shop, settled],
    label=orders.label(pl.col("returned") == 1, settled_after=days(14)),
    split=periods(train="2025-01..2025-03", tune="2025-04", holdout="2025-05", zone="UTC"),
    search=Search([models.LightGBM(), models.Linear()], trials=4),
    as_of="2025-07-01",
)
