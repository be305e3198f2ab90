"""The algorithms that come with raypipe. Each keyword fixes a parameter, or gives its range with ``search``."""

from raypipe.spec.search import Model, Parameter
from raypipe.spec.values import FrozenMap


def LightGBM(**params: Parameter) -> Model:  # noqa: N802  # reads as the algorithm's name in a pipeline file
    """Gradient-boosted trees; parameters by LightGBM's own names."""
    return Model("lightgbm", FrozenMap(params))


def Network(**params: Parameter) -> Model:  # noqa: N802
    """A torch network: embeddings for categories, then dense layers."""
    return Model("network", FrozenMap(params))


def Linear(**params: Parameter) -> Model:  # noqa: N802
    """Logistic regression on scaled numbers and one-hot categories."""
    return Model("linear", FrozenMap(params))


def Own(trainer: str, **params: Parameter) -> Model:  # noqa: N802
    """A trainer of your own: ``package.module:Class``, with the values or ranges of its parameters.

    It follows `raypipe.training.Trainer`, three methods, and passes `raypipe.training.contract.check`. It must be
    importable wherever trials run.

    >>> from raypipe.spec.search import integer
    >>> Own("shop.trainers:Forest", depth=integer(2, 8)).algorithm
    'shop.trainers:Forest'
    """
    return Model(trainer, FrozenMap(params))
