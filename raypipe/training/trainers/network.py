"""A torch network: embeddings for categories, standardised numbers, dense layers. Everything is inside the graph."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from raypipe.contracts.bundle import MODEL, SCORE
from raypipe.contracts.target import Target
from raypipe.training.metrics import goodness, measure
from raypipe.training.onnx_model import OPSET
from raypipe.training.trainer import Matrix, Params, Scores, Task

NATIVE, SHAPE = "model.safetensors", "model.json"
#: Standardised numbers beyond this are cut: one delay of a day must not drown the batch it is in.
LIMIT = 5.0
#: Rows that are scored at once, whatever their number.
CHUNK = 16_384


@dataclass(frozen=True)
class Shape:
    """Everything that a network is, but for its weights; written to ``model.json``.

    ``categories`` holds position and number of codes of each category column, ``numbers`` and ``gaps`` the positions
    of the other columns, and of those that had missing values in training.
    """

    categories: tuple[tuple[int, int], ...]
    numbers: tuple[int, ...]
    gaps: tuple[int, ...]
    hidden: int
    layers: int
    dropout: float
    outputs: int = 1


class Net(nn.Module):
    """The network without its end. Takes x, float32 (rows, columns); gives (rows,), of classes (rows, classes)."""

    middle: Tensor
    scale: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        sizes = [min(16, (codes + 1) // 2) for _, codes in shape.categories]
        self.embeddings = nn.ModuleList(
            nn.Embedding(codes, size) for (_, codes), size in zip(shape.categories, sizes, strict=True)
        )
        for name, value in (("median", 0.0), ("mean", 0.0), ("deviation", 1.0)):
            self.register_buffer(name, torch.full((len(shape.numbers),), value))
        width = len(shape.numbers) + len(shape.gaps) + sum(sizes)
        layers: list[nn.Module] = []
        for _ in range(shape.layers):
            layers += [
                nn.Linear(width, shape.hidden),
                nn.BatchNorm1d(shape.hidden),
                nn.ReLU(),
                nn.Dropout(shape.dropout),
            ]
            width = shape.hidden
        self.body = nn.Sequential(*layers, nn.Linear(width, shape.outputs))
        self.register_buffer("middle", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def standardise_by(self, x: Tensor) -> None:
        """Learn what a missing number is replaced by, and the scale of each number."""
        numbers = x[:, list(self.shape.numbers)]
        self.median = numbers.nanmedian(dim=0).values
        filled = torch.where(numbers.isnan(), self.median, numbers)
        self.mean = filled.mean(dim=0)
        self.deviation = (filled - self.mean).square().mean(dim=0).sqrt().clamp(min=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Log odds, or a standardised number, of each row."""
        numbers = x[:, list(self.shape.numbers)]
        filled = torch.where(numbers.isnan(), self.median, numbers)
        parts = [((filled - self.mean) / self.deviation).clamp(-LIMIT, LIMIT)]
        if self.shape.gaps:
            parts.append(x[:, list(self.shape.gaps)].isnan().float())
        for (column, _), embedding in zip(self.shape.categories, self.embeddings, strict=True):
            parts.append(embedding(x[:, column].long()))
        odds: Tensor = self.body(torch.cat(parts, dim=1))
        return odds.squeeze(1) if self.shape.outputs == 1 else odds


class _Answer(nn.Module):
    """The net with its end: from log odds to probabilities, or from standardised numbers to numbers."""

    def __init__(self, net: Net, target: Target) -> None:
        super().__init__()
        self.net, self.task = net, target.task

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        if self.task == "binary":
            return torch.sigmoid(out)
        if self.task == "multiclass":
            return torch.softmax(out, dim=1)
        return torch.exp(out) if self.task == "count" else out * self.net.scale + self.net.middle


def losses_of(target: Target, net: Net) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of each row: from the net's output and the label, both (rows,) but for classes."""
    if target.task == "binary":
        return nn.BCEWithLogitsLoss(reduction="none")
    if target.task == "multiclass":
        return lambda out, y: nn.functional.cross_entropy(out, y.long(), reduction="none")
    if target.task == "count":
        return nn.PoissonNLLLoss(log_input=True, reduction="none")
    share = target.quantile

    def numbers(out: Tensor, y: Tensor) -> Tensor:
        above = (y - net.middle) / net.scale - out
        return above.square() if share is None else torch.maximum(share * above, (share - 1) * above)

    return numbers


