"""Other ways for rows to come into a lake, with what they need: S3 on loopback, a cluster of two cores."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from benchmarks.ingest_kills.campaign import Way
from benchmarks.two_cores import two_cores
from raypipe.lake import storage

BUCKET = "lake"


@contextmanager
def s3() -> Iterator[Way]:
    """A lake whose files lie in S3, as moto's server plays it."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of each request, and there are thousands
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=env["AWS_ENDPOINT_URL"], **keys).create_bucket(Bucket=BUCKET)
    storage._s3.cache_clear()
    try:
        with mock.patch.dict(os.environ):
            yield Way(bucket=BUCKET, env=env)
    finally:
        server.stop()
        storage._s3.cache_clear()  # whoever looks at such a lake here has a client of it by now


@contextmanager
def cluster() -> Iterator[Way]:
    """The cluster reads the log, however little is in it."""
    # Those who die are forked off a process that is older than any token.
    env = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ.update(env)
    import ray

    with two_cores():
        yield Way(ray=ray.get_runtime_context().gcs_address, env=env)


@contextmanager
def ways() -> Iterator[dict[str, Way]]:
    """All of them, by name."""
    with mock.patch.dict(os.environ), s3() as remote, cluster() as read:
        yield {
            "following": Way(follow=True),
            "a database": Way(database=True),
            "following a database": Way(follow=True, database=True),
            "files in S3": remote,
            "the cluster's reading": read,
        }
