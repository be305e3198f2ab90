"""Verbs that join rooms: run, and its stages.

A name is imported when it is first asked for: most verbs have no need of Ray, which takes a second to import.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raypipe.flows.platform import Platform
    from raypipe.flows.run import STAGES, Run, StageName, as_of
    from raypipe.flows.stage import StageResult

__all__ = ["STAGES", "Platform", "Run", "StageName", "StageResult", "as_of"]

_ELSEWHERE = {"Platform": "raypipe.flows.platform", "StageResult": "raypipe.flows.stage"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module `raypipe.flows` has no attribute `{name}`")
    return getattr(__import__(_ELSEWHERE.get(name, "raypipe.flows.run"), fromlist=[name]), name)
