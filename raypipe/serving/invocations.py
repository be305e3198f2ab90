"""MLflow's scoring protocol: ``/ping``, ``/version``, and ``/invocations`` in all its forms.

Rows are the request's fields, as in ``/predict``; MLflow's server would take what its model takes.
"""

import csv
import io
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.errors import RequestError
from raypipe.serving.ask import Ask, answered_by
from raypipe.serving.call import Call, Paths, Route
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine
from raypipe.serving.http import Response
from raypipe.serving.parse import Parser, Row
from raypipe.serving.strict import decode

_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
#: What a Parquet body may be when it is unpacked, as its own footer says.
_PARQUET_BYTES = 64 * 2**20
_TEXT = b"text/plain; charset=utf-8"
_encode = msgspec.json.Encoder().encode


def face(ask: Ask) -> Paths:
    """What answers as MLflow's scoring server does."""

    async def ping(engine: Engine, description: Description, call: Call) -> Response:  # noqa: ARG001
        return Response(200, b"\n", b"application/json")

    async def number(engine: Engine, description: Description, call: Call) -> Response:  # noqa: ARG001
        return Response(200, version("mlflow").encode(), _TEXT)

    async def invocations(engine: Engine, description: Description, call: Call) -> Response:  # noqa: ARG001
        read = _reader(call.headers.get(b"content-type", b""))
        rows = read(engine.parser, await ask.body(call))
        predictions = await ask.ask(engine, rows, call.id)
        told = {
            "predictions": [prediction.score for prediction in predictions],
            "model": engine.model.pipeline.name,
            "version": engine.model.served.version,
            "request_id": call.id.decode(),
            **answered_by(predictions),
        }
        return Response(200, _encode(told))

    return Paths(
        {
            "/ping": Route(ping, ("GET", "HEAD"), tell, public=True),
            "/version": Route(number, ("GET", "HEAD"), tell),
            "/invocations": Route(invocations, ("POST",), tell),
        }
    )


def tell(error: RequestError, _: bytes) -> Response:
    """An error as MLflow writes one, without the stack trace; a fault of the request is 400."""
    if error.status == 415:
        return Response(415, str(error).encode(), _TEXT)
    codes = {404: "RESOURCE_DOES_NOT_EXIST", 500: "INTERNAL_ERROR", 503: "TEMPORARILY_UNAVAILABLE"}
    status = 400 if error.status == 422 else error.status
    response = Response(status, _encode({"error_code": codes.get(status, "BAD_REQUEST"), "message": str(error)}))
    if status in (429, 503):
        response.headers.append((b"retry-after", b"1"))
    return response


def _reader(content_type: bytes) -> Callable[[Parser, bytes], list[Row]]:
    kind, _, parameters = content_type.lower().partition(b";")
    found = _READERS.get(kind.strip())
    if found is None or parameters.strip().replace(b'"', b"") not in (b"", b"charset=utf-8"):
        cure = f"Send {', '.join(name.decode() for name in _READERS)} in UTF-8"
        raise RequestError("is not taken", where="Content-Type", cure=cure, status=415)
    return found


def _json(parser: Parser, body: bytes) -> list[Row]:
    asked = decode(body, dict[str, Any])
    forms = [name for name in _FORMS if name in asked]
    if len(forms) != 1 or asked.keys() - {*forms, "params"}:
        cure = "`params` may stand beside it"
        raise RequestError(f"must hold exactly one of {', '.join(_FORMS)}", where="body", cure=cure)
    if not isinstance(asked.get("params") or {}, dict):
        raise RequestError("must be an object", where="params")
    return parser.convert(_FORM[forms[0]](parser, asked[forms[0]]))


def _split(parser: Parser, given: object) -> list[dict[str, object]]:
    where = "dataframe_split"
    if not isinstance(given, dict) or not {"columns", "data"} <= given.keys() <= {"columns", "data", "index"}:
        raise RequestError("must be an object of `columns` and `data`", where=where)
    names, data = given["columns"], given["data"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise RequestError("must be a list of different names", where=f"{where}.columns")
    if not isinstance(data, list) or not all(isinstance(row, list) and len(row) == len(names) for row in data):
        raise RequestError("must be a list of rows, each as long as `columns`", where=f"{where}.data")
    parser.limit(len(data))
    return [dict(zip(names, row, strict=True)) for row in data]


def _records(parser: Parser, given: object) -> list[dict[str, object]]:
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise RequestError("must be a list of objects", where="rows")
    parser.limit(len(given))
    return given


def _instances(parser: Parser, given: object) -> list[dict[str, object]]:
    """A list of objects, of rows in the order of the fields, or an object of columns."""
    if isinstance(given, dict):
        return _columns(parser, given)
    if not isinstance(given, list) or not all(isinstance(row, list) for row in given):
        return _records(parser, given)
    names = parser.names
    if not all(len(row) == len(names) for row in given):
        raise RequestError(f"must have {len(names)} values a row, in the order of the fields", where="rows")
    parser.limit(len(given))
    return [dict(zip(names, row, strict=True)) for row in given]


def _columns(parser: Parser, given: dict[str, object]) -> list[dict[str, object]]:
    columns = {name: one if isinstance(one, list) else [one] for name, one in given.items()}
    lengths = {len(one) for one in columns.values()}
    if len(lengths) != 1:
        raise RequestError("must be columns of one length", where="inputs")
    parser.limit(*lengths)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


_FORM: dict[str, Callable[[Parser, Any], list[dict[str, object]]]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _instances,
}


def _csv(parser: Parser, body: bytes) -> list[Row]:
    try:
        lines = csv.reader(io.StringIO(body.decode(), newline=""), strict=True)
        names = next(lines, [])
        if len(set(names)) < len(names):
            raise RequestError("names a column twice", where="header")
        rows: list[Mapping[str, object]] = []
        for number, values in enumerate(lines):
            if not values:
                continue
            if len(values) != len(names):
                raise RequestError(f"must have {len(names)} values", where=f"rows[{number}]")
            rows.append({name: value or None for name, value in zip(names, values, strict=True)})
            if len(rows) > parser.max_rows:
                break
    except (UnicodeDecodeError, csv.Error):
        raise RequestError("is not CSV in UTF-8", where="body", status=400) from None
    return parser.convert(rows, texts=True)


def _parquet(parser: Parser, body: bytes) -> list[Row]:
    try:
        file = pq.ParquetFile(io.BytesIO(body))
        metadata = file.metadata
        parser.limit(metadata.num_rows)
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > _PARQUET_BYTES:
            raise RequestError(f"is more than {_PARQUET_BYTES} bytes when it is unpacked", where="body", status=413)
        # Only columns of plain values: nothing of another kind is ever made from what a stranger sends.
        names = [field.name for field in file.schema_arrow if _plain(field.type)]
        if other := [field.name for field in file.schema_arrow if not _plain(field.type)]:
            raise RequestError(f"{len(other)} columns are of types that are not taken", where="body")
        frame = pl.DataFrame(pl.from_arrow(file.read(columns=names, use_threads=False)))
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError):
        raise RequestError("is not Parquet", where="body", status=400) from None
    return parser.convert(frame.to_dicts())


def _plain(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_timestamp,
        pa.types.is_date,
    )
    return any(test(kind) for test in tests)


_READERS: dict[bytes, Callable[[Parser, bytes], list[Row]]] = {
    b"application/json": _json,
    b"text/csv": _csv,
    b"application/vnd.apache.parquet": _parquet,
}
