"""Room on the cluster: what can never start is told, and what is over holds nothing."""

import time

import pytest
import ray
from ray.util import placement_group_table

from raypipe import models
from raypipe.errors import TrainingError
from raypipe.training.room import Group, check_room, groups_in, remove_orphans

TWO_NODES = [
    {"Alive": True, "Resources": {"CPU": 2.0}},
    {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}},
    {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (models.LightGBM().on(cpus=4), r"waits for 4 CPU, each on one node, and the 2 nodes have room for 0"),
        (models.LightGBM().on(cpus=8), "a trial waits for 8 CPU, and the whole cluster has 4"),
        (models.Network(workers=3).on(cpus=1.2), r"3 times 1.2 CPU, each on one node, and the 2 nodes have room for 2"),
        (models.Network().on(gpus=2), "a trial waits for 2 GPU, and the whole cluster has 1"),
        (models.Network(workers=2).on(cpus=1, gpus=0.5), None),
        (models.Network(workers=10).on(cpus=0.25, gpus=0.1), "10 times 0.25 CPU and 0.1 GPU, each on one node"),
        (models.Network(workers=4).on(cpus=1), "a trial waits for 4.06 CPU, and the whole cluster has 4"),
        (models.Network(workers=38).on(cpus=0.1), None),
    ],
)
def test_what_no_node_can_hold_is_told(monkeypatch, model, said):
    monkeypatch.setattr(ray, "nodes", lambda: TWO_NODES)
    if said is None:
        check_room(model)
        return
    with pytest.raises(TrainingError, match=said):
        check_room(model)


def placed():
    """The groups that hold something, or wait to."""
    return {name for name, group in placement_group_table().items() if group["state"] != "REMOVED"}


def gone(groups):
    end = time.monotonic() + 20
    while groups & placed() and time.monotonic() < end:
        time.sleep(0.05)
    return not groups & placed()


def asked(folder):
    return {Group({"CPU": amount}, folder).to_placement_group().id.hex() for amount in (0.5, 2.0)}


def test_what_is_interrupted_holds_nothing_afterwards(ray_local, tmp_path):
    before, made = placed(), set()

    def interrupted():
        made.update(asked(tmp_path / "groups"))
        assert placed() - before == made
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), groups_in(tmp_path / "groups"):
        interrupted()
    assert gone(made)
    assert not list((tmp_path / "groups").iterdir())


def test_what_was_killed_holds_nothing_when_it_goes_on(ray_local, tmp_path):
    (tmp_path / "groups").mkdir()
    made = asked(tmp_path / "groups")
    (tmp_path / "groups" / ("0" * 36)).touch()  # of another cluster
    with groups_in(tmp_path / "groups"):
        assert gone(made)


@ray.remote(num_cpus=0)
class Maker:
    """An actor that asks for cores, as the one does that leads a training."""

    def __init__(self, folder):
        self.made = asked(folder)

    def groups(self):
        return self.made


def test_a_group_whose_maker_is_dead_is_removed_and_no_other(ray_local, tmp_path):
    lives, dies = Maker.remote(tmp_path), Maker.remote(tmp_path)
    kept, left = ray.get([lives.groups.remote(), dies.groups.remote()])
    ours = asked(tmp_path)
    ray.kill(dies)
    end = time.monotonic() + 20
    while left & placed() and time.monotonic() < end:
        remove_orphans()
        time.sleep(0.05)
    assert placed() & (kept | left | ours) == kept | ours
    ray.kill(lives)
    with groups_in(tmp_path):
        assert gone(kept | ours)
