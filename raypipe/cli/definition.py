"""``raypipe check``: judge a pipeline file in milliseconds, with no data and no cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.output import AsJson, Output
from raypipe.words import amount

if TYPE_CHECKING:
    from raypipe.spec import Pipeline

PipelineFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="A Python file with one Pipeline in it.", show_default=False)
]


def read(file: Path) -> "Pipeline":
    """The pipeline in a file, free of faults.

    Raises:
        SourceError: there is no such file.
        DefinitionError: with every fault in it.
    """
    from raypipe.spec import lint, load

    pipeline = load(file)
    lint(pipeline)
    return pipeline


def check(file: PipelineFile, json: AsJson = False) -> None:
    """Find every fault of a definition at once, with file, line and cure, before anything runs.

    Files that are not on this machine are told too; they may be where it will run, so they are no fault.
    """
    from raypipe.cli.absent import absent
    from raypipe.spec import fingerprint

    out = Output(json)
    pipeline = read(file)
    gone = absent(pipeline)
    sources, features = [source.name for source in pipeline.sources], pipeline.feature_names
    if not json:
        read_from = f"{amount(len(features), 'feature')} from {amount(len(sources), 'source')}"
        found = f"{read_from}, {amount(pipeline.search.trials, 'trial')}"
        out.say(Text.assemble(("✓", "green"), f" {file} has no faults"), Text(f"  {pipeline.name}: {found}", "dim"))
        out.say(*(Text.assemble(("!", "yellow"), f" not here: {one}") for one in gone))
    out.result(
        {
            "pipeline": pipeline.name,
            "definition": fingerprint(pipeline),
            "sources": sources,
            "request": pipeline.request.fields,
            "features": features,
            "trials": pipeline.search.trials,
            "absent": gone,
        }
    )
