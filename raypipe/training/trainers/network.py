"""A torch network: embeddings for categories, standardised numbers, dense layers. Everything is inside the graph."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from raypipe.contracts.bundle import MODEL, SCORE
from raypipe.contracts.signature import Signature
from raypipe.training.metrics import goodness, measure
from raypipe.training.trainer import Matrix, Params, Task, Vector

NATIVE, SHAPE = "model.safetensors", "model.json"
OPSET = 20
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


class Net(nn.Module):
    """The network. Takes a batch of x, float32 (rows, columns); gives the log odds, float32 (rows,)."""

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
        self.body = nn.Sequential(*layers, nn.Linear(width, 1))

    def standardise_by(self, x: Tensor) -> None:
        """Learn what a missing number is replaced by, and the scale of each number."""
        numbers = x[:, list(self.shape.numbers)]
        self.median = numbers.nanmedian(dim=0).values
        filled = torch.where(numbers.isnan(), self.median, numbers)
        self.mean = filled.mean(dim=0)
        self.deviation = (filled - self.mean).square().mean(dim=0).sqrt().clamp(min=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """The log odds of each row."""
        numbers = x[:, list(self.shape.numbers)]
        filled = torch.where(numbers.isnan(), self.median, numbers)
        parts = [((filled - self.mean) / self.deviation).clamp(-LIMIT, LIMIT)]
        if self.shape.gaps:
            parts.append(x[:, list(self.shape.gaps)].isnan().float())
        for (column, _), embedding in zip(self.shape.categories, self.embeddings, strict=True):
            parts.append(embedding(x[:, column].long()))
        odds: Tensor = self.body(torch.cat(parts, dim=1))
        return odds.squeeze(1)


class _Probability(nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.net(x))


class Network:
    """A torch network on the GPU when there is one; parameters: see `raypipe.training.space`."""

    def fit(self, task: Task, params: Params) -> Params:
        """Train with AdamW, and stop when the metric on ``tune`` has not improved for ``patience`` epochs."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with _one_thread(), torch.random.fork_rng():
            torch.manual_seed(task.seed)
            # Copied: arrays from Ray's store cannot be written to, and torch has no such tensors.
            x, y = (torch.tensor(part, device=device) for part in (task.train.x, task.train.y))
            self._net = Net(_shape(task.signature, task.train.x, params)).to(device)
            self._net.standardise_by(x)
            return {"epochs": self._train(x, y, task, params)}

    def _train(self, x: Tensor, y: Tensor, task: Task, params: Params) -> int:
        """Leaves the weights of the best epoch in place; returns its number."""
        epochs, patience = int(params["epochs"]), int(params["patience"])
        rate, decay = float(params["learning_rate"]), float(params["weight_decay"])
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=rate, weight_decay=decay)
        best, best_epoch, weights = -np.inf, 0, {}
        for epoch in range(1, epochs + 1):
            self._epoch(x, y, optimizer, int(params["batch_size"]))
            if task.tune is None:
                continue
            value = measure(task.metric, task.tune.y, self.predict(task.tune.x))
            if goodness(task.metric, value) > best:
                best, best_epoch = goodness(task.metric, value), epoch
                weights = {name: tensor.clone() for name, tensor in self._net.state_dict().items()}
            elif epoch - best_epoch >= patience:
                break
            task.report(epoch, value)
        if weights:
            self._net.load_state_dict(weights)
        return best_epoch or epochs

    def _epoch(self, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, size: int) -> None:
        self._net.train()
        loss = nn.BCEWithLogitsLoss()
        for rows in torch.randperm(len(x), device=x.device).split(size):
            if len(rows) > 1:  # batch normalisation has no variance of one row
                optimizer.zero_grad(set_to_none=True)
                loss(self._net(x[rows]), y[rows]).backward()
                optimizer.step()

    def predict(self, x: Matrix) -> Vector:
        """The probability by torch itself."""
        self._net.eval()
        device = self._net.median.device
        with _one_thread(), torch.inference_mode():
            chunks = (torch.tensor(x[start : start + CHUNK], device=device) for start in range(0, len(x), CHUNK))
            parts = [torch.sigmoid(self._net(chunk)).cpu() for chunk in chunks]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write the weights as ``model.safetensors``, the shape as ``model.json``, and ``model.onnx``."""
        net = self._net.cpu().eval()
        save_file(net.state_dict(), folder / NATIVE)
        (folder / SHAPE).write_text(json.dumps(asdict(net.shape)), encoding="utf-8")
        columns = len(net.shape.categories) + len(net.shape.numbers)
        with _quiet(), _one_thread():
            program = torch.onnx.export(
                _Probability(net),
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


def _shape(signature: Signature, x: Matrix, params: Params) -> Shape:
    categories = signature.categories
    numbers = tuple(column for column in range(x.shape[1]) if column not in categories)
    missing = np.atleast_1d(np.isnan(x).any(axis=0))
    return Shape(
        categories=tuple(categories.items()),
        numbers=numbers,
        gaps=tuple(column for column in numbers if missing[column]),
        hidden=int(params["hidden"]),
        layers=int(params["layers"]),
        dropout=float(params["dropout"]),
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
