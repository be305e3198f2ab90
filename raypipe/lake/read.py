"""Files read in blocks, strictly as their source declares them: a value of another type is a fault, never a null."""

import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from raypipe.errors import SourceError, did_you_mean
from raypipe.lake import faults
from raypipe.lake.decode import Rows
from raypipe.lake.elsewhere import FoundTable
from raypipe.lake.files import BrokenFileError, FoundFile, opened, unreadable
from raypipe.spec import ColumnType, Files, Source

TYPES: dict[ColumnType, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", "UTC"),
}
#: Bytes of text, and rows of Parquet, that are in memory at a time.
BLOCK_BYTES = 8 * 2**20
BLOCK_ROWS = 2**17
AVRO_ROWS = 2**14

Blocks = Iterator[tuple[pa.RecordBatch, float]]


def blocks(file: FoundFile, source: Source) -> Blocks:
    """Blocks of the shipped columns in declared order, each with the share of the file read so far (0 to 1).

    Raises:
        SourceError: the file is missing, corrupt, or not of the declared shape; says which line and column.
    """
    readers: dict[str, Callable[[FoundFile, Source], Blocks]] = {
        "csv": _csv,
        "json": _json,
        "parquet": _parquet,
        "orc": _orc,
        "avro": _avro,
    }
    if isinstance(file, FoundTable):
        yield from _table(file, source)
        return
    try:
        yield from readers[files_of(source).format](file, source)
    except OSError as error:
        if isinstance(error, SourceError):
            raise
        raise unreadable(file.name, error) from None
    file.require_unchanged()


def files_of(source: Source) -> Files:
    """The files that a source is read from; only asked of those that have some."""
    files = source.source
    assert files is not None  # noqa: S101  # a file of it was found
    return files


def shipped(source: Source) -> pa.Schema:
    """The declared columns with their Arrow types."""
    return pa.schema([(name, TYPES[kind]) for name, kind in source.columns.items()])


def _csv(file: FoundFile, source: Source) -> Blocks:
    schema = shipped(source)
    require_columns(file, source, faults.csv_header(file))
    with opened(file) as (content, raw):
        text = _Text(content)
        try:
            reader = pc.open_csv(
                pa.PythonFile(text, mode="r"),
                # One thread is as fast here, and knows which row it is at.
                read_options=pc.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=pc.ParseOptions(newlines_in_values=True),
                convert_options=csv_convert(files_of(source), schema),
            )
            for batch in reader:
                yield batch, raw.tell() / max(file.size, 1)
        except pa.ArrowInvalid as error:
            raise faults.in_csv(file, source, str(error)) from None
    if text.quotes % 2:  # the reader takes all that follows an open quote as one value
        faults.require_closed_quotes(file)


def rows_of_text(file: FoundFile, source: Source, text: bytes) -> pa.Table:
    """Some records of a CSV file, its header line first, or of JSON lines: judged as strictly as whole files are.

    Raises:
        SourceError: they are not as declared.
    """
    schema, content = shipped(source), pa.BufferReader(text)
    if files_of(source).format == "csv":
        try:
            return pc.read_csv(
                content,
                read_options=pc.ReadOptions(use_threads=False, block_size=len(text)),
                parse_options=pc.ParseOptions(newlines_in_values=True),
                convert_options=csv_convert(files_of(source), schema),
            )
        except pa.ArrowInvalid as error:
            raise faults.in_csv(file, source, str(error)) from None
    try:
        options = pj.ReadOptions(use_threads=False, block_size=len(text))
        found = pj.read_json(content, read_options=options, parse_options=_json_as(schema, "ignore"))
        rows = found.select(schema.names).cast(schema)
        rows.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise faults.unknown_json(file, str(error)) from None
    return rows


