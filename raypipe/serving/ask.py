"""What a protocol needs of the application behind it."""

from typing import Protocol

from raypipe.serving.call import Call
from raypipe.serving.engine import Engine, Prediction
from raypipe.serving.parse import Row


class Ask(Protocol):
    """Gives bodies within limits, and predictions."""

    async def body(self, call: Call) -> bytes:
        """The whole body of a call; raises RequestError when it is too long or too slow."""
        ...

    async def ask(self, engine: Engine, rows: list[Row], id_: bytes) -> list[Prediction]:
        """Predictions for parsed rows; errors as in `Engine.answer`."""
        ...
