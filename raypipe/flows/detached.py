"""Actors of the cluster that outlive whoever started them, each found by its name, each there once."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
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


def behind(work: Callable[[], object]) -> None:
    """Do some work where nobody else wants a core, and come back when it is done.

    A core that only such work runs on counts as free to Linux: whoever answers a request is put there at once. Niceness
    does not bring that about, and a burst of a second on one of two cores crowds all that answer on the other one. On
    other systems it is work like any other. It must not hold for long what others wait for.
    """
    thread = Thread(target=_idle, args=(work,), name="behind", daemon=True)
    thread.start()
    thread.join()


def _idle(work: Callable[[], object]) -> None:
    if sys.platform == "linux":
        with suppress(OSError):  # a system that forbids it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # of this thread alone; there is no way back
    work()
