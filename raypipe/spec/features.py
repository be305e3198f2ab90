"""What a request itself gives, and what is computed from other features."""

from dataclasses import dataclass, field

import polars as pl

from raypipe.spec.expressions import Expression
from raypipe.spec.values import FrozenMap, place


@dataclass(frozen=True)
class Request:
    """What the caller sends: fields that are columns of the asked stream, and features computed from them alone.

    A field that is not ``optional`` must be there: a live request without it is refused, and a row of history without
    it, which could not have been asked, is left out of training and counted.
    """

    fields: tuple[str, ...]
    optional: tuple[str, ...] = ()
    features: FrozenMap[Expression] = field(default_factory=FrozenMap)
    where: str = place()

    def with_features(self, **expressions: pl.Expr | str | Expression) -> "Request":
        """Features computed from the fields, elementwise; the keyword is the feature's name."""
        made = FrozenMap({name: Expression.of(expr) for name, expr in expressions.items()})
        return Request(self.fields, self.optional, made, where=self.where)


def request(*fields: str, optional: tuple[str, ...] = ()) -> Request:
    """Declare the fields that a caller sends.

    >>> request("carrier", "origin").fields
    ('carrier', 'origin')
    """
    return Request((*fields, *optional), optional)


@dataclass(frozen=True)
class Derived:
    """Features computed from other features and request fields, elementwise."""

    features: FrozenMap[Expression]
    where: str = place()


def derived(**expressions: pl.Expr | Expression) -> Derived:
    """Features computed from other features; the keyword is the feature's name.

    >>> list(derived(ratio=pl.col("a") / pl.col("b")).features)
    ['ratio']
    """
    return Derived(FrozenMap({name: Expression.of(expr) for name, expr in expressions.items()}))
