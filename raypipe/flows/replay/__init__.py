"""Production before production: a policy meets history, with the code that will watch and decide later."""

from raypipe.flows.replay.past import Past, past
from raypipe.flows.replay.replay import Replayed, replay

__all__ = ["Past", "Replayed", "past", "replay"]
