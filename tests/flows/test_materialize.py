"""The online store follows what gates publish: new, late and quarantined rows, each time in one recorded step."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest

from raypipe import features
from raypipe.contracts import bundle
from raypipe.contracts.progress import Silent
from raypipe.contracts.records import MATERIALIZED, Materialized, Snapshot
from raypipe.errors import FeatureError
from raypipe.features import OnlineFeatures, build_training_set
from raypipe.features.materialize import definition
from raypipe.features.materialize import name as stored_under
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.flows import Platform
from raypipe.flows.gate import gate
from raypipe.flows.ingest import ingest
from raypipe.flows.materialize import materialize, materialize_line, refresh, store_features
from raypipe.spec import Pipeline, Search, agg, checks, days, hours, models, periods, request
from tests.flows.gated import LATE, House
from tests.lake.sources import START, line, towns


@dataclass(frozen=True)
class Home(House):
    """A house with an online store, and a pipeline of features over trips and towns."""

    @property
    def store(self) -> LmdbStore:
        return LmdbStore(self.folder / "online")

    @property
    def pipeline(self) -> Pipeline:
        stream, places = self.stream, towns(self.folder / "towns.csv")
        by_town = stream.at("ended_at").by("town").features(
            fares=agg.sum("fare", days(30)), trips=agg.count(days(30)), dearest=agg.max("fare", days(30)),
            last_fare=agg.last("fare"), slow=agg.percentile("minutes", 0.9, days(2)),
            fading=agg.decayed_mean("fare", half_life=hours(6)),
        )  # fmt: skip
        return Pipeline(
            "trips",
            ask=stream.before("started"),
            inputs=[request("town", "started"), by_town, places.columns_by("town", "size")],
            label=stream.label(pl.col("fare") > 5, settled_after=days(1)),
            split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
            search=Search([models.Linear()]),
        )

    def settle(self, places: str = "Bern,CET,1\nWien,CET,2\n") -> None:
        (self.folder / "towns.csv").write_text("town,zone,size\n" + places)

    def publish(self) -> None:
        platform = cast(Platform, self)
        found = ingest(platform, Silent(), pipeline=self.pipeline).snapshots
        gate(platform, Silent(), pipeline=self.pipeline, snapshots=found, as_of=LATE)

    def run(self, as_of: int) -> Materialized:
        """As the stages of `raypipe run` do: the gate's own record of the snapshots goes on to the store."""
        platform = cast(Platform, self)
        found = ingest(platform, Silent(), pipeline=self.pipeline).snapshots
        report = gate(platform, Silent(), pipeline=self.pipeline, snapshots=found, as_of=LATE)
        return store_features(platform, Silent(), self.pipeline, report.snapshots, as_of)

    def materialize(self, as_of: int, *, anew: bool = False) -> Materialized:
        return materialize(cast(Platform, self), Silent(), pipeline=self.pipeline, as_of=as_of, anew=anew)

    def answers(self, as_of: int, store: LmdbStore | None = None) -> list[tuple[object, ...]]:
        """Features of four towns; what fades may differ in its last bits."""
        asked = pl.DataFrame({"town": ["Bern", "Wien", "Graz", "Linz"], "started": [as_of] * 4})
        kinds = {"started": pl.Datetime("us", "UTC")}
        return (
            OnlineFeatures(self.pipeline, store or self.store)
            .compute(asked.cast(kinds))
            .with_columns(pl.col("fading").round(12))
            .rows()
        )


def at(hour: int) -> int:
    return (int(START.timestamp()) + 3600 * hour) * 1_000_000


def test_nothing_published_is_said(tmp_path: Path) -> None:
    house = Home(tmp_path)
    with pytest.raises(FeatureError, match=r"^trips: nothing of `trips` has passed a gate yet. Run `raypipe run FILE"):
        house.materialize(LATE)


def test_the_store_follows_the_lake(tmp_path: Path) -> None:
    sound = checks.between("fare", 0, 100).quarantine()
    house, fresh = Home(tmp_path, (sound,)), LmdbStore(tmp_path / "fresh")
    days_of_trips = [
        ("a", [line(i, "Bern" if i % 2 else "Wien", fare=i / 3) for i in range(40)], "Bern,CET,1\nWien,CET,2\n"),
        ("b", [line(i, "Bern" if i % 2 else "Graz", fare=i / 7) for i in range(45, 50)], "Bern,CET,1\nWien,CET,2\n"),
        ("c", [line(44, "Wien"), line(50, "Bern", fare=500.0), line(51, "Bern")], "Bern,CET,9\nGraz,CET,3\n"),
    ]
    records = []
    for day, (name, rows, places) in enumerate(days_of_trips):
        house.ship(name, *rows)
        house.settle(places)
        house.publish()
        as_of = at(46 + 3 * day)
        records.append(house.materialize(as_of))
        assert house.materialize(as_of) == records[-1], "the same again is no work"
        found = house.answers(as_of)
        assert found == fresh_answers(house, fresh, as_of)
    assert [record.generation for record in records] == [1, 1, 1]
    kept = [Materialized.from_json(entry.body) for entry in house.ledger.entries(MATERIALIZED, "trips")]
    assert kept == records
    assert materialize_line(records[-1]).endswith("known up to 2024-01-03T04:00:00Z, generation 1")


