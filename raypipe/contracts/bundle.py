"""A model version as files: a flat folder under one digest. Written by training, kept by the registry, run by serving.

================== ============================================================================================
file               what it holds
================== ============================================================================================
``model.onnx``     the model that answers: ``x`` float32 (rows, columns) to ``score`` float32, as `Target` says
``model.*``        the same model in its own format: ``model.txt``, ``model.safetensors`` and ``model.json``, …
``signature.json`` `Signature`: how feature rows become ``x``
``pipeline.json``  the definition it was made by
``golden.parquet`` feature rows and the ``score`` that the model gave each when it was made, as columns of one table
``card.json``      `Card`: algorithm, parameters, metrics, threshold, seed
``evaluation.json`` `Evaluation`: the one test on the holdout; absent from bundles of old
``bins.json``      `Reference`: the holdout in cells, to compare with what is served; absent from bundles of old
``hours.parquet``  `Hourly`: the holdout by the hour, to know a season; only where it spans two weeks or more
``manifest.json``  `Manifest`: size and SHA-256 of every other file; its own SHA-256 is the bundle's digest
================== ============================================================================================

No format here runs code when it is read. Nothing in a bundle is parsed before `verify` has compared every byte.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from raypipe.contracts import holdout
from raypipe.contracts.bins import Reference
from raypipe.contracts.evaluation import Evaluation
from raypipe.contracts.hours import Hourly
from raypipe.contracts.records import Record
from raypipe.contracts.signature import Signature
from raypipe.contracts.target import BINARY, Target
from raypipe.contracts.watched import Watched
from raypipe.errors import RaypipeError, RegistryError
from raypipe.spec import Pipeline, from_json, to_json

MODEL = "model.onnx"
SIGNATURE = "signature.json"
PIPELINE = holdout.PIPELINE
GOLDEN = "golden.parquet"
CARD = "card.json"
BINS = "bins.json"
EVALUATION = "evaluation.json"
HOURS = "hours.parquet"
MANIFEST = "manifest.json"
SCORE = "score"
#: A model whose scores lie further than this from those of the golden rows is another model; nearer, it is rounding.
TOLERANCE = 1e-5

REQUIRED = (MODEL, SIGNATURE, PIPELINE, GOLDEN, CARD)
#: A plain name and a format that is data. Pickles, libraries and scripts have no place in a bundle.
ALLOWED = re.compile(r"[a-z][a-z0-9_]{0,63}\.(json|onnx|parquet|safetensors|skops|txt)")
_LARGEST_MANIFEST = 1 << 20

T = TypeVar("T")


class Stamp(Record, frozen=True, kw_only=True):
    """What one file must be: its size in bytes and the SHA-256 of its content."""

    size: int
    sha256: str


class Manifest(Record, frozen=True, kw_only=True):
    """Every file of a bundle but the manifest itself, by name."""

    files: dict[str, Stamp]

    @property
    def digest(self) -> str:
        """The bundle's name among all bundles: the SHA-256 of the manifest's bytes, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class Card(Record, frozen=True, kw_only=True):
    """What the model is. ``metrics`` are on the holdout; a score of at least ``threshold`` counts as true.

    ``costs`` are those of a model of classes, by truth and then by answer, in the order of the target's classes: it
    answers what costs least. Empty: it answers what is most probable.
    Nothing is in it that differs between two makings of the same model, such as how long it took.
    """

    algorithm: str
    params: dict[str, str | int | float | bool]
    metrics: dict[str, float]
    threshold: float
    seed: int
    calibration: str = "none"
    target: Target = BINARY
    costs: tuple[tuple[float, ...], ...] = ()


