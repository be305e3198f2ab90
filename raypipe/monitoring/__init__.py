"""Watching a model in service: counts in, reports out. Pure: whoever runs it hands in the counts and the time."""

from raypipe.monitoring.monitor import Monitor, Plan
from raypipe.monitoring.performance import Performance

__all__ = ["Monitor", "Performance", "Plan"]
