"""Online features opened from plain values, in the process that needs them."""

from pathlib import Path

from raypipe.features.online import OnlineFeatures
from raypipe.features.stores.lmdb import LmdbStore
from raypipe.spec import Pipeline


def open_lmdb(pipeline: Pipeline, folder: str) -> OnlineFeatures:
    """The features of a pipeline over the LMDB store in a folder of this machine."""
    return OnlineFeatures(pipeline, LmdbStore(Path(folder)))


def open_redis(pipeline: Pipeline, url: str) -> OnlineFeatures:
    """The features of a pipeline over a Redis server; a URL with a password is given by reference (``env:NAME``)."""
    from raypipe.features.stores.redis import RedisStore

    return OnlineFeatures(pipeline, RedisStore(url))
