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

    def go_back(self, parcel: Path, why: str) -> Received:
        """Let the champion before answer again, whatever came of a parcel; errors as in `receive.go_back`."""
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

    def go_back(self, parcel: Path, why: str) -> Received:
        """Let the champion before answer again; errors as in `Region`."""
        return self._received(parcel, ["receive", ".", "--back", "--why", why])

    def _received(self, parcel: Path, arguments: list[str]) -> Received:
        said = run_there(self.dashboard, parcel, arguments, f"raypipe: {arguments[0]}", self.name)
        return msgspec.convert(said, Received)


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
            # Those that failed too: one of them may answer with it, and could not say so.
            changed = {name: regions[name] for name, one in taken.items() if one.before != one.version}
            _require(begun, _back(changed, parcel, f"{failed[0]} did not answer with it"))
    first = next(iter(taken.values()))
    return Deployed(
        name=first.name, digest=first.digest, versions={name: received.version for name, received in taken.items()}
    )


def _back(changed: Mapping[str, Region], parcel: Path, why: str) -> str:
    done = _each(changed, lambda _, region: region.go_back(parcel, why), lambda *_: None)
    stuck = [f"{name} could not: {one.error}" for name, one in done.items() if one.error is not None]
    went = ", ".join(name for name, one in done.items() if one.error is None) or "no region"
    return "; ".join([f"{went} went back", *stuck])


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
