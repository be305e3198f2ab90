"""A version for machines that have nothing of raypipe: its ONNX file, and one Python file that scores with it."""

import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.signature import Signature
from raypipe.errors import RegistryError, WorkspaceError

SCORER = "scorer.py"
#: What it is made of; no module, because it can only be imported beside a model.
TEMPLATE = "scorer.py.in"
_PLACE = 'json.loads("{}")'


def export(version: ModelVersion, folder: Path) -> tuple[Path, Path]:
    """Write ``model.onnx`` and ``scorer.py`` into a folder; what is there of these names is replaced.

    The scorer takes the model's features, not the request's fields: windows over recent events are for whoever has the
    events. It gives the very scores that the service gives for the same features.

    Returns:
        The two files.

    Raises:
        RegistryError: the version's files are not what its digest says.
        WorkspaceError: the folder cannot be written to.
    """
    source = Path(version.folder)
    bundle.verify(source, version.digest)
    text = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    if text.count(_PLACE) != 1:
        raise RegistryError("is not the scorer that belongs to this raypipe", where=TEMPLATE, cure="Install it again")
    made = text.replace(_PLACE, f"json.loads({json.dumps(_about(version, source))})")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(dir=folder, prefix=".export-"))
        try:
            shutil.copyfile(source / bundle.MODEL, draft / bundle.MODEL)
            (draft / SCORER).write_text(made, encoding="utf-8")
            for name in (bundle.MODEL, SCORER):
                (draft / name).replace(folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise WorkspaceError(f"cannot be written: {error.strerror}", where=os.fspath(folder)) from None
    return folder / bundle.MODEL, folder / SCORER


def _about(version: ModelVersion, source: Path) -> str:
    signature, card = bundle.signature(source), bundle.card(source)
    columns = [{"name": column.name, "vocabulary": column.vocabulary} for column in signature.columns]
    about = {
        "name": version.name,
        "version": version.version,
        "digest": version.digest,
        "algorithm": card.algorithm,
        "threshold": card.threshold,
        "columns": columns,
        "golden": _golden(signature, bundle.golden(source)),
    }
    return json.dumps(about)


def _golden(signature: Signature, rows: pl.DataFrame) -> list[dict[str, object]]:
    """Rows as JSON has them: categories as text, numbers as numbers, nothing that is not finite."""
    as_text = [pl.col(c.name).cast(pl.String) for c in signature.columns if c.vocabulary is not None]
    as_number = [pl.col(c.name).cast(pl.Float64).fill_nan(None) for c in signature.columns if c.vocabulary is None]
    return rows.with_columns(as_text + as_number).to_dicts()
