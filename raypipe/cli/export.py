"""``raypipe export``: a model version for machines that have nothing of raypipe."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import VersionName, kept, split
from raypipe.cli.output import AsJson, Output


def export(
    version: VersionName,
    onnx: Annotated[
        Path, typer.Option("--onnx", metavar="DIR", help="Write model.onnx and scorer.py into this folder.")
    ],
    json: AsJson = False,
) -> None:
    """Write a version as one ONNX file, with one Python file that scores with onnxruntime and numpy alone."""
    from raypipe.registry.edge import export as write

    out = Output(json)
    name, number = split(version)
    with kept() as found:
        chosen = found.registry.get(name, number)
    model, scorer = write(chosen, onnx)
    for file in (model, scorer):
        out.say(Text.assemble(("✓", "green"), f" {file}"))
    out.say(Text(f"Try it: python {scorer} --check", "dim"))
    out.result({"name": name, "version": chosen.version, "model": str(model), "scorer": str(scorer)})
