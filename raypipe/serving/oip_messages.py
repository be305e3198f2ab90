"""The messages of the Open Inference Protocol's gRPC service, built from a table instead of generated code.

The numbers are the protocol's own: specification/protocol/open_inference_grpc.proto in kserve/open-inference-protocol.
"""

import copyreg
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
CALLS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

# A field is its type and number; a type with a capital is a message, a leading * repeats it, a leading % maps text to
# it, a leading | makes it one of several.
_PARAMETERS = "%InferParameter"
_TENSOR = {"name": "string 1", "datatype": "string 2", "shape": "*int64 3"}
_DATA = _TENSOR | {"parameters": f"{_PARAMETERS} 4", "contents": "InferTensorContents 5"}
_MODEL = {"name": "string 1", "version": "string 2"}
_MESSAGES: dict[str, dict[str, str]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": "bool 1"},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": "bool 1"},
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": {"ready": "bool 1"},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": "string 1", "version": "string 2", "extensions": "*string 3"},
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": {
        "name": "string 1",
        "versions": "*string 2",
        "platform": "string 3",
        "inputs": "*ModelMetadataResponse.TensorMetadata 4",
        "outputs": "*ModelMetadataResponse.TensorMetadata 5",
    },
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": {
        "model_name": "string 1",
        "model_version": "string 2",
        "id": "string 3",
        "parameters": f"{_PARAMETERS} 4",
        "inputs": "*ModelInferRequest.InferInputTensor 5",
        "outputs": "*ModelInferRequest.InferRequestedOutputTensor 6",
        "raw_input_contents": "*bytes 7",
    },
    "ModelInferRequest.InferInputTensor": _DATA,
    "ModelInferRequest.InferRequestedOutputTensor": {"name": "string 1", "parameters": f"{_PARAMETERS} 2"},
    "ModelInferResponse": {
        "model_name": "string 1",
        "model_version": "string 2",
        "id": "string 3",
        "parameters": f"{_PARAMETERS} 4",
        "outputs": "*ModelInferResponse.InferOutputTensor 5",
        "raw_output_contents": "*bytes 6",
    },
    "ModelInferResponse.InferOutputTensor": _DATA,
    "InferParameter": {
        "bool_param": "|bool 1",
        "int64_param": "|int64 2",
        "string_param": "|string 3",
        "double_param": "|double 4",
        "uint64_param": "|uint64 5",
    },
    "InferTensorContents": {
        "bool_contents": "*bool 1",
        "int_contents": "*int32 2",
        "int64_contents": "*int64 3",
        "uint_contents": "*uint32 4",
        "uint64_contents": "*uint64 5",
        "fp32_contents": "*float 6",
        "fp64_contents": "*double 7",
        "bytes_contents": "*bytes 8",
    },
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for path, fields in _MESSAGES.items():
        outer, _, name = path.rpartition(".")
        made[path] = (made[outer].nested_type if outer else file.message_type).add(name=name)
        for field, said in fields.items():
            _add(made[path], path, field, said)
    service = file.service.add(name=SERVICE.rpartition(".")[2])
    for call in CALLS:
        service.method.add(name=call, input_type=f".{PACKAGE}.{call}Request", output_type=f".{PACKAGE}.{call}Response")
    return file


def _add(message: Any, path: str, name: str, said: str) -> None:  # noqa: ANN401  # protobuf's messages are untyped
    kind, _, number = said.partition(" ")
    way, kind = (kind[0], kind[1:]) if kind[0] in "*%|" else ("", kind)
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if way in ("*", "%") and way else field.LABEL_OPTIONAL
    if way == "%":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "", "key", "string 1")
        _add(entry, "", "value", f"{kind} 2")
        kind = f"{path}.{entry.name}"
    if way == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(field, f"TYPE_{kind.upper()}")


_pool = descriptor_pool.Default()
_pool.AddSerializedFile(_file().SerializeToString())


@cache
def message(name: str) -> Callable[..., Any]:
    """The class of a message, such as ``ModelInferRequest``."""
    found: Callable[..., Any] = message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
    # No module holds the class; Serve's own proxy hands requests to replicas in other processes.
    copyreg.pickle(found, lambda one: (parsed, (name, one.SerializeToString())))  # type: ignore[arg-type]
    return found


def parsed(name: str, content: bytes) -> Any:  # noqa: ANN401  # protobuf's messages are untyped
    """A message from its bytes."""
    return message(name).FromString(content)  # type: ignore[attr-defined]
