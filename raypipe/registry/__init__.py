"""Model versions: immutable files with their lineage, who is champion, and since when."""

from raypipe.registry.lineage import capture, code_state, installed, machine
from raypipe.registry.registry import Registry
from raypipe.registry.rule import should_promote

__all__ = ["Registry", "capture", "code_state", "installed", "machine", "should_promote"]
