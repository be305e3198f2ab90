# mypy: ignore-errors
# It runs in an environment that has none of our types, on a client that has none of its own.
"""NVIDIA's own client against a running service, REST and gRPC; run by `make bench-oip` in an environment of its own.

Arguments: the service's ``host:port/pipeline``, its gRPC ``host:port``, the pipeline's name, and an example as JSON.
Every line that is printed is one thing that held; the exit code is 1 when one did not.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

ROWS = 3


def main(http_url, grpc_url, model, example):
    """Every call, through both clients."""
    grpc_client = over_grpc.InferenceServerClient(grpc_url)
    http_client = over_http.InferenceServerClient(http_url)
    said = {}
    for name, module, client in (("http", over_http, http_client), ("grpc", over_grpc, grpc_client)):
        held(f"{name}: live, ready, model ready", client.is_server_live() and client.is_server_ready())
        held(f"{name}: model ready", client.is_model_ready(model) and not client.is_model_ready("no-such-model"))
        about = client.get_server_metadata(**({} if name == "http" else {"as_json": True}))
        held(f"{name}: server metadata", "binary_tensor_data" in about["extensions"])
        told = client.get_model_metadata(model, **({} if name == "http" else {"as_json": True}))
        held(f"{name}: model metadata", {one["name"] for one in told["inputs"]} >= set(example))
        for binary in (True, False) if name == "http" else (True,):
            inputs = tensors(module, told, example, binary if name == "http" else None)
            answer = client.infer(model, inputs, request_id="r1")
            held(f"{name}: infer{' in binary' if binary else ' in JSON'}", all(as_stated(told["outputs"], answer)))
            said[name, binary] = elements(told["outputs"], answer)
        names = [one["name"] for one in told["outputs"]]
        outputs = [module.InferRequestedOutput(names[0])]
        only = client.infer(model, tensors(module, told, example, None), outputs=outputs)
        others = [only.as_numpy(other) for other in names[1:]]
        held(f"{name}: asked outputs only", only.as_numpy(names[0]) is not None and others == [None] * len(others))
        failed = refused(client, model, tensors(module, told, example, None)[:1])
        held(f"{name}: a missing input is told", "missing" in failed)
        failed = refused(client, "no-such-model", tensors(module, told, example, None))
        held(f"{name}: an unknown model is told", "not a model" in failed)
    for method in ("gzip", "deflate"):
        inputs = tensors(over_http, told, example, None)
        answer = http_client.infer(model, inputs, request_compression_algorithm=method)
        held(f"http: {method}", elements(told["outputs"], answer) == said["http", True])
    waiting = grpc_client.infer(model, tensors(over_grpc, told, example, None), client_timeout=5)
    held("grpc: with a deadline", all(as_stated(told["outputs"], waiting)))
    held("both say the same", all(one == said["grpc", True] for one in said.values()))


def tensors(module, told, example, binary):
    """The example, some times over, as the metadata asks for it."""
    made = []
    for one in told["inputs"]:
        value = example[one["name"]]
        kind = "BYTES" if isinstance(value, str) else one["datatype"]
        types = {"BYTES": np.object_, "INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_}
        values = np.array([value.encode() if kind == "BYTES" else value] * ROWS, dtype=types[kind])
        tensor = module.InferInput(one["name"], [ROWS], kind)
        tensor.set_data_from_numpy(values, **({} if binary is None else {"binary_data": binary}))
        made.append(tensor)
    return made


def as_stated(outputs, answer):
    """Of each output whether it is there as the metadata states it."""
    for one in outputs:
        found, columns = answer.as_numpy(one["name"]), [int(size) for size in one["shape"][1:]]
        numbers = one["datatype"] != "FP64" or np.isfinite(found).all()
        yield found.shape == (ROWS, *columns) and found.dtype == triton_to_np_dtype(one["datatype"]) and numbers


def elements(outputs, answer):
    """What every output holds; texts come as bytes or as they are."""
    found = {one["name"]: answer.as_numpy(one["name"]).ravel().tolist() for one in outputs}
    return {name: [v.decode() if isinstance(v, bytes) else v for v in each] for name, each in found.items()}


def refused(client, model, inputs):
    """What a call is refused with."""
    try:
        client.infer(model, inputs)
    except InferenceServerException as error:
        return str(error)
    return ""


def held(what, true):
    """Print one thing that holds, or stop."""
    print(what if true else f"FAILED: {what}", flush=True)
    if not true:
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:4], json.loads(sys.argv[4]))
