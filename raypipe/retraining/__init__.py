"""When a model is trained anew, and whether the challenger takes over: pure decisions on plain facts."""

from raypipe.retraining.challenge import Verdict, judge
from raypipe.retraining.decide import decide
from raypipe.retraining.files import read_policy

__all__ = ["Verdict", "decide", "judge", "read_policy"]
