"""The Open Inference Protocol v2 over gRPC: the six calls, typed or raw contents in, raw contents out."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import grpc
from polars.exceptions import PanicException

from raypipe.errors import RequestError
from raypipe.serving import oip, tensors
from raypipe.serving.access import bearer
from raypipe.serving.app import App
from raypipe.serving.batcher import overloaded
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.http import new_id
from raypipe.serving.meter import Meter
from raypipe.serving.oip_messages import message
from raypipe.serving.tensors import Tensor

logger = logging.getLogger(__name__)

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
}
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class Context(Protocol):
    """The part of a call's context that is used; Serve's is like gRPC's own."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status of the answer."""
        ...

    def set_details(self, details: str) -> None:
        """What is wrong, for people."""
        ...

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str]]) -> None:
        """What is sent beside the answer."""
        ...

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """What the caller sent beside the message."""
        ...


class GrpcService:
    """The six calls by the names that Serve looks for. A class that has ``_app`` and ``_meter`` answers by them."""

    _app: App
    _meter: Meter

    async def ServerLive(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """Whether the process answers at all."""
        return message("ServerLiveResponse")(live=True)

    async def ServerReady(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """Whether a model is held."""
        return message("ServerReadyResponse")(ready=self._app.engine is not None)

    async def ModelReady(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """Whether the model of a name, and version, answers."""
        engine, ready = self._app.engine, True
        try:
            oip.require(engine, request.name, request.version) if engine else None
        except RequestError:
            ready = False  # one that is not there is not ready: no error, as Triton has it
        return message("ModelReadyResponse")(ready=ready and engine is not None)

    async def ServerMetadata(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """What the server is."""

        async def about(engine: Engine) -> Any:  # noqa: ANN401, ARG001
            return message("ServerMetadataResponse")(**oip.server())

        return await self._told("ServerMetadataResponse", about, grpc_context)

    async def ModelMetadata(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """What the model takes and gives."""

        async def about(engine: Engine) -> Any:  # noqa: ANN401
            oip.require(engine, request.name, request.version)
            return message("ModelMetadataResponse")(**oip.model(engine))

        return await self._told("ModelMetadataResponse", about, grpc_context)

    async def ModelInfer(self, request: Any, grpc_context: Context) -> Any:  # noqa: N802, ANN401
        """Predictions."""

        async def infer(engine: Engine) -> Any:  # noqa: ANN401
            oip.require(engine, request.model_name, request.model_version)
            names = oip.outputs(engine).asked([one.name for one in request.outputs])
            rows = tensors.rows(engine.parser, _tensors(request, engine.parser.max_rows))
            id_ = request.id.encode() if oip.SANE_ID.fullmatch(request.id) else new_id()
            grpc_context.set_trailing_metadata([("request_id", id_.decode())])
            predictions = await self._app.ask(engine, rows, id_, alone=bool(request.model_version))
            return _answer(engine, names, predictions, request.id or id_.decode())

        return await self._told("ModelInferResponse", infer, grpc_context)

    async def direct(self, request: Any, context: Context) -> Any:  # noqa: ANN401
        """Predictions for calls that no other server has seen: bounded and counted, as `App.direct` does it."""
        app = self._app
        if app.under_way >= app.most:
            return self.refused("ModelInferResponse", overloaded(), context)
        app.under_way += 1
        try:
            return await self.ModelInfer(request, context)
        finally:
            app.under_way -= 1

    async def _told(self, kind: str, work: Callable[[Engine], Awaitable[Any]], context: Context) -> Any:  # noqa: ANN401
        """The answer, or an empty one whose status says why: what is raised, Serve would write into its log."""
        try:
            engine = self._app.engine
            if engine is None:
                raise RequestError("has no model yet", where="server", cure="Try again in a second", status=503)
            self._app.admit(bearer(dict(context.invocation_metadata())), "predict")
            return await work(engine)
        except RequestError as error:
            refused = error
        except (Exception, PanicException):
            logger.exception("a gRPC request failed")
            refused = RequestError("failed to answer", where="server", status=500)
        return self.refused(kind, refused, context)

    def refused(self, kind: str, refused: RequestError, context: Context) -> Any:  # noqa: ANN401
        """An empty answer whose status says why; counted."""
        self._meter.refused(refused.status)
        context.set_code(_CODES.get(refused.status, grpc.StatusCode.INVALID_ARGUMENT))
        context.set_details(str(refused))
        return message(kind)()


def _tensors(request: Any, most: int) -> list[Tensor]:  # noqa: ANN401
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        what = f"has {len(raw)} pieces, and there are {len(request.inputs)} inputs"
        raise RequestError(what, where="raw_input_contents", status=400)
    found = []
    for place, one in enumerate(request.inputs):
        # Each look into a message makes an object.
        name, datatype = one.name, one.datatype
        name = name if name.isidentifier() and len(name) <= 64 else str(place)
        count = tensors.size_of(name, datatype, tuple(one.shape), most)
        if raw:
            if one.HasField("contents"):
                raise RequestError("has typed contents beside raw ones", where=f"inputs.{name}", status=400)
            found.append(tensors.from_raw(name, datatype, count, raw[place]))
        else:
            found.append(_typed(name, one, count))
    return found


def _typed(name: str, one: Any, count: int) -> Tensor:  # noqa: ANN401
    kind = _CONTENTS.get(one.datatype)
    if kind is None:
        raise RequestError("must be sent as raw contents", where=f"inputs.{name}.datatype", status=400)
    values = list(getattr(one.contents, kind))
    if len(values) != count:
        raise RequestError(f"must hold {count} elements in {kind}", where=f"inputs.{name}.contents", status=400)
    if one.datatype == tensors.BYTES:
        try:
            values = [value.decode() for value in values]
        except UnicodeDecodeError:
            raise RequestError("must be UTF-8", where=f"inputs.{name}.contents", status=400) from None
    return Tensor(name, one.datatype, values)


def _answer(engine: Engine, names: list[str], predictions: list[Prediction], id_: str) -> Any:  # noqa: ANN401
    # Clients take raw contents for granted; some find nothing in typed ones.
    outputs = oip.outputs(engine)
    version, parameters = oip.answered(engine, predictions)
    answer = message("ModelInferResponse")(
        model_name=engine.model.pipeline.name,
        model_version=version,
        id=id_,
        outputs=[
            {"name": name, "datatype": outputs.kinds[name], "shape": outputs.shape(name, len(predictions))}
            for name in names
        ],
        raw_output_contents=[outputs.raw(name, predictions) for name in names],
    )
    for one in answer.outputs:
        for name, told in outputs.parameters(one.name).items():
            one.parameters[name].string_param = told
    for name, told in parameters.items():
        answer.parameters[name].string_param = told
    return answer
