"""Versions of models, each an immutable folder of files. The ledger is the truth; MLflow mirrors it.

Who reads needs neither the files nor MLflow: what does is imported where it is needed, half a second that each look at
the models would cost.
"""

import logging
from contextlib import suppress
from pathlib import Path

import msgspec

from raypipe.contracts.records import Candidate, Lineage, ModelVersion
from raypipe.errors import KeyTakenError, RegistryError, did_you_mean
from raypipe.failpoints import failpoint
from raypipe.ledger import Ledger
from raypipe.registry.rows import REGISTERED, Registered, body_of, champions, promotions, registered, version_of

CHAMPION = "champion"
SLOTS = (CHAMPION,)
#: Stands in the folder of a model while MLflow has not followed its last change.
_BEHIND = ".mlflow-is-behind"

log = logging.getLogger(__name__)


class Versions:
    """Model versions in a folder, told of by the ledger, mirrored into MLflow.

    Reading needs neither MLflow nor the network. A write that MLflow did not follow is logged as a warning, and the
    next write, `catch_up` or `mirror` brings it up to date.

    Args:
        folder: where the files are kept, as ``models/{name}/{digest}/``.
        ledger: what happened.
        tracking_uri: where MLflow is; ``""`` for no mirror.
        lock_seconds: how long to wait for another process that adds a version of the same model.
    """

    def __init__(self, folder: Path, ledger: Ledger, tracking_uri: str, lock_seconds: float = 60.0) -> None:
        self._folder = folder / "models"
        self._ledger = ledger
        self._tracking_uri = tracking_uri
        self._lock_seconds = lock_seconds

    def register(self, candidate: Candidate, lineage: Lineage) -> ModelVersion:
        """Make a candidate an immutable version. The same files from the same data are registered once.

        Raises:
            RegistryError: the bundle is damaged, is not the candidate's, or does not score as its trainer said.
            WorkspaceError: the files cannot be written.
        """
        from raypipe.registry.examine import examine
        from raypipe.registry.files import keep, locked

        name = candidate.pipeline
        row = Registered(
            version=0,
            algorithm=candidate.algorithm,
            metrics=candidate.metrics,
            digest=examine(candidate, lineage),
            lineage=lineage,
        )
        with locked(self._folder / name, self._lock_seconds):
            keep(Path(candidate.folder), self._folder / name, row.digest)
            failpoint("registry.after_copy")
            version = self._enter(name, row)
            failpoint("registry.after_ledger")
        self._mirror(name)
        failpoint("registry.after_mlflow")
        return self.get(name, version)

    def names(self) -> list[str]:
        """The models that have a version."""
        return self._ledger.subjects(REGISTERED)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model in order; none when there is no such model."""
        rows = registered(self._ledger, name)
        held = {slot: champions(promotions(self._ledger, name, slot))[-1:] for slot in SLOTS} if rows else {}
        return [
            version_of(name, entry, row, self._folder / name, tuple(s for s in SLOTS if held[s] == [row.version]))
            for entry, row in rows
        ]

    def get(self, name: str, version: int | str) -> ModelVersion:
        """A version by its number, or by an alias such as ``"champion"``.

        Raises:
            RegistryError: there is no such model, version or alias; says which there are.
        """
        wanted = str(version)
        number = self.holder(name, wanted) if wanted in SLOTS else wanted
        # By its key: a history of a thousand versions is not read for one of them.
        if entry := self._ledger.get(f"{REGISTERED}/{name}/{number}"):
            row = body_of(entry, Registered)
            held = tuple(slot for slot in SLOTS if self.holder(name, slot) == row.version)
            return version_of(name, entry, row, self._folder / name, held)
        many = self._ledger.count(REGISTERED, name)
        if not many:
            raise RegistryError("no version of this model is registered", where=name, cure=self._cure(name))
        if wanted in SLOTS:
            raise RegistryError(f"has no {wanted}", where=name, cure=f"Promote one of its {many} versions")
        known = f"It has versions 1 to {many}, and aliases {', '.join(SLOTS)}"
        raise RegistryError(f"has no version `{wanted}`", where=name, cure=known)

    def champion(self, name: str) -> ModelVersion | None:
        """The version in charge, or None."""
        number = self.holder(name)
        return None if number is None else self.get(name, number)

    def holder(self, name: str, slot: str = CHAMPION) -> int | None:
        """The number of the version that holds a slot; None: none does."""
        stack = champions(promotions(self._ledger, name, slot))
        return stack[-1] if stack else None

    def mirror(self, name: str) -> list[str]:
        """Bring MLflow's copy of a model up to the ledger, and say what it lacked.

        Raises:
            RegistryError: MLflow cannot be reached, or refuses.
        """
        if not self._tracking_uri:
            return []
        from raypipe.registry.files import locked
        from raypipe.registry.mirror import Mirror

        with locked(self._folder / name, self._lock_seconds):
            versions = self.versions(name)
            aliases = {slot: next((v.version for v in versions if slot in v.aliases), None) for slot in SLOTS}
            done = Mirror(self._tracking_uri).sync(name, versions, aliases)
            (self._folder / name / _BEHIND).unlink(missing_ok=True)
        return done

    def catch_up(self) -> None:
        """Bring MLflow up to the ledger where it did not follow: it was away, or a process was killed on the way.

        Where it did follow, it is asked nothing. What does not succeed now is left to the next time, with a warning.
        """
        for mark in self._folder.glob(f"*/{_BEHIND}"):
            self._mirror(mark.parent.name)

    def _enter(self, name: str, row: Registered) -> int:
        """Write the version's row under the next free number, or find the row that says the same."""
        while True:
            for entry in self._ledger.entries(REGISTERED, name, row.digest):
                present = body_of(entry, Registered)
                if present.identity == row.identity:
                    return present.version
            number = self._ledger.count(REGISTERED, name) + 1
            body = msgspec.structs.replace(row, version=number).to_json()
            try:
                self._ledger.append(f"{REGISTERED}/{name}/{number}", REGISTERED, name, body)
            except KeyTakenError:
                continue  # another host was first: look again
            return number

    def _mirror(self, name: str) -> None:
        if not self._tracking_uri:
            return
        try:
            self._mark(name)
            self.mirror(name)
        except RegistryError as error:
            # Somebody else may have caught up meanwhile, with less than this.
            self._mark(name)
            log.warning("%s", error)

    def _mark(self, name: str) -> None:
        # On a disk that is full the next write catches up.
        with suppress(OSError):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
            (self._folder / name / _BEHIND).touch()

    def _cure(self, name: str) -> str:
        return did_you_mean(name, self.names()) or "Run `raypipe run` on its pipeline first"