def scores_of(net: Net, target: Target, x: Matrix) -> Scores:
    """What a network says of some rows."""
    answer, device = _Answer(net, target).eval(), net.median.device
    with _one_thread(), torch.inference_mode():
        chunks = (torch.tensor(x[start : start + CHUNK], device=device) for start in range(0, len(x), CHUNK))
        parts = [answer(chunk).cpu() for chunk in chunks]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def mixed(device: torch.device) -> torch.autocast:
    """On a GPU the layers compute in bfloat16, which needs no scaling of losses; weights stay in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


class Network:
    """A torch network on the GPU when there is one; parameters: see `raypipe.training.space`."""

    def fit(self, task: Task, params: Params) -> Params:
        """Train with AdamW, and stop when the metric on ``tune`` has not improved for ``patience`` epochs.

        With more than one of ``workers`` each computes on its share of the rows: see ``spread.py``.
        """
        self._target = task.target
        if int(params.get("workers", 1)) > 1 or task.source is not None:
            return {"epochs": self._spread(task, params)}
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with _one_thread(), torch.random.fork_rng():
            torch.manual_seed(task.seed)
            # Copied: arrays from Ray's store cannot be written to, and torch has no such tensors.
            x, y = (torch.tensor(part, device=device) for part in (task.train.x, task.train.y))
            w = None if task.train.w is None else torch.tensor(task.train.w, device=device)
            self._net = Net(_shape(task, params, np.atleast_1d(np.isnan(task.train.x).any(axis=0)))).to(device)
            self._net.standardise_by(x)
            if task.target.task in {"regression", "quantile"}:
                self._net.middle, self._net.scale = y.mean(), y.std().clamp(min=1e-6)
            return {"epochs": self._train(x, y, w, task, params)}

    def _spread(self, task: Task, params: Params) -> int:
        from raypipe.training.rows import Held
        from raypipe.training.trainers import spread

        source = task.source or Held.of(task.train)
        found = source.moments()
        with _one_thread(), torch.random.fork_rng():
            torch.manual_seed(task.seed)
            self._net = Net(_shape(task, params, found.gaps > 0))
            numbers = list(self._net.shape.numbers)
            # Two tensors: a file of weights holds none that share their memory.
            self._net.mean = torch.tensor(found.mean[numbers], dtype=torch.float32)
            self._net.median = self._net.mean.clone()
            deviation = torch.tensor(found.deviation[numbers], dtype=torch.float32)
            self._net.deviation = deviation.clamp(min=1e-6)
            if task.target.task in {"regression", "quantile"}:
                self._net.middle = torch.tensor(found.label_mean, dtype=torch.float32)
                self._net.scale = torch.tensor(max(found.label_deviation, 1e-6), dtype=torch.float32)
        return spread.fit(self._net, source, task, params)

    def _train(self, x: Tensor, y: Tensor, w: Tensor | None, task: Task, params: Params) -> int:
        """Leaves the weights of the best epoch in place; returns its number."""
        epochs, patience = int(params["epochs"]), int(params["patience"])
        rate, decay = float(params["learning_rate"]), float(params["weight_decay"])
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=rate, weight_decay=decay)
        best, best_epoch, weights = -np.inf, 0, {}
        for epoch in range(1, epochs + 1):
            self._epoch(x, y, w, optimizer, int(params["batch_size"]))
            if task.tune is None:
                continue
            value = measure(task.metric, task.tune.y, self.predict(task.tune.x), task.target)
            if goodness(task.metric, value) > best:
                best, best_epoch = goodness(task.metric, value), epoch
                weights = {name: tensor.clone() for name, tensor in self._net.state_dict().items()}
            elif epoch - best_epoch >= patience:
                break
            task.report(epoch, value)
        if weights:
            self._net.load_state_dict(weights)
        return best_epoch or epochs

    def _epoch(self, x: Tensor, y: Tensor, w: Tensor | None, optimizer: torch.optim.Optimizer, size: int) -> None:
        self._net.train()
        losses = losses_of(self._target, self._net)
        for rows in torch.randperm(len(x), device=x.device).split(size):
            if len(rows) > 1:  # batch normalisation has no variance of one row
                optimizer.zero_grad(set_to_none=True)
                with mixed(x.device):
                    each = losses(self._net(x[rows]).float(), y[rows])
                (each if w is None else each * w[rows]).mean().backward()
                optimizer.step()

    def predict(self, x: Matrix) -> Scores:
        """The scores by torch itself."""
        return scores_of(self._net, self._target, x)

    def save(self, folder: Path) -> None:
        """Write the weights as ``model.safetensors``, the shape as ``model.json``, and ``model.onnx``."""
        net = self._net.cpu().eval()
        save_file(net.state_dict(), folder / NATIVE)
        (folder / SHAPE).write_text(json.dumps(asdict(net.shape)), encoding="utf-8")
        columns = len(net.shape.categories) + len(net.shape.numbers)
        with _quiet(), _one_thread():
            program = torch.onnx.export(
                _Answer(net, self._target).eval(),
                (torch.zeros(2, columns),),
                input_names=["x"],
                output_names=[SCORE],
                dynamic_shapes={"x": {0: torch.export.Dim("rows")}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None  # noqa: S101  # the old exporter alone returns nothing
        program.save(folder / MODEL)


def _shape(task: Task, params: Params, missing: NDArray[np.bool_]) -> Shape:
    """The network for these columns, of which some have gaps."""
    categories = task.signature.categories
    numbers = tuple(column for column in range(len(missing)) if column not in categories)
    return Shape(
        categories=tuple(categories.items()),
        numbers=numbers,
        gaps=tuple(column for column in numbers if missing[column]),
        hidden=int(params["hidden"]),
        layers=int(params["layers"]),
        dropout=float(params["dropout"]),
        outputs=max(1, len(task.target.classes)),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """The order of additions, and so the last bits of a sum, depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of operators of other packages that are not installed, and of its own old names."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
