"""The Open Inference Protocol v2 over HTTP, below ``/{pipeline}/v2``, with the binary tensor extension."""

import re
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from raypipe.errors import RequestError
from raypipe.serving import oip, tensors
from raypipe.serving.ask import Ask
from raypipe.serving.call import Call, Route
from raypipe.serving.describe import Description
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.http import JSON, Response
from raypipe.serving.outputs import Outputs
from raypipe.serving.strict import decode
from raypipe.serving.tensors import Tensor

Parameters: TypeAlias = dict[str, str | int | float | bool]
LENGTH = b"inference-header-content-length"
OCTETS = b"application/octet-stream"

_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?P<what>/ready|/infer)?")
_encode = msgspec.json.Encoder().encode


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    data: list[object] | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | msgspec.UnsetType = msgspec.UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: Parameters | msgspec.UnsetType = msgspec.UNSET


class _Infer(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Input]
    id: str | msgspec.UnsetType = msgspec.UNSET
    outputs: list[_Output] | msgspec.UnsetType = msgspec.UNSET
    parameters: Parameters | msgspec.UnsetType = msgspec.UNSET


class Rest:
    """Answers every call of the protocol.

    Args:
        ask: gives bodies and predictions.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        read = ("GET", "HEAD")
        self._fixed = {
            "/v2": Route(self._server, read, tell),
            "/v2/": Route(self._server, read, tell),
            "/v2/health/live": Route(self._live, read, tell, public=True),
            "/v2/health/ready": Route(self._ready, read, tell, public=True),
        }
        self._models = {
            None: Route(self._model, read, tell),
            "/ready": Route(self._model_ready, read, tell),
            "/infer": Route(self._infer, ("POST",), tell),
        }
        self._unknown = Route(self._nothing, read, tell)

    def find(self, path: str) -> Route | None:
        """What answers at a path below the pipeline's own."""
        if not path.startswith("/v2"):
            return None
        found = _MODEL.fullmatch(path)
        return self._models[found["what"]] if found else self._fixed.get(path, self._unknown)

    async def _server(self, engine: Engine, description: Description, call: Call) -> Response:
        return Response(200, _encode(oip.server()))

    async def _live(self, engine: Engine, description: Description, call: Call) -> Response:
        return Response(200, b'{"live":true}')

    async def _ready(self, engine: Engine, description: Description, call: Call) -> Response:
        # The text of the protocol names one key, its clients read the other.
        return Response(200, b'{"live":true,"ready":true}')

    async def _model(self, engine: Engine, description: Description, call: Call) -> Response:
        _meant(engine, call)
        return Response(200, _encode(oip.model(engine)))

    async def _model_ready(self, engine: Engine, description: Description, call: Call) -> Response:
        _meant(engine, call)
        return Response(200, _encode({"name": engine.model.pipeline.name, "ready": True}))

    async def _nothing(self, engine: Engine, description: Description, call: Call) -> Response:
        raise RequestError("is not a path here", where="path", status=404)

    async def _infer(self, engine: Engine, description: Description, call: Call) -> Response:
        alone = _meant(engine, call)
        head, raw = _split(call, await self._ask.body(call))
        asked = decode(head, _Infer, _keys)
        wanted, outputs = asked.outputs or [], oip.outputs(engine)
        names = outputs.asked([one.name for one in wanted])
        rows = tensors.rows(engine.parser, _tensors(asked.inputs, raw, engine.parser.max_rows))
        given = asked.id or ""
        id_ = given.encode() if oip.SANE_ID.fullmatch(given) else call.id
        predictions = await self._ask.ask(engine, rows, id_, alone=alone)
        whole = bool((asked.parameters or {}).get("binary_data_output", False))
        binary = {one.name: (one.parameters or {}).get("binary_data", whole) is True for one in wanted}
        version, parameters = oip.answered(engine, predictions)
        about: dict[str, object] = {
            "model_name": engine.model.pipeline.name,
            "model_version": version,
            "id": given or id_.decode(),
            "parameters": parameters,
        }
        return _answer(about, outputs, names, predictions, {name for name in names if binary.get(name, whole)})


