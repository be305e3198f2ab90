"""Files that know their types, Parquet, ORC and Avro, and tables of other systems: every value must fit as declared."""

import struct
import zlib
from itertools import islice

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.errors import SourceError
from raypipe.lake.declared import AVRO_ROWS, BLOCK_ROWS, Blocks, require_columns, shipped
from raypipe.lake.decode import Rows
from raypipe.lake.elsewhere import FoundTable
from raypipe.lake.files import BrokenFileError, FoundFile
from raypipe.spec import Source


def parquet(file: FoundFile, source: Source) -> Blocks:
    """Of a Parquet file."""
    try:
        # Kept in this frame: an iterator of batches does not keep its file open.
        with file.path.open("rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as content:
            require_columns(file, source, content.schema_arrow.names)
            schema, rows = shipped(source), 0
            for field in schema:
                _require_type(file, field, content.schema_arrow.field(field.name).type)
            for batch in content.iter_batches(BLOCK_ROWS, columns=schema.names):
                rows += batch.num_rows
                batch.validate(full=True)
                yield _cast(file, batch.select(schema.names), schema), rows / content.metadata.num_rows
            if rows != content.metadata.num_rows:
                raise BrokenFileError(f"holds {rows} of {content.metadata.num_rows} rows", where=file.name)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, SourceError) or (isinstance(error, OSError) and error.errno):
            raise
        why = str(error).strip().splitlines()[0]
        what = f"the Parquet file is corrupt: {why}"
        raise BrokenFileError(what, where=file.name, cure="Get the file again") from None


def orc(file: FoundFile, source: Source) -> Blocks:
    """Of an ORC file."""
    from pyarrow import orc as files

    try:
        with file.path.open("rb") as raw:
            content, schema, rows = files.ORCFile(pa.PythonFile(raw, mode="r")), shipped(source), 0
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


def avro(file: FoundFile, source: Source) -> Blocks:
    """Of an Avro file."""
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
                made_of = rows.frame(made).to_arrow().cast(schema)
                yield from ((batch, raw.tell() / max(file.size, 1)) for batch in made_of.to_batches())
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


def table(file: FoundTable, source: Source) -> Blocks:
    """The version's rows as they come. Ray does not say how many there are."""
    schema = shipped(source)
    if file.schema is not None:
        require_columns(file, source, file.schema.names)
    for block in file.blocks(schema.names, BLOCK_ROWS):
        for batch in block.select(schema.names).combine_chunks().to_batches():
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
