"""The one actor that watches a pipeline: started, asked, stopped, by its name."""

from typing import TYPE_CHECKING, Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from raypipe.contracts.records import Record
from raypipe.contracts.watching import DriftReport
from raypipe.errors import ServiceError
from raypipe.flows.detached import NAMESPACE, detached
from raypipe.flows.platform import Platform

if TYPE_CHECKING:
    from raypipe.flows.watching.actor import Watch


class FirstTick(Record, frozen=True, kw_only=True):
    """What the first tick of a champion waits for.

    Attributes:
        at: before which it is not over, microseconds UTC; None: nothing was asked yet.
        span: how long it lasts at least, from the first question on, microseconds.
        rows: questions so far,
        least: and how many it takes.
    """

    at: int | None
    span: int
    rows: int
    least: int


class Seen(Record, frozen=True, kw_only=True):
    """What is watched now.

    Attributes:
        pipeline: its name.
        watching: whether an actor does.
        versions: the last tick of each version, the one that was watched last at the end.
        untold: alarms that could not be told yet.
        trouble: why its last look came to nothing; empty: it did not.
        unreached: what kept receivers from hearing of them, each once.
        first: what the first tick waits for; None: one is over.
    """

    pipeline: str
    watching: bool
    versions: tuple[DriftReport, ...]
    untold: int
    trouble: str = ""
    unreached: tuple[str, ...] = ()
    first: FirstTick | None = None


def start_watch(platform: Platform, name: str) -> "ActorHandle[Watch]":
    """Let one actor of the cluster watch a pipeline, unless it does already. It comes back when it dies."""
    return detached(actor_name(name), _watch, platform.reopen, name)


def seen_by(actor: "ActorHandle[Watch]", seconds: float) -> Seen:
    """What an actor knows.

    Raises:
        ServiceError: it does not answer.
    """
    asked: Any = actor  # Ray's types know no methods of actors
    try:
        told: str = ray.get(asked.seen.remote(), timeout=seconds)
    except (RayError, TimeoutError) as error:
        what = str(error).strip().splitlines()[-1]
        raise ServiceError(f"whoever watches does not answer: {what}", cure="Its log says why: `ray logs`") from None
    return Seen.from_json(told)


def stop_watch(name: str) -> bool:
    """Stop watching; what it knows stays for the next one. False when nobody was watching."""
    try:
        ray.kill(ray.get_actor(actor_name(name), namespace=NAMESPACE), no_restart=True)
    except ValueError:
        return False
    return True


def _watch() -> "type[Watch]":
    # What the actor does takes in deciding and training, and these take in whoever starts it.
    from raypipe.flows.watching.actor import Watch

    return Watch


def actor_name(name: str) -> str:
    """By which the actor of a pipeline is found, in the namespace ``raypipe``."""
    return f"raypipe-watch-{name}"
