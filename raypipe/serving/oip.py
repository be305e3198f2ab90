"""The Open Inference Protocol v2, in what REST and gRPC have in common; see kserve/open-inference-protocol."""

import re
from collections.abc import Sequence
from importlib.metadata import version

from raypipe.errors import RequestError
from raypipe.serving.ask import answered_by
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.outputs import Outputs, outputs_of
from raypipe.serving.tensors import DECLARED

SERVER = "raypipe"
EXTENSIONS = ["binary_tensor_data"]
PLATFORM = "onnx_onnxv1"
#: What a caller's id may be, so that it can be the request's own.
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def server() -> dict[str, object]:
    """What the server is."""
    return {"name": SERVER, "version": version("raypipe"), "extensions": EXTENSIONS}


def model(engine: Engine) -> dict[str, object]:
    """What the model is: request fields in, answers out; -1 is any number of rows."""
    inputs = [(field.name, DECLARED[field.kind]) for field in engine.parser.fields]
    return {
        "name": engine.model.pipeline.name,
        "versions": [str(engine.model.served.version)],
        "platform": PLATFORM,
        "inputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in inputs],
        "outputs": outputs(engine).metadata,
    }


def outputs(engine: Engine) -> Outputs:
    """The tensors that the model answers with."""
    return outputs_of(engine.answers.target)


def require(engine: Engine, name: str, number: str = "") -> None:
    """Refuse another model than the one that answers.

    Raises:
        RequestError: status 404.
    """
    if name != engine.model.pipeline.name:
        raise RequestError("is not a model here", where="model", cure=f"Ask {engine.model.pipeline.name}", status=404)
    if number and number != str(engine.model.served.version):
        cure = f"Version {engine.model.served.version} answers; leave the version out to ask whichever does"
        raise RequestError("is not the version that answers", where="version", cure=cure, status=404)


def answered(engine: Engine, predictions: Sequence[Prediction]) -> tuple[str, dict[str, str]]:
    """The version that answered, and as parameters its arm; where several did, the champion, and those of each row."""
    told = answered_by(predictions)
    version = told.pop("version", engine.model.served.version)
    return str(version), {
        name: ",".join(map(str, each)) if isinstance(each, list) else str(each) for name, each in told.items()
    }
