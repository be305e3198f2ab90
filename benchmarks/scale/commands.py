"""How long the commands take that only look, by how many versions and pipelines there are to look at."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.report import QUICK, Row
from benchmarks.scale import rides
from benchmarks.scale.command import Home, timed
from benchmarks.scale.past import Past

VERSIONS = (10, 100) if QUICK else (10, 100, 1_000)
PIPELINES = (1, 10) if QUICK else (1, 10, 100)
#: Of each pipeline, where there are many.
EACH = 3 if QUICK else 10
NAME = "rides"


def of_versions() -> Iterator[Row]:
    """One pipeline whose versions are ten times as many each time."""
    with TemporaryDirectory(prefix="raypipe-scale-") as folder:
        home, past = Home(Path(folder) / "ws"), Past(Path(folder) / "ws", Path(folder) / "made")
        there = 0
        for many in VERSIONS:
            past.runs(NAME, there + 1, many)
            there = many + 1
            _, register_s = timed(partial(past.run, NAME, there))
            _require_versions(home, there)
            figures = {"register_s": register_s} | _seconds(home, past, [NAME], f"{NAME}/3")
            yield Row("raypipe", f"{many:,} versions", figures)
        past.close()


def of_pipelines() -> Iterator[Row]:
    """One workspace with ten times as many pipelines each time."""
    with TemporaryDirectory(prefix="raypipe-scale-") as folder:
        home, past = Home(Path(folder) / "ws"), Past(Path(folder) / "ws", Path(folder) / "made")
        names = [f"rides_{number:03}" for number in range(PIPELINES[-1])]
        there = 0
        for many in PIPELINES:
            for name in names[there:many]:
                past.runs(name, 1, EACH - 1)
                past.run(name, EACH)
            there = many
            _require_pipelines(home, names[:many])
            last = names[many - 1]
            case = f"{many} pipeline{'s' * (many > 1)}, {EACH} versions each"
            yield Row("raypipe", case, _seconds(home, past, [], f"{last}/2"))
        past.close()


def _seconds(home: Home, past: Past, name: list[str], version: str) -> dict[str, float]:
    return {
        "status_s": home.seconds("status"),
        "models_s": home.seconds("models", *name),
        "models_json_s": home.seconds("models", *name, "--json"),
        "lineage_s": home.seconds("lineage", version, "--json"),
        "history_s": home.seconds("history", version.partition("/")[0]),
        "ledger_kb": _ledger(home, past) / 2**10,
    }


def _ledger(home: Home, past: Past) -> int:
    """Bytes of the history, with nothing left in the file beside it that SQLite writes to first."""
    past.ledger.close()
    return sum(file.stat().st_size for file in home.workspace.glob("ledger.db*"))


def _require_versions(home: Home, many: int) -> None:
    listed = home.json("models", NAME)
    assert [one["version"] for one in listed] == list(range(1, many + 1)), len(listed)
    assert [one["version"] for one in listed if one["aliases"]] == [many]
    reigns = home.json("history", NAME)["champions"]
    assert [(one["version"], one["until"] is None) for one in reigns] == [(n, n == many) for n in range(1, many + 1)]
    _require_way(home, NAME, 3)


def _require_pipelines(home: Home, names: list[str]) -> None:
    listed = [(one["name"], one["version"]) for one in home.json("models")]
    assert listed == [(name, number) for name in names for number in range(1, EACH + 1)], len(listed)
    for name in {names[0], names[-1]}:
        _require_way(home, name, 2)


def _require_way(home: Home, name: str, number: int) -> None:
    """The version's own files, gate, training set, trials and deployment; nobody else's."""
    way = home.json("lineage", f"{name}/{number}")
    made = rides.set_of(name, number)
    ids = {kind: [one["id"] for one in way["nodes"] if one["kind"] == kind] for kind in ("file", "trial", "snapshot")}
    facts = {one["kind"]: one["facts"] for one in way["nodes"]}
    assert (way["version"], way["missing"]) == (f"{name}/{number}", []), way["missing"]
    assert (len(ids["file"]), len(ids["trial"])) == (rides.FILES, rides.TRIALS), ids
    assert facts["training set"]["digest"] == made.digest, facts["training set"]
    assert any(str(made.snapshots[0].snapshot_id) in one for one in ids["snapshot"]), ids["snapshot"]
    assert {"gate", "deployment"} <= facts.keys(), facts.keys()
