"""Rules about what is served: whom a prediction is about, and what is kept of it."""

import re
from collections.abc import Iterator

from raypipe.errors import Fault, did_you_mean
from raypipe.spec.features import Request
from raypipe.spec.pipeline import Pipeline

#: What a figure may read beside request fields and outcomes.
_ANSWER = ("score", "label", "truth")


def value_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """Business figures have names that metrics can have, and follow from a row alone."""
    for name, figure in pipeline.value.items():
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,63}", name) or name in _ANSWER:
            yield Fault(pipeline.where, f"`value` has a figure called `{name}`", "Use letters, digits and _")
        if figure.unsteady:
            yield Fault(pipeline.where, f"the figure `{name}` {figure.unsteady[0]}", figure.unsteady[1])
        elif not figure.is_elementwise:
            what = f"the figure `{name}` does not follow from one row alone"
            yield Fault(pipeline.where, what, "Leave out aggregates and Python functions: means are taken later")
        if not figure.roots:
            yield Fault(pipeline.where, f"the figure `{name}` is the same for every prediction", "Let it read a column")


def service_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The unit, and all that the log names, is there."""
    if sum(isinstance(item, Request) for item in pipeline.inputs) != 1:
        return  # another rule says so
    fields, log = pipeline.request.fields, pipeline.log
    if pipeline.unit and pipeline.unit not in fields:
        what = f"the unit `{pipeline.unit}` is not a request field"
        yield Fault(pipeline.where, what, did_you_mean(pipeline.unit, fields))
    for told, features in (("meanings", pipeline.meanings), ("owners", pipeline.owners)):
        for name in features:
            if name not in pipeline.feature_names:
                what = f"`{told}` tells of `{name}`, which is no feature"
                yield Fault(pipeline.where, what, did_you_mean(name, pipeline.feature_names))
    if log.mode not in {"fast", "strict"}:
        yield Fault(log.where, f"the log has no mode `{log.mode}`", "Use `fast` or `strict`")
    for part, names, known in (
        ("fields", log.fields or (), fields),
        ("features", log.features or (), pipeline.feature_names),
        ("hashed", log.hashed, (*fields, *pipeline.feature_names)),
    ):
        for name in names:
            if name not in known:
                yield Fault(
                    log.where, f"the log's `{part}` name `{name}`, which is not there", did_you_mean(name, known)
                )
