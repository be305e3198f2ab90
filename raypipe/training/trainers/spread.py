"""A network trained by several Ray Train workers: each computes on its own rows, and they agree on every step (DDP).

Each worker streams its share of the rows through Ray Data, so that no more than a few blocks are in its memory. After
every epoch the first worker keeps weights, optimizer and what early stopping knows; when a worker is lost, all go on
from there. The order of rows and of additions follows from the seed and the number of workers, so the same training
gives the same weights, also when it was interrupted.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar
from uuid import uuid4

import numpy as np
import ray
import ray.data
import ray.train
import torch
from numpy.typing import NDArray
from ray import ObjectRef
from ray.data import Dataset
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    DataConfig,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
)
from ray.train.torch import TorchTrainer, prepare_model
from torch import Tensor, distributed

from raypipe.errors import TrainingError
from raypipe.training.metrics import goodness, measure
from raypipe.training.room import READING, remove_orphans
from raypipe.training.rows import Block, Source
from raypipe.training.trainer import Examples, Params, Task
from raypipe.training.trainers.network import Net, losses_of, mixed, scores_of

#: So often all workers are started again when one was lost.
RESTARTS = 5
_STATE = "state.pt"
T = TypeVar("T")


@dataclass(frozen=True)
class Work:
    """What every worker is told. ``task`` holds no rows, ``tune`` is in Ray's store, checkpoints go to ``kept``."""

    net: Net
    task: Task
    tune: ObjectRef[Examples] | None
    params: Params
    batch: int
    steps: int
    kept: Path


@dataclass
class Progress:
    """How far the workers have come; the first one's word counts."""

    epoch: int = 0
    best: float = -np.inf
    best_epoch: int = 0
    over: bool = False


