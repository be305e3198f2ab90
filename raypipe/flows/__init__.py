"""Verbs that join rooms: run, and its stages."""

from raypipe.flows.platform import Platform
from raypipe.flows.run import STAGES, Run, StageName, as_of
from raypipe.flows.stage import StageResult

__all__ = ["STAGES", "Platform", "Run", "StageName", "StageResult", "as_of"]
