"""What a candidate must be before it becomes a version."""

import math
import re
from pathlib import Path

import numpy as np

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
    expected = golden[bundle.SCORE].to_numpy().astype(float)
    found = np.asarray(Scorer(folder).score(golden), dtype=float)
    if not len(golden) or not np.isfinite(expected).all():
        raise RegistryError("holds no golden rows with scores", where=f"bundle {folder}")
    if not bundle.card(folder).target.numeric and not ((expected >= 0) & (expected <= 1)).all():
        raise RegistryError("holds no golden rows with scores between 0 and 1", where=f"bundle {folder}")
    if found.shape != expected.shape:
        what = f"the model gives scores of shape {found.shape}, but its trainer of {expected.shape}"
        raise RegistryError(what, where=f"bundle {folder}", cure="Export the model again")
    far = ~bundle.agree(found, expected)
    if far.any():
        at = tuple(np.argwhere(far)[0])
        what = f"the model scores golden row {at[0]} {found[at]:.6f}, but its trainer said {expected[at]:.6f}"
        raise RegistryError(what, where=f"bundle {folder}", cure="Export the model again")
