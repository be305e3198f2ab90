"""One version into several clusters: all of them, or all of them back."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Record
from raypipe.errors import RaypipeError, ServiceError
from raypipe.flows.receive import Received
from raypipe.services.region import run_there


class Region(Protocol):
    """Another cluster, as this one sees it."""

    def take_in(self, parcel: Path) -> Received:
        """Check and register what a parcel holds; errors as in `receive.take_in`."""
        ...

    def let_answer(self, parcel: Path, received: Received) -> Received:
        """Let it answer; errors as in `receive.let_answer`."""
        ...

    def go_back(self, parcel: Path, received: Received, why: str) -> None:
        """Let the champion before answer again; raises RaypipeError."""
        ...


@dataclass(frozen=True)
class RemoteRegion:
    """A cluster that is reached through its Ray dashboard; raypipe runs there with its own settings.

    Attributes:
        name: of the region.
        dashboard: the URL.
    """

    name: str
    dashboard: str

    def take_in(self, parcel: Path) -> Received:
        """Check and register; errors as in `Region`."""
        return self._received(parcel, ["receive", "."])

    def let_answer(self, parcel: Path, received: Received) -> Received:
        """Let it answer; errors as in `Region`."""
        return self._received(parcel, ["receive", ".", "--serve"])

    def go_back(self, parcel: Path, received: Received, why: str) -> None:
        """Let the champion before answer again; errors as in `Region`."""
        if received.before is None:
            raise ServiceError("had no champion before to go back to", where=self.name)
        self._run(parcel, ["rollback", received.name, "--why", why])

    def _received(self, parcel: Path, arguments: list[str]) -> Received:
        return msgspec.convert(self._run(parcel, arguments), Received)

    def _run(self, parcel: Path, arguments: list[str]) -> dict[str, object]:
        return run_there(self.dashboard, parcel, arguments, f"raypipe: {arguments[0]}", self.name)


class Deployed(Record, frozen=True, kw_only=True):
    """A version that answers in several regions under one digest: its number in each."""

    name: str
    digest: str
    versions: dict[str, int]


@dataclass(frozen=True)
class _Done:
    """What became of a region: what it answered, or why it did not."""

    received: Received | None
    error: RaypipeError | None = None


def deploy_to(regions: Mapping[str, Region], parcel: Path, progress: Progress) -> Deployed:
    """Let all regions take a parcel in, then all of them answer with it; if one does not, none does.

    Args:
        regions: by name.
        parcel: the folder that `registry.parcel.pack` wrote.
        progress: is told how it goes.

    Raises:
        ServiceError: a region refused. Those that had changed are back; one that could not go back is named.
    """
    with progress.step(f"deploy to {', '.join(regions)}", total=2.0 * len(regions)) as step:
        ready = _each(regions, lambda _, region: region.take_in(parcel), step.advance)
        _require(ready, "nothing was changed anywhere")
        taken = {name: done.received for name, done in ready.items() if done.received is not None}
        begun = _each(regions, lambda name, region: region.let_answer(parcel, taken[name]), step.advance)
        if failed := [name for name, done in begun.items() if done.error is not None]:
            answering = {name: done.received for name, done in begun.items() if done.received is not None}
            _require(begun, _back(regions, parcel, answering, f"{failed[0]} did not answer with it"))
    first = next(iter(taken.values()))
    return Deployed(
        name=first.name, digest=first.digest, versions={name: received.version for name, received in taken.items()}
    )


def _back(regions: Mapping[str, Region], parcel: Path, answering: Mapping[str, Received], why: str) -> str:
    changed = {name: region for name, region in regions.items() if name in answering}
    done = _each(changed, lambda name, region: _go_back(region, parcel, answering[name], why), lambda *_: None)
    stuck = [name for name, one in done.items() if one.error is not None]
    told = f"{', '.join(sorted(set(changed) - set(stuck))) or 'no region'} went back"
    return told + (f"; {', '.join(stuck)} could not: {done[stuck[0]].error}" if stuck else "")


def _go_back(region: Region, parcel: Path, received: Received, why: str) -> Received:
    if received.before != received.version:
        region.go_back(parcel, received, why)
    return received


def _each(
    regions: Mapping[str, Region], work: Callable[[str, Region], Received], advance: Callable[[float, str], None]
) -> dict[str, _Done]:
    def one(name: str) -> _Done:
        try:
            done = _Done(work(name, regions[name]))
        except RaypipeError as error:
            return _Done(None, error)
        advance(1, name)
        return done

    names: Sequence[str] = list(regions)
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return dict(zip(names, pool.map(one, names), strict=True))


def _require(done: Mapping[str, _Done], then: str) -> None:
    failed = {name: one.error for name, one in done.items() if one.error is not None}
    if failed:
        said = "; ".join(f"{name}: {error}" for name, error in failed.items())
        raise ServiceError(f"{said} ({then})", where="deploy", cure="Mend it, then give the same command again")
