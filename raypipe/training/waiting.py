"""Who gets no cores says what is waited for, and who holds it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event, Thread

import ray
from ray.exceptions import RayError
from ray.util import placement_group_table
from ray.util.state import list_actors
from ray.util.state.exception import RayStateApiException

#: Seconds that a group of workers may wait before something is said; and between one look and the next.
PATIENCE = 15.0
_KINDS = ("CPU", "GPU")
#: Seconds that the cluster may take to say who is there.
_SECONDS = 5
_MOST = 6


@contextmanager
def waits_told(say: Callable[[str], None], patience: float = PATIENCE) -> Iterator[None]:
    """While this is open, ``say`` is told when what is asked of the cluster has waited for ``patience`` seconds."""
    over = Event()

    def look() -> None:
        before: set[str] = set()
        while not over.wait(patience):
            now = _waiting()
            if before & now.keys():
                say(sentence(now.values()))
            before = set(now)

    looking = Thread(target=look, name="waits", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join(_SECONDS)


def _waiting() -> dict[str, str]:
    """What each group asks for that is not placed yet."""
    try:
        groups = placement_group_table()
    except RayError:
        return {}
    return {name: _asked(group) for name, group in groups.items() if group["state"] == "PENDING"}


def _asked(group: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    bundles = Counter(_amounts(bundle) for bundle in group["bundles"].values())
    return " and ".join(f"{count} times {what} at once" if count > 1 else what for what, count in bundles.items())


def _amounts(held: Mapping[str, float]) -> str:
    return ", ".join(f"{held[kind]:g} {kind}" for kind in _KINDS if held.get(kind)) or "a place"


def sentence(asked: Iterable[str]) -> str:
    """What is waited for, what is free, and who holds the rest, the largest first."""
    free = ray.available_resources()
    told = ", ".join(f"{free.get(kind, 0.0):.3g} {kind}" for kind in _KINDS if kind in ray.cluster_resources())
    return f"waits for {'; '.join(asked)}; free: {told}; held by {', '.join(holders()) or 'tasks'}"


def holders() -> list[str]:
    """Actors by name, and groups, with the cores and GPUs they hold."""
    held: list[tuple[float, str]] = []
    for group in placement_group_table().values():
        if group["state"] == "CREATED":
            size = sum(bundle.get("CPU", 0.0) for bundle in group["bundles"].values())
            held.append((size, f"group {group['name'] or group['placement_group_id'][:8]} ({_asked(group)})"))
    try:
        address = ray.get_runtime_context().gcs_address  # there may be other clusters on this machine
        alive: list[tuple[str, str, str | bool | int | float]] = [("state", "=", "ALIVE")]
        actors = list_actors(address, filters=alive, detail=True, timeout=_SECONDS, raise_on_missing_output=False)
    except (RayStateApiException, RayError, OSError):
        actors = []
    for actor in actors:
        wanted = dict(actor.required_resources or {})
        # What is in a group is held by the group.
        if not actor.placement_group_id and any(wanted.get(kind) for kind in _KINDS):
            held.append((wanted.get("CPU", 0.0), f"{actor.name or actor.class_name} ({_amounts(wanted)})"))
    held.sort(reverse=True)
    return [name for _, name in held[:_MOST]] + ([f"{len(held) - _MOST} more"] if len(held) > _MOST else [])