class _Text:
    """A stream of bytes that counts the quotes which pass, and ends the last line if the file does not."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content, self._last = content, b"\n"
        self.quotes, self.closed = 0, False

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block = self._content.read(size)
        self._last = block[-1:] or self._last
        if len(block) < size and self._last != b"\n":  # a short block is the last one
            block += b"\n"
            self._last = b"\n"
        self.quotes += block.count(b'"')
        return block

    def close(self) -> None:
        """The one who opened the stream closes it."""
        self.closed = True


def csv_convert(files: Files, schema: pa.Schema) -> pc.ConvertOptions:
    """How texts become values."""
    return pc.ConvertOptions(
        column_types=schema,
        include_columns=schema.names,
        null_values=list(files.nulls),
        strings_can_be_null=True,
    )


def _json(file: FoundFile, source: Source) -> Blocks:
    """Strict at first; from the first object on that has more than is declared, what is more is left aside."""
    schema, seen, done = shipped(source), set[str](), 0
    if file.size == 0:
        return
    for strict in (True, False):
        rows = 0
        try:
            for batch, share in _json_blocks(file, schema, strict=strict):
                rows += batch.num_rows
                if rows <= done:
                    continue
                new = batch.slice(max(0, done + batch.num_rows - rows))
                seen |= {name for name in schema.names if new.column(name).null_count < new.num_rows}
                done = rows
                yield new, share
            break
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            fault = faults.in_json(file, source)
            if fault is not None or not strict:
                raise fault or faults.unknown_json(file, str(error)) from None
    if missing := set(schema.names) - seen:
        require_columns(file, source, faults.json_keys(file, missing) | seen)


def _json_blocks(file: FoundFile, schema: pa.Schema, *, strict: bool) -> Blocks:
    with opened(file) as (content, raw):
        reader = pj.open_json(
            pa.PythonFile(content, mode="r"),
            read_options=pj.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=_json_as(schema, "error" if strict else "ignore"),
        )
        for batch in reader:
            batch = batch.select(schema.names).cast(schema)  # noqa: PLW2901
            batch.validate(full=True)
            yield batch, raw.tell() / max(file.size, 1)


def _json_as(schema: pa.Schema, extra: str) -> pj.ParseOptions:
    # A JSON reader takes a time without a zone as UTC; a cast from text refuses it.
    texts = pa.schema([(f.name, pa.string() if pa.types.is_timestamp(f.type) else f.type) for f in schema])
    return pj.ParseOptions(explicit_schema=texts, unexpected_field_behavior=extra)


def _parquet(file: FoundFile, source: Source) -> Blocks:
    try:
        # Kept in this frame: an iterator of batches does not keep its file open.
        with file.path.open("rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as parquet:
            require_columns(file, source, parquet.schema_arrow.names)
            schema, rows = shipped(source), 0
            for field in schema:
                _require_type(file, field, parquet.schema_arrow.field(field.name).type)
            for batch in parquet.iter_batches(BLOCK_ROWS, columns=schema.names):
                rows += batch.num_rows
                batch.validate(full=True)
                yield _cast(file, batch.select(schema.names), schema), rows / parquet.metadata.num_rows
            if rows != parquet.metadata.num_rows:
                raise BrokenFileError(f"holds {rows} of {parquet.metadata.num_rows} rows", where=file.name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, SourceError) or (isinstance(error, OSError) and error.errno):
            raise
        why = str(error).strip().splitlines()[0]
        what = f"the Parquet file is corrupt: {why}"
        raise BrokenFileError(what, where=file.name, cure="Get the file again") from None


def _orc(file: FoundFile, source: Source) -> Blocks:
    from pyarrow import orc

    try:
        with file.path.open("rb") as raw:
            content, schema, rows = orc.ORCFile(pa.PythonFile(raw, mode="r")), shipped(source), 0
            require_columns(file, source, content.schema.names)
            for field in schema:
                _require_type(file, field, content.schema.field(field.name).type)
            for stripe in range(content.nstripes):
                batch = content.read_stripe(stripe, columns=schema.names).select(schema.names)
                rows += batch.num_rows
                yield _cast(file, batch, schema), rows / max(content.nrows, 1)
            if rows != content.nrows:
                raise BrokenFileError(f"holds {rows} of {content.nrows} rows", where=file.name)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, SourceError) or (isinstance(error, OSError) and error.errno):
            raise
        why = str(error).strip().splitlines()[0]
        raise BrokenFileError(f"the ORC file is corrupt: {why}", where=file.name, cure="Get the file again") from None


def _avro(file: FoundFile, source: Source) -> Blocks:
    try:
        import fastavro
    except ImportError:
        cure = "Run `pip install 'raypipe[avro]'`"
        raise SourceError("fastavro is not installed", where=file.name, cure=cure) from None
    schema, rows, row = shipped(source), Rows(source.columns), 0
    try:
        with file.path.open("rb") as raw:
            reader = fastavro.reader(raw)
            names = [one["name"] for one in reader.writer_schema.get("fields", [])]  # type: ignore[union-attr]
            require_columns(file, source, names)
            while True:
                made = []
                for record in islice(reader, AVRO_ROWS):
                    row += 1
                    made.append(rows.of(record))
                if not made:
                    break
                table = rows.frame(made).to_arrow().cast(schema)
                yield from ((batch, raw.tell() / max(file.size, 1)) for batch in table.to_batches())
    except msgspec.ValidationError as error:
        where = f"{file.name} row {row}"
        raise SourceError(str(error), where=where, cure=f"Change the file, or the types at {source.where}") from None
    except OverflowError:
        where = f"{file.name} row {row + 1}"
        raise SourceError("holds a time outside of the years 1 to 9999", where=where, cure="Change the file") from None
    except OSError:
        raise
    except (ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BrokenFileError(f"the Avro file is corrupt: {why}", where=file.name, cure="Get the file again") from None


def _table(file: FoundTable, source: Source) -> Blocks:
    """The version's rows as they come. Ray does not say how many there are."""
    schema = shipped(source)
    if file.schema is not None:
        require_columns(file, source, file.schema.names)
    for table in file.blocks(schema.names, BLOCK_ROWS):
        for batch in table.select(schema.names).combine_chunks().to_batches():
            for field in schema:
                _require_type(file, field, _exact(batch.schema.field(field.name).type, field.type))
            batch.validate(full=True)
            yield _cast(file, batch, schema), 0.5


