"""CSV and JSON lines, read in blocks as strictly as they are declared."""

from typing import IO

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.json as pj

from raypipe.lake import faults
from raypipe.lake.declared import BLOCK_BYTES, Blocks, files_of, require_columns, shipped
from raypipe.lake.files import FoundFile, opened
from raypipe.spec import Files, Source


def csv(file: FoundFile, source: Source) -> Blocks:
    """Of a CSV file."""
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


def json(file: FoundFile, source: Source) -> Blocks:
    """Of a file of JSON lines.

    Strict at first; from the first object on that has more than is declared, what is more is left aside.
    """
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
