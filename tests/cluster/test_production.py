"""The production profile: the same life on PostgreSQL, S3 and Redis, killed on the way, and no secret anywhere."""

import logging
import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from raypipe.clock import SystemClock
from raypipe.errors import LedgerError, RaypipeError, ServiceError, SettingsError, WorkspaceError
from raypipe.ledger import Ledger
from raypipe.settings import load_settings
from raypipe.wiring import connect
from tests.cluster import life, servers
from tests.processes import processes_with

EVERY = os.environ.get("TEST_EVERY_WINDOW", "") == "1"
PROCESSES = processes_with("tests.cluster.test_production")
#: All of them with `TEST_EVERY_WINDOW=1`; each takes a process, and that takes seconds.
WINDOWS = ["ingest.after_files_before_commit=kill@2", "quarantine.before_commit=kill@1"]
MORE = [
    "ingest.after_commit=kill@1",
    "ingest.after_commit=kill@2",
    "publish.between_tables=kill@1",
    "features.redis_between_batches=kill@1",
    "features.before_flip=kill@1",
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[life.Outcome]:
    """What comes of the same files in a folder of this machine, with nothing set."""
    folder = tmp_path_factory.mktemp("laptop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        life.ship(folder)
        yield life.live(folder)


def test_it_lives_as_on_a_laptop_killed_at_every_turn(production: Path, expected: life.Outcome, s3: servers.S3) -> None:
    life.ship(production)
    for window in WINDOWS + (MORE if EVERY else []):
        process = PROCESSES.Process(target=life.live_until, args=(production, window))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, window
    outcome = life.live(production)
    assert outcome == expected
    assert outcome.aside == 1
    assert life.live(production) == expected
    kept = {path.name for path in (production / ".raypipe").iterdir()}
    assert kept == {"training_sets"}, "tables, ledger and online features are elsewhere"
    assert any(name.startswith(f"{production.name}/lake/trips/data/") for name in s3.objects())


def test_no_secret_is_told(
    production: Path, postgres: servers.Postgres, s3: servers.S3, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="raypipe")
    caplog.set_level(logging.DEBUG, logger="sqlalchemy")
    caplog.set_level(logging.DEBUG, logger="pyiceberg")
    life.ship(production)
    life.live(production)
    settings, platform = load_settings(), connect()
    table = platform.lake._catalog.load_table("lake.trips")
    told = [
        repr(settings),
        settings.model_dump_json(),
        repr(platform),
        repr(pickle.dumps(platform.reopen)),
        repr(pickle.dumps(platform.lake)),
        repr(pickle.dumps(platform.store)),
        repr(table.io.properties),
        repr(platform.ledger.entries()),
        caplog.text,
    ]
    platform.ledger.close()
    with psycopg.connect(postgres.url().replace("postgresql+psycopg", "postgresql")) as connection:
        for name in ("ledger", "iceberg_tables", "iceberg_namespace_properties"):
            told.append(repr(connection.execute(f"SELECT * FROM {name}").fetchall()))
    told += [repr(content) for content in s3.objects().values()]
    for path in production.rglob("*"):
        if path.is_file() and path.name != "redis_url":
            told.append(repr(path.read_bytes()))
    assert not [one[:200] for one in told if servers.CANARY in one]


def test_errors_do_not_tell_it_either(
    production: Path, postgres: servers.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = f"postgresql://raypipe:{servers.CANARY}@/raypipe?host={production}"
    wrong = postgres.url(password=f"not-{servers.CANARY}")
    for value in (away, wrong, f"nonsense {servers.CANARY}", f"mysql://u:{servers.CANARY}@h/d"):
        monkeypatch.setenv("LEDGER_URL", value)
        with pytest.raises(RaypipeError) as caught:
            connect()
        assert servers.CANARY not in str(caught.value)
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("LEDGER_URL", postgres.url())
    (production / "redis_url").write_text(f"redis://:not-{servers.CANARY}@127.0.0.1:1/0")
    platform = connect()
    platform.ledger.close()
    with pytest.raises(ServiceError) as told, platform.store.read("trips"):
        pass
    assert servers.CANARY not in "".join(traceback.format_exception(told.value))


def test_two_open_empty_databases_at_once(production: Path) -> None:
    begin = PROCESSES.Barrier(4)
    processes = [PROCESSES.Process(target=_open, args=(begin,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    ledger = Ledger.at("env:LEDGER_URL", SystemClock())
    assert ledger.verify() == 40
    ledger.close()


def _open(begin: "multiprocessing.synchronize.Barrier") -> None:
    begin.wait(60)
    platform = connect()
    name = multiprocessing.current_process().name
    for number in range(10):
        platform.ledger.append(f"{name}:{number}", "test", "racing")
    assert platform.lake._catalog.namespace_exists("lake")
    platform.ledger.close()


def test_a_store_that_is_away_is_a_sentence(production: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life.ship(production)
    monkeypatch.setenv("LEDGER_URL", f"postgresql://raypipe@/raypipe?host={production}")
    with pytest.raises(LedgerError, match="raypipe doctor"):
        connect()


def test_a_table_of_a_bucket_that_is_not_there(production: Path) -> None:
    life.ship(production)
    text_ = (production / "raypipe.toml").read_text().replace("s3://lakes", "s3://no-such-bucket")
    (production / "raypipe.toml").write_text(text_)
    with pytest.raises(WorkspaceError, match="s3://no-such-bucket"):
        life.live(production)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ('ledger_url = "postgresql://u:secret@h/d"', "setting `ledger_url`: holds a password"),
        ('online_url = "redis://:secret@h"', "setting `online_url`: holds a password"),
        ('warehouse_url = "gs://bucket"', "setting `warehouse_url`: is not written as s3://"),
        ('warehouse_url = "s3://bucket"', "warehouse_url needs a catalog_url"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raypipe.toml").write_text(setting)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert told in str(caught.value)
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("missing", ["psycopg", "redis"])
def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("raypipe.wiring.find_spec", lambda name: None)
    monkeypatch.setattr("raypipe.contracts.databases.find_spec", lambda name: None)
    setting = {"psycopg": "ledger_url", "redis": "online_url"}[missing]
    extra = {"psycopg": "postgres", "redis": "redis"}[missing]
    monkeypatch.setenv(f"RAYPIPE_{setting.upper()}", {"psycopg": "postgresql://h/d", "redis": "redis://h"}[missing])
    with pytest.raises(SettingsError, match=rf"pip install 'raypipe\[{extra}\]'"):
        connect()
