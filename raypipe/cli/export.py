"""``raypipe export``: a model version, or its features, for those who have nothing of raypipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import VersionName, kept, split
from raypipe.cli.output import AsJson, Output
from raypipe.errors import RegistryError, SettingsError

if TYPE_CHECKING:
    from raypipe.contracts.records import ModelVersion, TrainingSet
    from raypipe.ledger import Ledger


def export(
    version: VersionName,
    onnx: Annotated[
        Path | None,
        typer.Option(
            "--onnx", metavar="DIR", show_default=False, help="Write model.onnx and scorer.py into this folder."
        ),
    ] = None,
    feast: Annotated[
        Path | None,
        typer.Option(
            "--feast",
            metavar="DIR",
            show_default=False,
            help="Write its features as a Feast repository into this folder.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write a version for who has no raypipe: as ONNX with a scorer, or the history of its features for Feast.

    The scorer is one Python file that needs onnxruntime and numpy alone.
    """
    from raypipe.registry.edge import export as write

    if onnx is None and feast is None:
        raise SettingsError(
            "says nothing of what to write", where="export", cure="Give --onnx DIR, --feast DIR, or both"
        )
    out = Output(json)
    name, number = split(version)
    with kept() as found:
        chosen = found.registry.get(name, number)
        made = _training_set(found.ledger, chosen) if feast is not None else None
    written: dict[str, object] = {"name": name, "version": chosen.version}
    if onnx is not None:
        model, scorer = write(chosen, onnx)
        written |= {"model": str(model), "scorer": str(scorer)}
        _say(out, [model, scorer], f"Try it: python {scorer} --check")
    if feast is not None and made is not None:
        files = _features(chosen, made, feast)
        written["feast"] = [str(file) for file in files]
        _say(out, files, f"Try it: feast -c {feast} apply")
    out.result(written)


def _features(chosen: "ModelVersion", made: "TrainingSet", folder: Path) -> list[Path]:
    from raypipe.contracts import bundle
    from raypipe.features.feast import write

    return write(bundle.pipeline(Path(chosen.folder)), made, folder)


def _training_set(ledger: "Ledger", chosen: "ModelVersion") -> "TrainingSet":
    """What the version learned from."""
    from raypipe.contracts.records import TrainingSet

    digest = chosen.lineage.training_set
    for entry in reversed(ledger.entries("stage.features", chosen.name, holding=digest)):
        if (made := TrainingSet.from_json(entry.body)).digest == digest:
            return made
    where = f"{chosen.name}/{chosen.version}"
    raise RegistryError(
        "its training set is not in the ledger", where=where, cure="Export a version that was made here"
    )


def _say(out: Output, files: list[Path], hint: str) -> None:
    for file in files:
        out.say(Text.assemble(("✓", "green"), f" {file}"))
    out.say(Text(hint, "dim"))
