"""Features with one meaning and two drivers: over history for training, over stored state for serving."""

from raypipe.features.materialize import materialize
from raypipe.features.online import OnlineFeatures
from raypipe.features.training_set import build_training_set

__all__ = ["OnlineFeatures", "build_training_set", "materialize"]