def tell(error: RequestError, _: bytes) -> Response:
    """An error as callers of this protocol expect one: one text; a fault of the request is 400."""
    status = 400 if error.status == 422 else error.status
    response = Response(status, _encode({"error": str(error)}))
    if status in (429, 503):
        response.headers.append((b"retry-after", b"1"))
    return response


def _meant(engine: Engine, call: Call) -> bool:
    """Whether the version is asked for by its number; refuses another model, or version, than the one that answers."""
    found = _MODEL.fullmatch(call.path)
    if found:
        oip.require(engine, found["name"], found["version"] or "")
    return bool(found and found["version"])


def _split(call: Call, body: bytes) -> tuple[bytes, memoryview]:
    """The JSON of a request, and what stands behind it."""
    kind = call.headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
    length = call.headers.get(LENGTH)
    if kind not in (JSON, OCTETS) or (kind == OCTETS and length is None):
        cure = "Send application/json, or application/octet-stream with Inference-Header-Content-Length"
        raise RequestError("is not taken", where="Content-Type", cure=cure, status=415)
    if length is None:
        return body, memoryview(b"")
    if not length.isdigit() or len(length) > 9 or int(length) > len(body):
        raise RequestError("is not the length of the JSON", where="Inference-Header-Content-Length", status=400)
    return body[: int(length)], memoryview(body)[int(length) :]


def _tensors(inputs: Sequence[_Input], raw: memoryview, most: int) -> list[Tensor]:
    found, at = [], 0
    for place, one in enumerate(inputs):
        # Names come back in errors only as far as they could be a field's.
        name = one.name if one.name.isidentifier() and len(one.name) <= 64 else str(place)
        count = tensors.size_of(name, one.datatype, one.shape, most)
        size = (one.parameters or {}).get("binary_data_size")
        if size is None:
            if one.data is msgspec.UNSET:
                raise RequestError("is missing", where=f"inputs.{name}.data", status=400)
            tensor = tensors.from_json(name, one.datatype, count, one.data)
        else:
            if type(size) is not int or size < 0 or at + size > len(raw) or one.data is not msgspec.UNSET:
                what = "does not fit to what stands behind the JSON"
                raise RequestError(what, where=f"inputs.{name}.parameters.binary_data_size", status=400)
            tensor = tensors.from_raw(name, one.datatype, count, raw[at : at + size])
            at += size
        found.append(tensor)
    if at != len(raw):
        raise RequestError(f"has {len(raw) - at} bytes that belong to no input", where="body", status=400)
    return found


def _answer(
    about: dict[str, object],
    outputs: Outputs,
    names: Sequence[str],
    predictions: list[Prediction],
    binary: set[str],
) -> Response:
    all_: list[dict[str, object]] = []
    raw = b""
    for name in names:
        shape, parameters = outputs.shape(name, len(predictions)), dict[str, object](outputs.parameters(name))
        told: dict[str, object] = {"name": name, "shape": shape, "datatype": outputs.kinds[name]}
        if name in binary:
            piece = outputs.raw(name, predictions)
            parameters["binary_data_size"] = len(piece)
            raw += piece
        else:
            told["data"] = outputs.values(name, predictions)
        all_.append(told | ({"parameters": parameters} if parameters else {}))
    head = _encode(about | {"outputs": all_})
    if not binary:
        return Response(200, head)
    return Response(200, head + raw, OCTETS, [(LENGTH, str(len(head)).encode())])


def _keys(asked: _Infer) -> int:
    """How many keys a request has."""
    structs: list[msgspec.Struct] = [asked, *asked.inputs, *(asked.outputs or [])]
    own = sum(value is not msgspec.UNSET for one in structs for value in msgspec.structs.astuple(one))
    return own + sum(len(getattr(one, "parameters", None) or {}) for one in structs)
