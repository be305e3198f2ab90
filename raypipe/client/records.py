"""What the client gives back."""

from math import nan
from typing import Any

import msgspec


class Prediction(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one question.

    Attributes:
        probability: that the label is true, 0 to 1; of classes that of the one that is answered; of numbers NaN.
        label: True when the probability is at least the model's threshold; of classes the class; of numbers None.
        value: the number that a model of numbers answers, else None.
        probabilities: of each class, where there are classes.
        model: the pipeline's name.
        version: of the model that answered.
        arm: the part that it plays, such as ``champion`` or ``challenger/4``.
        features_as_of: what was known by then was in the stored features, ISO 8601, UTC.
        request_id: names the request in the service's logs; the rows of one request share it.
    """

    model: str
    version: int
    request_id: str
    probability: float = nan
    label: bool | str | None = None
    value: float | None = None
    probabilities: dict[str, float] = {}
    arm: str = "champion"
    features_as_of: str = ""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of feedback: it is kept.

    Attributes:
        accepted: how many predictions it is about.
        request_id: names this request in the service's logs.
        unknown: labels among it that are no class which the model has seen: true all the same, or misspelt.
        warning: says so, in words.
    """

    accepted: int
    request_id: str = ""
    unknown: int = 0
    warning: str = ""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field of a request. ``type`` is JSON's: string, integer, number or boolean; ``format`` such as date-time."""

    name: str
    type: str | tuple[str, ...]
    required: bool
    format: str = ""

    @property
    def json_type(self) -> str:
        """Its type when it is not null."""
        types = (self.type,) if isinstance(self.type, str) else self.type
        return next(name for name in types if name != "null")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What answers at a pipeline's address: the model's version, how good it is, and what it wants to know."""

    name: str
    version: int
    algorithm: str
    metrics: dict[str, float]
    fields: tuple[Field, ...]
    example: dict[str, Any]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One registered version of a model, as ``raypipe models NAME --json`` prints it.

    Attributes:
        aliases: such as ``champion``.
        metrics: on the holdout, by name.
        created: ISO 8601, UTC.
        lineage: what it was made from, enough to make it again; ``holdout`` in it says from when to when the rows were
            asked that ``metrics`` are on.
    """

    version: int
    aliases: tuple[str, ...]
    algorithm: str
    metrics: dict[str, float]
    created: str
    lineage: dict[str, Any]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service, its address, and whether it answers there."""

    name: str
    url: str
    answers: bool


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Which services answer, and which pipelines are served."""

    services: tuple[Service, ...]
    pipelines: tuple[str, ...]
