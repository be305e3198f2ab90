"""The batch form of ``raypipe predict``, and of jobs/predict.py."""

from typing import Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import Name
from raypipe.cli.life import moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch
from raypipe.words import amount

#: The exit code where every row was refused: no answer came of it.
NONE_ANSWERED = 1


def job(
    name: Name,
    batch: Annotated[
        str,
        typer.Option("--batch", metavar="FILE|TABLE", help="A Parquet, CSV or JSON-lines file, or a table."),
    ],
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", show_default=False, help="Leave out rows that ask about earlier."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Score a whole file or table with the champion of a pipeline, into the lake."""
    predict_batch(name, batch, since, Output(json))


def predict_batch(name: str, questions: str, since: str | None, out: Output) -> None:
    """Work on a batch on the cluster, and tell what came of it."""
    moment = moment_of(since, "--since")
    progress = watch(out.console)
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows.deploy import champion
        from raypipe.flows.predict import predict

    with opened(progress, f"raypipe: {name}") as platform:
        version = champion(platform, name)
        with progress.stage("predict"):
            made = predict(platform, progress, version=version, questions=questions, since=moment)
    refused = f", {made.refused:,} of them refused (column `error`)" if made.refused else ""
    what = "in the lake" if made.added else "in the lake already"
    out.say(
        Text(f"{made.rows:,} rows{refused}: {what} as batch {made.batch} of {made.table}, by {name}/{made.version}")
    )
    out.say(*(Text(f"  {amount(rows, 'row')}: {why}", "yellow") for why, rows in made.because.items()))
    out.result(made)
    if made.rows and made.refused == made.rows:
        raise typer.Exit(NONE_ANSWERED)
