"""Actors of the cluster that outlive whoever started them, each found by its name, each there once."""

from collections.abc import Callable
from typing import TypeVar, cast

import ray
from ray.actor import ActorHandle

NAMESPACE = "raypipe"
T = TypeVar("T")


def detached(name: str, make: Callable[[], type[T]], *arguments: object) -> "ActorHandle[T]":
    """The actor of a name; one that is not there yet is started, takes no core, and comes back when it dies.

    Args:
        name: in raypipe's namespace.
        make: gives its class; asked only if it must be started.
        arguments: of its constructor.
    """
    try:
        # Asked before it is made: an attempt to make it twice would stand in the dashboard as a failure.
        return ray.get_actor(name, namespace=NAMESPACE)
    except ValueError:
        options = {"name": name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
        actor = ray.remote(make()).options(**options, num_cpus=0, max_restarts=-1)
        return cast("ActorHandle[T]", actor.remote(*arguments))
