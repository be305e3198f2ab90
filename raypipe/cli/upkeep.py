"""``raypipe erase`` and ``raypipe tidy``: what is to be forgotten, and tables kept small."""

from typing import Annotated

import typer
from rich.text import Text

from raypipe.cli.definition import PipelineFile, read
from raypipe.cli.output import AsJson, Output


def erase(
    file: PipelineFile,
    column: Annotated[str, typer.Argument(help="The column that tells whose rows they are.", show_default=False)],
    value: Annotated[str, typer.Argument(help="Its value in the rows to erase.", show_default=False)],
    why: Annotated[str, typer.Option(help="The reason, for the ledger.", show_default=False)],
    json: AsJson = False,
) -> None:
    """Erase somebody from the lake: rows, quarantined rows, and every file and snapshot that held them.

    Erase them at the source first: what is read anew comes back. Training sets, models, the online store, the
    prediction log and the examples in gate reports are not touched.
    """
    pipeline, out = read(file), Output(json)
    from raypipe.flows.erase import erase as work
    from raypipe.wiring import connect

    platform = connect()
    try:
        record = work(platform, pipeline=pipeline, column=column, value=value, why=why)
    finally:
        platform.ledger.close()
    out.say(
        Text(f"{record.rows:,} rows and {record.quarantined:,} quarantined rows of {', '.join(record.tables)} erased")
    )
    out.result(record)


def tidy(
    file: PipelineFile,
    keep_days: Annotated[float, typer.Option(min=0, help="Snapshots that are younger stay.")] = 30.0,
    json: AsJson = False,
) -> None:
    """Keep the lake small: few files a table, no snapshot older than asked, no file that nobody names.

    So is the log of its predictions, and of what was told of them. What readers see stays the same. Versions that were
    trained on an expired snapshot can no longer be reproduced.
    """
    pipeline, out = read(file), Output(json)
    from raypipe.flows.erase import tidy as work
    from raypipe.wiring import connect

    platform = connect()
    try:
        record = work(platform, pipeline=pipeline, keep_days=keep_days)
    finally:
        platform.ledger.close()
    out.say(Text(f"{record.snapshots:,} snapshots expired, {record.files:,} files removed"))
    out.result(record)
