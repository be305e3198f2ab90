"""The life of a small model's data in a process of its own, and what it has kept: ``python -m tests.chaos.live``.

``live FOLDER`` ingests, gates, computes features and stores them, on whatever the settings name; ``kept FOLDER`` tells
as JSON what is there.
"""

import json
import sys
from pathlib import Path

from pyiceberg.catalog import Catalog, load_catalog

from raypipe.flows.gate import gate
from raypipe.flows.ingest import ingest
from raypipe.wiring import connect
from tests.chaos.history import History, Thing, caught
from tests.cluster import life
from tests.flows.gated import LATE


def handed_in(data: Path, history: History) -> History:
    """Tell a history of what the files of a folder hand in: every row once, however often a file repeats it."""
    for file in sorted(data.glob("*.csv")):
        for line in file.read_text().splitlines()[1:]:
            number, *_, fare = line.split(",")
            if ("row", number) not in history.asked:
                history.tell("row", number, float(fare))
    return history


def rows_in(folder: Path) -> None:
    """The rows alone: ingest and gate."""
    platform, pipeline = connect(), life.pipeline(folder)
    try:
        snapshots = ingest(platform, life.Silent(), pipeline=pipeline).snapshots
        gate(platform, life.Silent(), pipeline=pipeline, snapshots=snapshots, as_of=LATE)
    finally:
        platform.ledger.close()


def kept(folder: Path) -> tuple[list[Thing], list[str]]:
    """Every row that is in the lake or set aside, and what is broken in itself."""
    platform, stream = connect(), life.pipeline(folder).sources
    trips = next(source for source in stream if source.name == "trips")
    wrong: list[str] = []
    things: list[Thing] = []
    try:
        with caught(wrong):
            rows = platform.lake.frame(platform.lake.ingest(trips, life.Silent())).select("id", "fare").collect()
            things += [Thing("row", str(number), fare) for number, fare in rows.rows()]
            for text in platform.lake.quarantined(trips).collect()["row"]:
                told = json.loads(text)
                things.append(Thing("row", str(told["id"]), told["fare"]))
        with caught(wrong):
            platform.ledger.verify()
    finally:
        platform.ledger.close()
    return things, wrong


def catalog_of(workspace: Path) -> Catalog:
    """The tables of a folder as anybody reads them, past raypipe."""
    return load_catalog("raypipe", type="sql", uri=f"sqlite:///{workspace / 'lake' / 'catalog.db'}")


def rows(catalog: Catalog) -> list[Thing]:
    """Every trip of a lake."""
    table = catalog.load_table("lake.trips")
    there = table.scan(selected_fields=("id", "fare")).to_arrow().to_pylist()
    return [Thing("row", str(one["id"]), one["fare"]) for one in there]


def answers(catalog: Catalog, name: str, key: str) -> list[Thing]:
    """Every row of the batches of a pipeline, by the field that tells its questions apart."""
    table = catalog.load_table(f"batches.{name}")
    return [Thing("answer", str(one)) for one in table.scan(selected_fields=(key,)).to_arrow()[key].to_pylist()]


def predictions(catalog: Catalog, name: str) -> list[Thing]:
    """Every row of a prediction log as Iceberg itself holds it: raypipe's own reader would pass over repeats."""
    table = catalog.load_table(f"predictions.{name}")
    rows = table.scan(selected_fields=("request_id", "row", "score")).to_arrow().to_pylist()
    return [Thing("prediction", one["request_id"], one["score"]) for one in rows]


if __name__ == "__main__":
    verb, where = sys.argv[1], Path(sys.argv[2])
    if verb == "live":
        life.live(where)
    else:
        print(json.dumps(kept(where)))
