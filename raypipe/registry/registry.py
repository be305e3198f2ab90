"""The registry: versions of models, immutable, and who is champion. The ledger is the truth; MLflow mirrors it.

Who reads needs neither the files nor MLflow: what does is imported where it is needed, half a second that each look at
the models would cost.
"""

import logging
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import structs

from raypipe.contracts.records import Candidate, Deployment, Lineage, ModelVersion
from raypipe.errors import KeyTakenError, RegistryError, did_you_mean
from raypipe.failpoints import failpoint
from raypipe.ledger import Entry, Ledger
from raypipe.registry.releases import Arms, Released, arms_of, placed, release
from raypipe.registry.rows import (
    DEPLOYED,
    PROMOTED,
    REGISTERED,
    Promotion,
    Registered,
    body_of,
    champions,
    deployments,
    promotions,
    registered,
    version_of,
)

CHAMPION = "champion"
SLOTS = (CHAMPION,)
#: Stands in the folder of a model while MLflow has not followed its last change.
_BEHIND = ".mlflow-is-behind"

log = logging.getLogger(__name__)


class Registry:
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

    def promote(
        self,
        name: str,
        version: int,
        *,
        expect: int | None,
        why: str,
        who: str = "",
        slot: str = CHAMPION,
        bypass: str = "",
    ) -> ModelVersion:
        """Make a version champion, if the champion is still the one that the caller has seen.

        Args:
            name: the model.
            version: the new champion.
            expect: the champion that the caller knows of; None: there was none.
            why: the reason, for the record.
            who: the person or the process that decided, for the record.
            slot: the alias.
            bypass: why to promote it although its gate before promotion is closed; empty: do not.

        Raises:
            RegistryError: no such version, or somebody else has changed the champion meanwhile.
            GateError: its gate before promotion is closed, or has not judged it.
        """
        from raypipe.registry.admission import admit

        chosen = self.get(name, version)
        admit(self._ledger, chosen, bypass)
        changes = promotions(self._ledger, name, slot)
        change = Promotion(
            slot=slot, version=version, digest=chosen.digest, previous=expect, rollback=False, why=why, who=who
        )
        # A promotion that was killed before it could answer is asked for again: it has been done.
        if not changes or changes[-1][1] != change:
            self._change(name, changes, change)
        self._mirror(name)
        return self.get(name, version)

    def rollback(
        self, name: str, why: str, *, who: str = "", slot: str = CHAMPION, expect: int | None = None
    ) -> ModelVersion:
        """Give the slot back to the version that held it before; again, and it goes further back.

        Args:
            name: the model.
            why: the reason, for the record.
            who: the person or the process that decided, for the record.
            slot: the alias.
            expect: only if this version holds the slot still; None: whichever does.

        Raises:
            RegistryError: nothing held it before, or somebody else has changed the champion meanwhile.
        """
        changes = promotions(self._ledger, name, slot)
        stack = champions(changes)
        if len(stack) < 2:
            raise RegistryError(f"has no earlier {slot} to go back to", where=name, cure="Promote another version")
        if expect is not None and stack[-1] != expect:
            what = f"{slot} is {_number(stack[-1])}, not {_number(expect)}"
            raise RegistryError(what, where=name, cure="Look again, then decide again")
        present, earlier = stack[-1], self.get(name, stack[-2])
        change = Promotion(
            slot=slot, version=earlier.version, digest=earlier.digest, previous=present, rollback=True, why=why, who=who
        )
        self._change(name, changes, change)
        self._mirror(name)
        return self.get(name, earlier.version)

    def withdraw(self, name: str, why: str, *, expect: int, who: str = "", slot: str = CHAMPION) -> None:
        """Take the slot from the first version that ever held it: nobody holds it then, as before.

        Args:
            name: the model.
            why: the reason, for the record.
            expect: only if this version holds the slot still.
            who: the person or the process that decided, for the record.
            slot: the alias.

        Raises:
            RegistryError: another version held it before, or somebody else has changed the champion meanwhile.
        """
        changes = promotions(self._ledger, name, slot)
        if len(champions(changes)) > 1:
            raise RegistryError(f"had another {slot} before", where=name, cure="`raypipe rollback` gives the slot back")
        change = Promotion(slot=slot, version=None, digest="", previous=expect, rollback=True, why=why, who=who)
        self._change(name, changes, change)
        self._mirror(name)

    def at(self, name: str, microseconds: int, slot: str = CHAMPION) -> ModelVersion | None:
        """The version that held the slot at a moment (microseconds UTC), with today's aliases; None: none did."""
        before = [change for entry, change in self.history(name, slot) if entry.at <= microseconds]
        number = before[-1].version if before else None
        return None if number is None else self.get(name, number)

    def earlier(self, name: str, slot: str = CHAMPION) -> int | None:
        """The version that a rollback would give the slot back to; None: there is none."""
        stack = champions(promotions(self._ledger, name, slot))
        return stack[-2] if len(stack) > 1 else None

    def history(self, name: str, slot: str = CHAMPION) -> list[tuple[Entry, Promotion]]:
        """Every change of who holds the slot, in order: when, which, why, and by whom."""
        return promotions(self._ledger, name, slot)

    def arms(self, name: str) -> Arms:
        """The versions that answer beside the champion, with their files."""
        found = arms_of(self._ledger, name)
        versions = [self.get(name, arm.version) for arm in found.arms]
        return structs.replace(found, arms=placed(found, {one.version: (one.folder, one.digest) for one in versions}))

    def release(
        self,
        name: str,
        version: int,
        *,
        role: str,
        share: float,
        where: dict[str, str],
        why: str,
        who: str = "",
        expect: int | None = None,
    ) -> Arms:
        """Let a version answer, or only compute, for a share of the units beside the champion; 0 ends it.

        Args:
            name: the model.
            version: which one.
            role: ``challenger`` or ``shadow``.
            share: 0 to 1.
            where: only rows whose request fields, as text, have these values.
            why: the reason, for the record.
            who: the person or the process that decided, for the record.
            expect: only if so many changes of the arms were made before; None: however many.

        Raises:
            RegistryError: no such version, it is champion, or somebody else changed the arms just now.
            SettingsError: so large a share is not free.
        """
        chosen = self.get(name, version)
        if CHAMPION in chosen.aliases and share:
            raise RegistryError("is champion: it answers already", where=f"{name}/{version}", cure="Release another")
        row = Released(version=chosen.version, role=role, share=share, where=where, why=why, who=who)
        release(self._ledger, name, row, expect)
        return self.arms(name)

    def deployed(self, deployment: Deployment) -> None:
        """Write down which version answers; one that answered already is not written down again."""
        name, same = deployment.name, (deployment.version, deployment.digest)
        # Where the champion was withdrawn, nobody has answered since, whoever is in the last row.
        gone = max((entry.seq for entry, change in self.history(name) if change.version is None), default=0)
        while not (rows := self.deployments(name)) or _answers(rows[-1], gone) != same:
            # Somebody else may put a version into service just now: look again.
            with suppress(KeyTakenError):
                self._ledger.append(f"{DEPLOYED}/{name}/{len(rows) + 1}", DEPLOYED, name, deployment.to_json())
        # MLflow may have been away when the version was made champion: this is the last write of a run.
        self._mirror(name)

    def deployments(self, name: str) -> list[tuple[Entry, Deployment]]:
        """Every change of which version answers, in order."""
        return deployments(self._ledger, name)

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

    def _change(self, name: str, changes: list[tuple[Entry, Promotion]], change: Promotion) -> None:
        """Write the next change of a slot, provided that ``change.previous`` holds it."""
        slot, present = change.slot, changes[-1][1].version if changes else None
        if present != change.previous:
            what = f"{slot} is {_number(present)}, not {_number(change.previous)}"
            raise RegistryError(what, where=name, cure="Look again, then decide again")
        if present == change.version:
            return
        try:
            self._ledger.append(f"{PROMOTED}/{name}/{slot}/{len(changes) + 1}", PROMOTED, name, change.to_json())
        except KeyTakenError:
            what = f"somebody else has changed {slot} just now"
            raise RegistryError(what, where=name, cure="Look again, then decide again") from None
        failpoint("registry.after_promotion")

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


def _number(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"


def _answers(row: tuple[Entry, Deployment], gone: int) -> tuple[int, str] | None:
    """What a row says answers; None: it was withdrawn after it."""
    return (row[1].version, row[1].digest) if row[0].seq > gone else None
