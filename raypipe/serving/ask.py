"""What a protocol needs of the application behind it."""

from collections.abc import Sequence
from typing import Protocol

from raypipe.serving.call import Call
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.parse import Row


class Ask(Protocol):
    """Gives bodies within limits, and predictions."""

    async def body(self, call: Call) -> bytes:
        """The whole body of a call; raises RequestError when it is too long or too slow."""
        ...

    async def ask(self, engine: Engine, rows: list[Row], id_: bytes, *, alone: bool = False) -> list[Prediction]:
        """Predictions for parsed rows, by this engine alone or as units are spread; errors as in `Engine.answer`."""
        ...


def answered_by(predictions: Sequence[Prediction]) -> dict[str, object]:
    """Which version and arm answered; of rows that several answered, each one's.

    >>> one = Prediction(0.3, False, 3, "2013-07-03T00:00:00Z")
    >>> answered_by([one])
    {'version': 3, 'arm': 'champion'}
    >>> answered_by([one, one._replace(version=4, arm="challenger/4")])
    {'versions': [3, 4], 'arms': ['champion', 'challenger/4']}
    """
    first = predictions[0]
    if all(one.arm == first.arm for one in predictions):
        return {"version": first.version, "arm": first.arm}
    return {"versions": [one.version for one in predictions], "arms": [one.arm for one in predictions]}
