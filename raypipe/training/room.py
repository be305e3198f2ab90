"""Room on the cluster: whether a trial can ever have it, and that nothing keeps it when a search is over.

Tune asks for a placement group for each trial, and removes it, unless the process that searches is killed, or told to
stop, while others of its job live on: then Ray would hold the cores for as long as the job lasts, and the search that
goes on would wait for its own ghost. So each group is noted in the search's folder as it is made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
from ray import PlacementGroupID, tune
from ray._private.state import state  # no public part says who made a group
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # made when it is imported
from ray.util import placement_group_table, remove_placement_group
from ray.util.placement_group import PlacementGroup

from raypipe.errors import TrainingError
from raypipe.spec import Model

#: What a trial holds while its workers do the work; Tune knows no trials that hold nothing.
WAITING = 0.01
#: What reads for the workers asks for little: it must never wait for those that wait for it.
READING = 0.05
#: An identity that is nobody's is all ones.
_NOBODY = b"\xff"


def check_room(model: Model) -> None:
    """A trial that the cluster can never hold would wait for ever.

    Raises:
        TrainingError: all nodes together have too little, or no node can hold it, or not so many of its workers.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    workers = int(str(model.params.get("workers", 1))) if model.spreads else 1
    wants = {name: amount for name, amount in (("CPU", model.cpus), ("GPU", model.gpus)) if amount}
    where = f"{model.where}: {model.algorithm}"
    cure = "Ask for less with `.on(cpus=…, gpus=…)` or fewer `workers`, or add a node"
    # Beside its workers a trial has what waits for them, and what reads for them.
    beside = {"CPU": WAITING + READING if model.spreads else 0.0}
    for name, amount in wants.items():
        whole, wanted = sum(node.get(name, 0.0) for node in nodes), amount * workers + beside.get(name, 0.0)
        if wanted > whole:
            what = f"a trial waits for {wanted:g} {name}, and the whole cluster has {whole:g}"
            raise TrainingError(what, where=where, cure=cure)
    # A little more than there is, so that ten tenths are one.
    fit = sum(min(int(node.get(name, 0.0) / amount + 1e-9) for name, amount in wants.items()) for node in nodes)
    if fit < workers:
        each = " and ".join(f"{amount:g} {name}" for name, amount in wants.items())
        of = f"{workers} times {each}" if workers > 1 else each
        what = f"a trial waits for {of}, each on one node, and the {len(nodes)} nodes have room for {fit}"
        raise TrainingError(what, where=where, cure=cure)


class Group(tune.PlacementGroupFactory):
    """What a trial holds; the groups that Tune makes of it are noted in ``folder``."""

    def __init__(self, holds: dict[str, float], folder: Path) -> None:
        super().__init__([holds])
        self._folder = folder

    def to_placement_group(self) -> PlacementGroup:
        """A group that is asked for."""
        made: PlacementGroup = super().to_placement_group()  # type: ignore[no-untyped-call]
        (self._folder / made.id.hex()).touch()
        return made


@contextmanager
def groups_in(folder: Path) -> Iterator[None]:
    """No group that is noted in ``folder`` is there before this is opened, or when it is closed, however it is."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove(folder)
    try:
        yield
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    there = placement_group_table()
    for note in folder.iterdir():
        # What another cluster had is gone with it.
        if note.name in there:
            remove_placement_group(PlacementGroup(PlacementGroupID.from_hex(note.name)))
        note.unlink()
    remove_orphans()


def remove_orphans() -> None:
    """Remove the groups of this job whose maker, an actor, is dead.

    Such is the group of a training's workers when the trial was ended while they waited for cores: Ray keeps it as long
    as the job lasts, and gives it the next cores that are free.
    """
    job = ray.get_runtime_context().get_job_id()
    for kept in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(kept)
        theirs = group.is_detached or group.creator_job_id.hex() != job
        if not theirs and group.creator_actor_id.strip(_NOBODY) and group.creator_actor_dead:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