def agree(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which scores are the same but for rounding: within `TOLERANCE`, of numbers beyond 1 as a share of them.

    >>> agree(np.array([0.5, 300.001, np.nan]), np.array([0.5, 300.0, 0.1])).tolist()
    [True, True, False]
    """
    return np.asarray(np.abs(found - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected)))


def write(folder: Path, *, signature: Signature, pipeline: Pipeline, card: Card, golden: pl.DataFrame) -> None:
    """Write the files that describe a model, beside the model files that a trainer has put into ``folder``.

    Args:
        folder: the bundle's folder, which exists.
        signature: the model's inputs.
        pipeline: the definition it was made by.
        card: what the model is.
        golden: feature rows, one column a feature in the signature's order, and the column ``score``.
    """
    (folder / SIGNATURE).write_text(signature.to_json(), encoding="utf-8")
    (folder / PIPELINE).write_text(to_json(pipeline), encoding="utf-8")
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
    golden.select(*(column.name for column in signature.columns), SCORE).write_parquet(folder / GOLDEN)


def redefined(folder: Path, pipeline: Pipeline) -> Path:
    """The folder of the same model by a definition that says something else of its life: how it is retrained, watched.

    Args:
        folder: a sealed bundle, which stays as it is.
        pipeline: asks for the same features, search and end of it.

    Returns:
        A folder beside it; ``folder`` itself where it has this definition already.
    """
    text = to_json(pipeline)
    if (folder / PIPELINE).read_text(encoding="utf-8") == text:
        return folder
    target = folder.with_name(f"{folder.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}")
    if not target.exists():
        draft = target.with_name(f"{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(folder, draft)
        (draft / PIPELINE).write_text(text, encoding="utf-8")
        seal(draft)
        draft.rename(target)
    return target


def seal(folder: Path) -> str:
    """Write the manifest of a finished bundle and return its digest; the same files give the same digest.

    Raises:
        RegistryError: a file is missing, or is none that a bundle may hold.
    """
    names = sorted(_listed(folder) - {MANIFEST})
    for name in REQUIRED:
        if name not in names:
            raise _refused(folder, name, "is missing")
    manifest = Manifest(files={name: _stamp(folder, name) for name in names})
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest.digest


def verify(folder: Path, digest: str | None = None) -> Manifest:
    """Compare every byte of a bundle with its manifest, and the manifest with ``digest`` if given.

    Raises:
        RegistryError: naming the first file that is missing, extra, truncated, altered, or none that a bundle may hold.
    """
    present = _listed(folder)
    manifest = _manifest(folder, present, digest)
    for name in sorted({*manifest.files, *REQUIRED}):
        if name not in manifest.files or name not in present:
            raise _refused(folder, name, "is missing")
    for name in sorted(present - {MANIFEST} - manifest.files.keys()):
        raise _refused(folder, name, "is not in the manifest")
    for name, stamp in sorted(manifest.files.items()):
        _compare(folder, name, stamp)
    return manifest


def signature(folder: Path) -> Signature:
    """The model's inputs; raises RegistryError when the file is none."""
    return _read(folder, SIGNATURE, lambda path: Signature.from_json(path.read_bytes()))


def pipeline(folder: Path) -> Pipeline:
    """The definition that the model was made by; raises RegistryError when the file is none."""
    return _read(folder, PIPELINE, lambda path: from_json(path.read_text(encoding="utf-8"), Pipeline))


def card(folder: Path) -> Card:
    """What the model is; raises RegistryError when the file is none."""
    return _read(folder, CARD, lambda path: Card.from_json(path.read_bytes()))


def bins(folder: Path) -> Reference | None:
    """The holdout in cells, None in a bundle that was made before there were any; RegistryError: the file is none."""
    if not (folder / BINS).exists():
        return None
    return _read(folder, BINS, lambda path: Reference.from_json(path.read_bytes()))


def hours(folder: Path, watched: Watched) -> Hourly | None:
    """The holdout by the hour, in the columns of ``watched``; None where it is too short to show a season.

    Raises:
        RegistryError: the file is none.
    """
    if not (folder / HOURS).exists():
        return None
    return _read(folder, HOURS, lambda path: Hourly.read(path, watched))


def evaluation(folder: Path) -> Evaluation | None:
    """The test on the holdout, None in a bundle that was made before it was kept; RegistryError: the file is none."""
    if not (folder / EVALUATION).exists():
        return None
    return _read(folder, EVALUATION, lambda path: Evaluation.from_json(path.read_bytes()))


def golden(folder: Path) -> pl.DataFrame:
    """Feature rows with their ``score``; raises RegistryError when the file is none."""
    frame = _read(folder, GOLDEN, lambda path: pl.read_parquet(path, glob=False))
    if SCORE not in frame.columns:
        raise _refused(folder, GOLDEN, f"has no column `{SCORE}`")
    return frame


def _listed(folder: Path) -> set[str]:
    """The names in the folder, all of them plain files of an allowed kind."""
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except OSError as error:
        raise RegistryError(f"cannot be read: {error.strerror}", where=f"bundle {folder}") from None
    for name, is_file in sorted(found.items()):
        if not is_file:
            raise _refused(folder, name, "is not a plain file")
        if not ALLOWED.fullmatch(name):
            raise _refused(folder, name, "is not a kind of file that a bundle may hold")
    return set(found)


def _manifest(folder: Path, present: set[str], digest: str | None) -> Manifest:
    if MANIFEST not in present:
        raise _refused(folder, MANIFEST, "is missing")
    with _open(folder, MANIFEST) as file:
        text = file.read(_LARGEST_MANIFEST)
    if digest is not None and hashlib.sha256(text).hexdigest() != digest:
        raise _refused(folder, MANIFEST, f"is altered: its digest is not {digest[:12]}…")
    try:
        manifest = Manifest.from_json(text)
    except msgspec.MsgspecError:
        raise _refused(folder, MANIFEST, "is not a manifest") from None
    # One content, one text: otherwise one bundle could go by two digests.
    if manifest.to_json().encode() != text:
        raise _refused(folder, MANIFEST, "is altered: not written as a manifest is")
    return manifest


def _stamp(folder: Path, name: str) -> Stamp:
    with _open(folder, name) as file:
        return Stamp(size=os.fstat(file.fileno()).st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _compare(folder: Path, name: str, stamp: Stamp) -> None:
    with _open(folder, name) as file:
        size = os.fstat(file.fileno()).st_size
        if size != stamp.size:
            what = "is truncated" if size < stamp.size else "is altered"
            raise _refused(folder, name, f"{what}: {size} bytes instead of {stamp.size}")
        if hashlib.file_digest(file, "sha256").hexdigest() != stamp.sha256:
            raise _refused(folder, name, "is altered")


def _open(folder: Path, name: str) -> BufferedReader:
    # No link is followed, even one that took the place of a file after the folder was listed.
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _refused(folder, name, f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(folder, name, "is not a plain file")
    return os.fdopen(descriptor, "rb")


def _read(folder: Path, name: str, parse: Callable[[Path], T]) -> T:
    try:
        return parse(folder / name)
    except (OSError, ValueError, KeyError, PolarsError, RaypipeError) as error:
        raise _refused(folder, name, f"cannot be read: {str(error).splitlines()[0]}") from None


def _refused(folder: Path, name: str, what: str) -> RegistryError:
    return RegistryError(f"file `{name}` {what}", where=f"bundle {folder}", cure="Register or copy the model again")
