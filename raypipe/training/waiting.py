"""Who gets no cores says what is waited for, and who holds it.

Both are asked of the cluster's own head, by the connection that this process has: other clusters on the machine, and
addresses in the environment, have no part in it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread

import ray
from ray._private.state import state  # the public parts ask the dashboard at whatever address the environment names
from ray.core.generated.gcs_pb2 import (  # type: ignore[attr-defined]  # made when it is imported
    ActorTableData,
    ResourceUsageBatchData,
)
from ray.exceptions import RayError
from ray.util import placement_group_table

from raypipe.contracts.progress import Step

#: Seconds between one look and the next; what waits at two of them is told.
PATIENCE = 3.0
#: What is noted once nothing waits any more.
OVER = "has what it waited for"
_KINDS = ("CPU", "GPU")
#: Seconds that a look may still take when nobody wants to know any more.
_SECONDS = 5
_MOST = 6
#: Less than this of a core is rounding.
_NOTHING = 0.005


@contextmanager
def waits_told(step: Step, patience: float | None = None) -> Iterator[None]:
    """While this is open, ``step`` notes when what is asked of the cluster has waited for ``patience`` seconds.

    When nothing of that waits any more, it notes `OVER`.
    """
    over, seconds = Event(), PATIENCE if patience is None else patience

    def look() -> None:
        before: set[str] = set()
        told = False
        while not over.wait(seconds):
            with suppress(RayError):  # the cluster may be ending
                now = _waiting()
                # What came since the look before has not waited for so long; the head may even think of it late.
                late = [what for name, what in now.items() if name in before]
                if late:
                    step.advance(0, sentence(late))
                elif told:  # a note stays until there is another
                    step.advance(0, OVER)
                told, before = bool(late), set(now)

    looking = Thread(target=look, name="waits", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join(_SECONDS)


def _waiting() -> dict[str, str]:
    """What each group asks for that is not placed yet, and what tasks ask for that have no place."""
    groups = placement_group_table()
    waiting = {name: _asked(group) for name, group in groups.items() if group["state"] == "PENDING"}
    return waiting | {f"task {what}": what for what in _queued()}


def _queued() -> list[str]:
    """What the nodes' queues hold, each amount once."""
    usage = ResourceUsageBatchData.FromString(state._connect_and_get_accessor().get_all_resource_usage())
    shapes = [dict(demand.shape) for demand in usage.resource_load_by_shape.resource_demands]
    return sorted({_amounts(shape) for shape in shapes if any(shape.get(kind) for kind in _KINDS)})


def _asked(group: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    bundles = Counter(_amounts(bundle) for bundle in group["bundles"].values())
    return " and ".join(f"{count} times {what} at once" if count > 1 else what for what, count in bundles.items())


def _amounts(held: Mapping[str, float]) -> str:
    return ", ".join(f"{held[kind]:g} {kind}" for kind in _KINDS if held.get(kind)) or "a place"


def sentence(asked: Iterable[str]) -> str:
    """What is waited for, what is free, and who holds the rest, the largest first."""
    free, whole = ray.available_resources(), ray.cluster_resources()
    told = ", ".join(f"{free.get(kind, 0.0):.3g} {kind}" for kind in _KINDS if kind in whole)
    used = whole.get("CPU", 0.0) - free.get("CPU", 0.0)
    return f"waits for {'; '.join(asked)}; free: {told}; held by {', '.join(holders(used)) or 'nobody'}"


def holders(used: float = 0.0) -> list[str]:
    """Actors by name, and groups, with what they hold; what is left of the ``used`` cores is held by tasks."""
    held: list[tuple[float, str]] = []
    for group in placement_group_table().values():
        if group["state"] == "CREATED":
            size = sum(bundle.get("CPU", 0.0) for bundle in group["bundles"].values())
            held.append((size, f"group {group['name'] or group['placement_group_id'][:8]} ({_asked(group)})"))
    for kept in state._connect_and_get_accessor().get_actor_table(None, "ALIVE"):
        actor = ActorTableData.FromString(kept)
        # What is in a group asks for parts of the group, by other names.
        wanted = {kind: actor.required_resources[kind] for kind in _KINDS if kind in actor.required_resources}
        if wanted:
            held.append((wanted.get("CPU", 0.0), f"{actor.name or actor.class_name} ({_amounts(wanted)})"))
    if (rest := used - sum(size for size, _ in held)) > _NOTHING:
        held.append((rest, f"tasks ({rest:.3g} CPU)"))
    held.sort(reverse=True)
    return [name for _, name in held[:_MOST]] + ([f"{len(held) - _MOST} more"] if len(held) > _MOST else [])
