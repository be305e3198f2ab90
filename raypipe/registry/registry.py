"""The registry: versions of models, and which of them is in charge. Each change is a row of the ledger.

Who is champion changes by compare-and-set: whoever changes it says which one they have seen there.
"""

from contextlib import suppress

from msgspec import structs

from raypipe.contracts.records import Deployment, ModelVersion
from raypipe.errors import KeyTakenError, RegistryError
from raypipe.failpoints import failpoint
from raypipe.ledger import Entry
from raypipe.registry.releases import Arms, Released, arms_of, placed, release
from raypipe.registry.rows import DEPLOYED, PROMOTED, Promotion, champions, deployments, promotions
from raypipe.registry.versions import CHAMPION, Versions


class Registry(Versions):
    """Model versions, who of them is champion, who answers beside it, and who did before."""

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


def _number(version: int | None) -> str:
    return "nobody" if version is None else f"version {version}"


def _answers(row: tuple[Entry, Deployment], gone: int) -> tuple[int, str] | None:
    """What a row says answers; None: it was withdrawn after it."""
    return (row[1].version, row[1].digest) if row[0].seq > gone else None
