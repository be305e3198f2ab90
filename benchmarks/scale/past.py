"""A workspace with a long past: so many pipelines, each with so many versions that were champion and answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import structs
from sqlalchemy import event

from benchmarks.scale import rides
from raypipe.clock import ManualClock
from raypipe.contracts.records import Deployment, Lineage, ModelVersion
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from raypipe.registry.rows import DEPLOYED, PROMOTED, REGISTERED, Promotion, Registered

SECOND = 1_000_000


class Past:
    """Writes what runs would have written, row by row; only the newest version of a pipeline has its files.

    Args:
        workspace: where.
        made: for definitions and candidates.
    """

    def __init__(self, workspace: Path, made: Path) -> None:
        self._workspace, self._made = workspace, made
        self._clock = ManualClock(rides.AS_OF)
        self.ledger = Ledger.in_folder(workspace, self._clock)
        self.registry = Registry(workspace / "registry", self.ledger, "")

    def run(self, name: str, number: int) -> None:
        """A run whose model becomes version ``number``, takes over and answers."""
        version = self.promoted(name, number)
        self.registry.deployed(self._answers(name, number, version.digest))

    def promoted(self, name: str, number: int) -> ModelVersion:
        """A run whose model becomes version ``number`` and champion, as its stages and the registry write it down."""
        self._clock.advance(SECOND)
        chosen, lineage = rides.candidate(self._made, name, number)
        self._stages(self.ledger, name, number)
        version = self.registry.register(chosen, lineage)
        previous = number - 1 or None
        return self.registry.promote(name, version.version, expect=previous, why="better on May", who="a rule")

    def runs(self, name: str, first: int, last: int) -> None:
        """Many such runs, as rows of the ledger alone."""
        _, lineage = rides.candidate(self._made, name, first)
        with self._hasty() as ledger:
            for number in range(first, last + 1):
                self._clock.advance(SECOND)
                self._stages(ledger, name, number)
                for key, kind, body in self._entered(name, number, lineage):
                    ledger.append(key, kind, name, body)

    @contextmanager
    def _hasty(self) -> Iterator[Ledger]:
        """The same history, whose thousands of rows need not reach the disk one by one."""
        ledger = Ledger.in_folder(self._workspace, self._clock)
        ledger.close()
        event.listen(ledger._engine, "connect", lambda one, _: one.execute("PRAGMA synchronous=OFF"))
        yield ledger
        ledger.close()

    def _stages(self, ledger: Ledger, name: str, number: int) -> None:
        for stage, record in (
            ("gate", rides.report_of(name, number)),
            ("features", rides.set_of(name, number)),
            ("train", rides.chosen_of(name, number, "")),
        ):
            ledger.append(f"stage:{name}:{stage}:{number:032}", f"stage.{stage}", name, record.to_json())

    def _entered(self, name: str, number: int, lineage: Lineage) -> Iterator[tuple[str, str, str]]:
        chosen, made, digest = rides.chosen_of(name, number, ""), rides.set_of(name, number), f"{number:064}"
        mine = structs.replace(
            lineage,
            training_set=made.digest,
            as_of=made.as_of,
            snapshots={one.table: one.snapshot_id for one in made.snapshots},
            files=made.snapshots[0].files,
            params=chosen.params,
        )
        row = Registered(
            version=number, algorithm=chosen.algorithm, metrics=chosen.metrics, digest=digest, lineage=mine
        )
        yield f"{REGISTERED}/{name}/{number}", REGISTERED, row.to_json()
        change = Promotion(
            slot="champion",
            version=number,
            digest=digest,
            previous=number - 1 or None,
            rollback=False,
            why="better on May",
            who="a rule",
        )
        yield f"{PROMOTED}/{name}/champion/{number}", PROMOTED, change.to_json()
        yield f"{DEPLOYED}/{name}/{number}", DEPLOYED, self._answers(name, number, digest).to_json()

    def _answers(self, name: str, number: int, digest: str) -> Deployment:
        url = f"http://127.0.0.1:8000/{name}/predict"
        return Deployment(name=name, version=number, digest=digest, url=url, at=self._clock.now())

    def close(self) -> None:
        """Give the ledger back."""
        self.ledger.close()
