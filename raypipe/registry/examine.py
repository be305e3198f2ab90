"""What a candidate must be before it becomes a version."""

import math
import re
from pathlib import Path

import polars as pl

from raypipe.contracts import bundle
from raypipe.contracts.records import Candidate, Lineage
from raypipe.errors import RegistryError
from raypipe.spec import fingerprint

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


def examine(candidate: Candidate, lineage: Lineage) -> str:
    """Hold a candidate against its files and its lineage, and return the digest of the files.

    Raises:
        RegistryError: the files are damaged, or candidate, files and lineage do not tell of one and the same model.
    """
    folder = Path(candidate.folder)
    if not _NAME.fullmatch(candidate.pipeline):
        raise RegistryError(f"`{candidate.pipeline}` cannot name a model", where="register", cure="Use a-z, 0-9 and _")
    digest = bundle.verify(folder).digest
    pipeline, card = bundle.pipeline(folder), bundle.card(folder)
    _same("pipeline", folder, candidate.pipeline, pipeline.name)
    _same("algorithm", folder, candidate.algorithm, card.algorithm)
    _same("definition", folder, lineage.pipeline_definition, fingerprint(pipeline))
    _same("training set", folder, lineage.training_set, candidate.training_set)
    for name, value in candidate.metrics.items():
        if not math.isfinite(value):
            raise RegistryError(f"metric {name} is {value}", where=f"candidate {candidate.algorithm}")
    _score_golden_rows(folder)
    return digest


def _same(what: str, folder: Path, said: str, found: str) -> None:
    if said != found:
        raise RegistryError(f"its {what} is `{found}`, but `{said}` is to be registered", where=f"bundle {folder}")


def _score_golden_rows(folder: Path) -> None:
    from raypipe.registry.pyfunc import Scorer  # ONNX Runtime: reading the registry does not need it

    golden = bundle.golden(folder)
    expected = golden[bundle.SCORE].cast(pl.Float64)
    found = pl.Series(Scorer(folder).score(golden), dtype=pl.Float64)
    if not len(golden) or not (expected.is_finite() & expected.is_between(0, 1)).all():
        raise RegistryError("holds no golden rows with scores between 0 and 1", where=f"bundle {folder}")
    far = ((found - expected).abs() <= bundle.TOLERANCE).not_() | found.is_nan()
    if far.any():
        row = far.arg_true()[0]
        what = f"the model scores golden row {row} {found[row]:.6f}, but its trainer said {expected[row]:.6f}"
        raise RegistryError(what, where=f"bundle {folder}", cure="Export the model again")
