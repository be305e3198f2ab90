"""Joins the cluster as any command does, and says what it found; run in a process of its own."""

import json
import os
import sys

import msgspec

from raypipe.services import Running, connect

running = msgspec.json.decode(sys.argv[1], type=Running)
connect(running, "a readable name")
connect(running)  # a second time does nothing

import ray  # noqa: E402  # after connect has prepared its environment
from ray.util.state import list_jobs  # noqa: E402


@ray.remote(num_cpus=1)
def workspace():
    return os.environ["RAYPIPE_WORKSPACE"]


context = ray.get_runtime_context()
mine = [job.driver_info.id for job in list_jobs(running.services[1].url) if job.driver_info]
print(
    json.dumps(
        {
            "workspace": ray.get(workspace.remote()),
            "namespace": context.namespace,
            "address": context.gcs_address,
            "cpus": ray.cluster_resources()["CPU"],
            "parquet": os.environ["RAY_DATA_PARQUET_FOOTER_NUM_ACTORS"],
        }
    )
)
