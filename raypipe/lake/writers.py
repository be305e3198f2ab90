"""Who may write a stream's live rows: the last who asked. Whoever was there before loses every commit from then on."""

import uuid

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from raypipe.errors import WorkspaceError

WRITER = "raypipe.writer"


def take_over(catalog: SqlCatalog, name: str) -> str:
    """Become the writer of a table; returns the name to write under: a number that grows, and who it is."""
    while True:
        table = catalog.load_table(f"lake.{name}")
        number = int(table.properties.get(WRITER, "0").partition("-")[0]) + 1
        writer = f"{number}-{uuid.uuid4().hex[:8]}"
        try:
            with table.transaction() as transaction:
                transaction.set_properties({WRITER: writer})
        except CommitFailedException:
            continue  # somebody else moved the table: look again
        return writer


def require_writer(table: Table, writer: str) -> None:
    """Raises WorkspaceError when somebody else took over since; an empty name may always write."""
    now = table.properties.get(WRITER, "")
    if writer and now != writer:
        what = f"another ingestion took over (writer {now.partition('-')[0]}, this was {writer.partition('-')[0]})"
        raise WorkspaceError(what, where=f"table {table.name()[-1]}", cure="Let one `raypipe ingest --follow` run")
