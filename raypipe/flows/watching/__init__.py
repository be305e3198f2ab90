"""Watching a pipeline in service for as long as it is: an actor of its own, and what it does."""

from raypipe.flows.watching.settings import Watching

__all__ = ["Watching"]
