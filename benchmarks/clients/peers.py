# mypy: ignore-errors
"""The peers of `make bench-serving`, one model each, no features: run as `python peers.py KIND MODEL PORT`.

`echo` is no peer: it answers nothing, at once, which shows what caller and machine take by themselves.

All of them answer ``{"rows": [[26 numbers], …]}`` with scores, in the way that their own guides write a service: one
onnxruntime session with one thread. MLServer and MLflow take their own forms of the same numbers.
"""

import os
import sys

import numpy as np


def session(path):
    """The model, in one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def scores(model, rows):
    """Scores of a list of rows."""
    return model.run(["score"], {"x": np.asarray(rows, dtype=np.float32)})[0].tolist()


def fastapi_app(path):
    """Bare FastAPI."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Rows(BaseModel):
        rows: list[list[float]]

    app, model = FastAPI(), session(path)

    @app.post("/predict")
    async def predict(asked: Rows):
        return {"scores": scores(model, asked.rows)}

    return app


def bare(path, port):
    """FastAPI on uvicorn, one worker."""
    import uvicorn

    uvicorn.run(fastapi_app(path), port=port, log_level="error", access_log=False)


def echo(_, port):
    """The server of `bare` without anything to do."""
    import uvicorn

    async def app(_, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    uvicorn.run(app, port=port, log_level="error", access_log=False, lifespan="off")


def ray(path, port):
    """Ray Serve with a FastAPI ingress; its mode is up to the environment."""
    import ray as cluster
    from fastapi import FastAPI
    from pydantic import BaseModel
    from ray import serve

    cluster.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["BENCH_TEMP"])
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    app = FastAPI()

    class Rows(BaseModel):
        rows: list[list[float]]

    @serve.deployment(max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Peer:
        def __init__(self):
            self.model = session(path)

        @app.post("/predict")
        async def predict(self, asked: Rows):
            return {"scores": scores(self.model, asked.rows)}

    serve.run(Peer.bind(), route_prefix="/", blocking=True)


if __name__ == "__main__":
    {"fastapi": bare, "echo": echo, "ray": ray}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
