"""When a model is trained anew, and whether the challenger takes over: pure decisions on plain facts."""

from raypipe.retraining.challenge import NEWEST, Verdict, held_out, judge
from raypipe.retraining.decide import decide
from raypipe.retraining.files import read_policy

__all__ = ["NEWEST", "Verdict", "decide", "held_out", "judge", "read_policy"]
