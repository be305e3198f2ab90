"""Write `orders.csv`, half a year of made-up orders of three shops: `python -m examples.orders.data`."""

from pathlib import Path

import numpy as np
import polars as pl

ROWS, MINUTES = 20_000, 260_640
FILE = Path(__file__).with_name("orders.csv")


def orders(rows: int = ROWS) -> pl.DataFrame:
    """Orders in order of time; whether one is sent back depends on its kind, its amount, and the shop's week."""
    rng = np.random.default_rng(1)
    minute = np.sort(rng.integers(0, MINUTES, rows))
    shop, kind = rng.integers(0, 3, rows), rng.integers(0, 2, rows)
    amount, items = np.round(rng.gamma(2.0, 40.0, rows), 2), rng.integers(1, 6, rows)
    bad_week = (minute // 10_080 + shop * 3) % 5 == 0
    chance = 1 / (1 + np.exp(2.5 - 1.5 * kind - amount / 100 - 1.5 * bad_week))
    return pl.DataFrame(
        {
            "order_id": [f"o{number:05}" for number in range(rows)],
            "ordered_at": pl.Series(minute * 60_000_000 + 1_735_689_600_000_000).cast(pl.Datetime("us")),
            "shop": np.array(["north", "south", "east"])[shop],
            "kind": np.array(["book", "shoe"])[kind],
            "items": items,
            "amount": amount,
            "returned": (rng.random(rows) < chance).astype(int),
        }
    )


if __name__ == "__main__":
    orders().write_csv(FILE, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    print(f"{FILE}: {ROWS:,} orders")
