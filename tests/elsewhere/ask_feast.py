"""Run where Feast is: apply a repository, ask for history and for what is online, and compare with a training set.

``python ask_feast.py REPOSITORY TRAINING_SET``; prints as JSON how many values were compared, and which differ.
"""

import json
import math
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from feast import FeatureStore


def same(one: object, other: object) -> bool:
    """Equal, or both nothing; times as Feast gives them, to the microsecond."""
    nothing = [
        value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)) for value in (one, other)
    ]
    if any(nothing):
        return all(nothing)
    return (
        pd.Timestamp(one).tz_localize(None) == pd.Timestamp(other).tz_localize(None)
        if isinstance(other, pd.Timestamp)
        else one == other
    )


def main(repository: Path, rows: Path) -> dict:
    store = FeatureStore(repo_path=str(repository))
    asked = pd.concat([pd.read_parquet(file) for file in sorted(rows.glob("*.parquet"))], ignore_index=True)
    views = list(store.list_feature_views())
    keys = sorted({entity for view in views for entity in view.entities})
    names = [field.name for view in views for field in view.features]
    found = (
        store.get_historical_features(
            asked[keys].assign(event_timestamp=asked["asked_at"], place=range(len(asked))),
            store.get_feature_service(asked_service(store)),
        )
        .to_df()
        .sort_values("place")
    )
    wrong = [
        f"{name} at {place}: {mine} is not {theirs}"
        for name in names
        for place, (mine, theirs) in enumerate(zip(found[name], asked[name], strict=True))
        if not same(mine, theirs)
    ]
    store.materialize(datetime(2012, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC))
    last = asked.sort_values("asked_at").iloc[-1]
    online = store.get_online_features(
        features=[
            f"{view.name}:{field.name}" for view in views for field in view.features if "Unix" not in str(field.dtype)
        ],
        entity_rows=[{key: last[key] if isinstance(last[key], str) else int(last[key]) for key in keys}],
    ).to_dict()
    compared = [name for name in names if name in online]
    wrong += [
        f"{name} online: {online[name][0]} is not {last[name]}"
        for name in compared
        if not same(online[name][0], last[name])
    ]
    return {"history": len(names) * len(asked), "online": len(compared), "wrong": wrong}


def asked_service(store: FeatureStore) -> str:
    return store.list_feature_services()[0].name


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