def _exact(found: pa.DataType, declared: pa.DataType) -> pa.DataType:
    """Databases count in decimals, and a column of gaps has no type: the cast looks at each value."""
    number = pa.types.is_decimal(found) and (pa.types.is_integer(declared) or pa.types.is_floating(declared))
    return declared if number or pa.types.is_null(found) else found


def _cast(file: FoundFile, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    try:
        return batch.cast(schema)
    except pa.ArrowInvalid as error:
        why = str(error).strip().splitlines()[0]
        raise SourceError(f"holds a value that does not fit: {why}", where=file.name, cure="Change the file") from None


def require_columns(file: FoundFile, source: Source, found: "list[str] | set[str]") -> None:
    """A file has all declared columns, in any order, each once; others are left aside.

    Raises:
        SourceError: naming what is missing, with what may have come of it, and what is there twice.
    """
    declared, names = set(source.columns), list(found)
    missing, extra = sorted(declared - set(names)), sorted(set(names) - declared)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not (missing or twice):
        return
    parts = [
        f"{what} {', '.join(f'`{name}`' for name in some)}"
        for what, some in (("lacks column", missing), ("has the undeclared column", extra), ("has twice", twice))
        if some
    ]
    cure = f"Change the file, or `columns` at {source.where}"
    if len(missing) == 1 and extra and (hint := did_you_mean(missing[0], extra)).startswith("Did"):
        cure = f"Was `{missing[0]}` renamed to {hint.removeprefix('Did you mean ').rstrip('?')}? {cure}"
    raise SourceError(" and ".join(parts), where=file.name, cure=cure)


def _require_type(file: FoundFile, declared: pa.Field, found: pa.DataType) -> None:
    if _widens((pa.types.is_dictionary(found) and found.value_type) or found, declared.type):
        return
    naive = pa.types.is_timestamp(found) and pa.types.is_timestamp(declared.type) and found.tz is None
    what = f"column `{declared.name}` is {found}, expected {declared.type}"
    cure = "Times need a zone; write them in UTC" if naive else "Change the file, or the declared type"
    raise SourceError(what, where=file.name, cure=cure)


def _widens(found: pa.DataType, declared: pa.DataType) -> bool:
    """Every value of the found type is a value of the declared one."""
    if pa.types.is_string(declared):
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
    if pa.types.is_int64(declared):
        return bool(pa.types.is_integer(found) and found != pa.uint64())
    if pa.types.is_float64(declared):
        exact = pa.types.is_integer(found) and found.bit_width <= 32
        return bool(pa.types.is_floating(found) or exact)
    if pa.types.is_timestamp(declared):
        return bool(pa.types.is_timestamp(found) and found.tz is not None)
    return bool(found == declared)
