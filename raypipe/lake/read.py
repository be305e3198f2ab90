"""Files read in blocks, strictly as their source declares them: a value of another type is a fault, never a null."""

from collections.abc import Callable

from raypipe.errors import SourceError
from raypipe.lake import columnar, texts
from raypipe.lake.declared import Blocks, files_of
from raypipe.lake.elsewhere import FoundTable
from raypipe.lake.files import FoundFile, unreadable
from raypipe.spec import Source


def blocks(file: FoundFile, source: Source) -> Blocks:
    """Blocks of the shipped columns in declared order, each with the share of the file read so far (0 to 1).

    Raises:
        SourceError: the file is missing, corrupt, or not of the declared shape; says which line and column.
    """
    readers: dict[str, Callable[[FoundFile, Source], Blocks]] = {
        "csv": texts.csv,
        "json": texts.json,
        "parquet": columnar.parquet,
        "orc": columnar.orc,
        "avro": columnar.avro,
    }
    if isinstance(file, FoundTable):
        yield from columnar.table(file, source)
        return
    try:
        yield from readers[files_of(source).format](file, source)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise unreadable(file.name, error) from None
    file.require_unchanged()