def fit(net: Net, source: Source, task: Task, params: Params) -> int:
    """Train a network in place; returns its best epoch.

    Raises:
        TrainingError: workers were lost again and again, or what they do raises.
    """
    workers = int(params["workers"])
    shares = [source.blocks(workers)[rank::workers] for rank in range(workers)]
    least = min(sum(block["rows"] for block in share) for share in shares)
    batch = max(2, min(int(params["batch_size"]) // workers, least))
    scratch, run = task.scratch or Path(tempfile.gettempdir()), f"network-{uuid4().hex[:12]}"
    scratch.mkdir(parents=True, exist_ok=True)
    work = Work(
        net=net,
        task=Task(_none(), None, task.signature, task.metric, task.seed, target=task.target),
        tune=None if task.tune is None else ray.put(task.tune),
        params=params,
        batch=batch,
        steps=least // batch,
        kept=scratch / run,
    )
    # Where all cores are busy, a group waits for its turn; it holds nothing while it does.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "3600")
    options = ray.data.DataContext.get_current().execution_options
    options.preserve_order = True
    trainer = TorchTrainer(
        _loop,
        train_loop_config={"work": work},
        datasets={f"rows{rank}": _dataset(source, share) for rank, share in enumerate(shares)},
        # Each reads its own: who gets what must not depend on who is quick.
        dataset_config=DataConfig(datasets_to_split=[], execution_options=options),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=task.gpus > 0,
            resources_per_worker={"CPU": task.cpus} | ({"GPU": task.gpus} if task.gpus else {}),
        ),
        run_config=RunConfig(
            name=run,
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    remove_orphans()  # an earlier trial that was ended while its workers waited
    try:
        result = trainer.fit()
        assert result.checkpoint is not None  # noqa: S101  # every epoch leaves one
        with result.checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / _STATE, weights_only=True, map_location="cpu")
    except TrainingFailedError as error:
        raise TrainingError(
            f"the {workers} workers failed: {str(error).strip().splitlines()[-1]}", where="network"
        ) from None
    finally:
        shutil.rmtree(scratch / run, ignore_errors=True)
    net.load_state_dict(state["weights"])
    return int(state["progress"]["best_epoch"] or state["progress"]["epoch"])


def _none() -> Examples:
    return Examples(np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=np.float32))


def _dataset(source: Source, share: list[Block]) -> Dataset:
    def read(blocks: dict[str, NDArray[np.object_]]) -> dict[str, NDArray[np.float32]]:
        own = [
            source.read(str(f), int(s), int(n))
            for f, s, n in zip(*(blocks[k] for k in ("file", "start", "rows")), strict=True)
        ]
        parts = [np.column_stack([e.x, e.y, np.ones(len(e.y)) if e.w is None else e.w]) for e in own]
        return {"data": np.concatenate(parts).astype(np.float32)}

    named = ray.data.from_items([dict(block) for block in share], override_num_blocks=len(share))
    return named.map_batches(read, batch_size=1, num_cpus=READING)


def _loop(config: dict[str, Work]) -> None:
    """What each worker does."""
    work = config["work"]
    torch.set_num_threads(1)
    model = prepare_model(work.net)
    net = work.net
    rate, decay = float(work.params["learning_rate"]), float(work.params["weight_decay"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay)
    progress, weights = _resume(net, optimizer, work.kept)
    first = ray.train.get_context().get_world_rank() == 0
    for epoch in range(progress.epoch + 1, int(work.params["epochs"]) + 1):
        if progress.over:
            break
        _epoch(model, work, optimizer, epoch)
        if first:
            weights = _judge(net, work, progress, epoch, weights)
        progress = _agreed(progress)
        with tempfile.TemporaryDirectory() as folder:
            if first:
                state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "weights": weights}
                torch.save(state | {"progress": vars(progress)}, Path(folder) / _STATE)
            ray.train.report(vars(progress), checkpoint=Checkpoint.from_directory(folder) if first else None)


def _epoch(model: torch.nn.Module, work: Work, optimizer: torch.optim.Optimizer, epoch: int) -> None:
    """One pass over the worker's own rows; all take equally many steps, as none can step alone."""
    context = ray.train.get_context()
    rank, seed = context.get_world_rank(), work.task.seed * 1_000 + epoch
    torch.manual_seed(seed * context.get_world_size() + rank)
    model.train()
    losses, device = losses_of(work.task.target, work.net), next(model.parameters()).device
    batches = ray.train.get_dataset_shard(f"rows{rank}").iter_torch_batches(
        batch_size=work.batch,
        drop_last=True,
        local_shuffle_buffer_size=work.batch * 16,
        local_shuffle_seed=seed,
        device=device,
    )
    for _, found in zip(range(work.steps), batches, strict=False):
        data: Tensor = found["data"]
        optimizer.zero_grad(set_to_none=True)
        with mixed(device):
            each = losses(model(data[:, :-2]).float(), data[:, -2])
        (each * data[:, -1]).mean().backward()
        optimizer.step()


def _judge(net: Net, work: Work, progress: Progress, epoch: int, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Say how good the epoch was, and which weights are the best so far."""
    progress.epoch = epoch
    if work.tune is None:
        return net.state_dict()
    tune: Examples = ray.get(work.tune)
    value = measure(work.task.metric, tune.y, scores_of(net, work.task.target, tune.x), work.task.target)
    if goodness(work.task.metric, value) > progress.best:
        progress.best, progress.best_epoch = goodness(work.task.metric, value), epoch
        return {name: tensor.clone() for name, tensor in net.state_dict().items()}
    progress.over = epoch - progress.best_epoch >= int(work.params["patience"])
    return weights


def _agreed(mine: T) -> T:
    """What the first worker says, on every worker."""
    told = [mine]
    if distributed.is_initialized():
        distributed.broadcast_object_list(told, src=0)
    return told[0]


def _resume(net: Net, optimizer: torch.optim.Optimizer, kept: Path) -> tuple[Progress, dict[str, Tensor]]:
    """Go on from the last checkpoint, when there is one: a worker was lost.

    Ray asks its workers what they have reported now and then: what it knows may be some epochs behind what is there.
    """
    newest = _agreed(_newest(kept))
    if newest is None:
        return Progress(), {}
    state = torch.load(newest, weights_only=True, map_location="cpu")
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(**state["progress"]), state["weights"]


def _newest(kept: Path) -> Path | None:
    """The newest checkpoint that is whole: who wrote it may have died on the way."""
    for path in sorted(kept.glob(f"checkpoint_*/{_STATE}"), reverse=True):
        try:
            torch.load(path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, EOFError, UnpicklingError):
            continue
        return path
    return None