def test_after_a_run_there_is_nothing_to_materialize(tmp_path: Path) -> None:
    house = Home(tmp_path)
    house.ship("a", *(line(i) for i in range(30)))
    house.settle()
    made = house.run(at(40))
    assert any(snapshot.added for snapshot in made.snapshots)
    assert house.materialize(at(40)) == made
    assert len(house.ledger.entries(MATERIALIZED, "trips")) == 1


def windowed(home: Home, hours_: int) -> Pipeline:
    """The same pipeline with another window."""
    fares = home.stream.at("ended_at").by("town").features(fares=agg.sum("fare", hours(hours_)))
    return Pipeline(
        "trips",
        ask=home.stream.before("started"),
        inputs=[request("town", "started"), fares],
        label=home.stream.label(pl.col("fare") > 5, settled_after=days(1)),
        split=periods(train="2024-01", tune="2024-02", holdout="2024-03"),
        search=Search([models.Linear()]),
    )


@dataclass
class Models:
    """As much of a registry as the store is kept by: the folder of a version is its number."""

    pipelines: dict[int, Pipeline]
    now: int
    beside: tuple[int, ...] = ()
    before: int | None = None

    def get(self, _: str, version: int | str) -> SimpleNamespace:
        return SimpleNamespace(folder=str(self.now if version == "champion" else int(version)))

    def champion(self, name: str) -> SimpleNamespace:
        return self.get(name, self.now)

    def arms(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(arms=[SimpleNamespace(version=version) for version in self.beside])

    def earlier(self, name: str) -> int | None:
        return self.before


def test_what_is_in_service_is_kept_up_to_date_and_the_rest_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = Home(tmp_path)
    house.ship("a", *(line(i) for i in range(30)))
    house.settle()
    house.publish()
    made = {number: windowed(house, number) for number in range(1, 9)}
    known = Models(made, now=1, before=8)
    platform = SimpleNamespace(
        registry=known, lake=house.lake, store=house.store, ledger=house.ledger, clock=house.clock
    )
    monkeypatch.setattr(bundle, "pipeline", lambda folder: made[int(folder.name)])

    def brought(moment: int, **more: object) -> list[str]:
        states = refresh(cast(Platform, platform), Silent(), name="trips", moment=moment, **more)  # type: ignore[arg-type]
        assert {state.watermark for state in states} == {moment}
        return [state.definition for state in states]

    names = {number: definition(one) for number, one in made.items()}
    for number in range(8, 1, -1):
        materialize(cast(Platform, platform), Silent(), pipeline=made[number], as_of=at(40))
    # A changed file: its definition, and the champion's.
    assert brought(at(41), pipeline=made[2]) == [names[2], names[1]]
    # The name alone, while a challenger answers beside; a version.
    known.beside = (3, 1)
    assert brought(at(42)) == [names[1], names[3]]
    assert brought(at(43), version="4") == [names[4], names[1], names[3]]

    def moments() -> dict[int, int | None]:
        found: dict[int, int | None] = {}
        for number, one in made.items():
            with house.store.read(stored_under(one)) as reading:
                found[number] = None if reading is None else Materialized.from_json(reading.head).watermark
        return found

    # Three states that nobody is served from were kept each time, the newest; a rollback would go back to 8.
    assert moments() == {1: at(43), 2: at(41), 3: at(43), 4: at(43), 5: at(40), 6: None, 7: None, 8: at(40)}


def fresh_answers(house: Home, store: LmdbStore, as_of: int) -> list[tuple[object, ...]]:
    """The same from a store of its own, loaded anew."""
    snapshots = {source.name: house.lake.published(source) for source in house.pipeline.sources}
    features.materialize(house.pipeline, snapshots, house.lake.frame, store, as_of, Silent())  # type: ignore[arg-type]
    return house.answers(as_of, store)


def test_anew_is_another_generation_with_the_same_answers(tmp_path: Path) -> None:
    house = Home(tmp_path)
    house.ship("a", *(line(i) for i in range(30)))
    house.settle()
    house.publish()
    first = house.materialize(at(20))
    second = house.materialize(at(25))
    before = house.answers(at(25))
    third = house.materialize(at(26), anew=True)
    fourth = house.materialize(at(26), anew=True)
    assert [one.generation for one in (first, second, third, fourth)] == [1, 1, 2, 3]
    assert fourth.digest == third.digest
    assert house.answers(at(25)) == before


def test_a_training_set_is_made_again_to_the_byte_after_late_data_came(tmp_path: Path) -> None:
    """From the snapshots that it was made of; the newest ones give another one."""
    house = Home(tmp_path)
    house.settle()
    house.ship("a", *(line(i, ("Bern", "Wien")[i % 2], fare=i / 7) for i in range(600) if i % 5))
    house.publish()

    def published() -> dict[str, Snapshot]:
        found = {source.name: house.lake.published(source) for source in house.pipeline.sources}
        return {name: one for name, one in found.items() if one is not None}

    def made(name: str, snapshots: dict[str, Snapshot]) -> tuple[str, list[bytes]]:
        record = build_training_set(house.pipeline, snapshots, house.lake.frame, tmp_path / name, at(590), Silent())
        return record.digest, [path.read_bytes() for path in sorted(Path(record.folder).glob("*.parquet"))]

    then = published()
    first = made("first", then)
    house.ship("late", *(line(i, "Bern", fare=1.0) for i in range(0, 600, 5)))
    house.publish()
    assert made("again", then) == first
    assert made("newest", published())[0] != first[0]
