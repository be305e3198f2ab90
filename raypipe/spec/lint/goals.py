"""Rules about what is predicted, how it is judged, and how the model is looked for."""

from collections.abc import Callable, Iterator, Mapping

import polars as pl
from polars.exceptions import PolarsError

from raypipe.errors import Fault, did_you_mean
from raypipe.spec.features import Request
from raypipe.spec.lint.inputs import feature_types
from raypipe.spec.lint.models import OWN, model_faults, own_faults
from raypipe.spec.lint.sources import NAME, columns, type_of, unknown
from raypipe.spec.pipeline import Pipeline
from raypipe.spec.search import TASK_METRICS, Search
from raypipe.spec.shape import known_from, shipped
from raypipe.spec.values import in_words
from raypipe.words import amount

CALIBRATIONS = frozenset({"auto", "none", "platt", "isotonic"})
#: What a label of each task is written as.
LABELS: Mapping[str, tuple[str, Callable[[pl.DataType], bool], str]] = {
    "binary": ("true or false", lambda kind: kind == pl.Boolean, "Compare it with something, or name another `task`"),
    "multiclass": ("text", lambda kind: kind in (pl.String, pl.Categorical), "Cast it to `pl.String`"),
    "regression": ("a number", lambda kind: kind.is_numeric(), "Cast it to `pl.Float64`, or name another `task`"),
    "quantile": ("a number", lambda kind: kind.is_numeric(), "Cast it to `pl.Float64`, or name another `task`"),
    "count": ("a number", lambda kind: kind.is_numeric(), "Cast it to `pl.Int64`, or name another `task`"),
}


def name_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The pipeline's name can be part of a URL and a table name."""
    if not NAME.fullmatch(pipeline.name):
        yield Fault(pipeline.where, f"pipeline name `{pipeline.name}` is not a plain word", "Use a-z, 0-9 and _")


def label_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The label is a truth about the asked row, unknown when asked, and known when it is said to be."""
    label, ask = pipeline.label, pipeline.ask
    if label.stream != ask.stream:
        what = f"the label is about `{label.stream.name}`, but predictions are asked about `{ask.stream.name}`"
        yield Fault(label.where, what, "Label the asked stream")
        return
    if label.truth.unsteady:
        yield Fault(label.where, f"the label {label.truth.unsteady[0]}", label.truth.unsteady[1])
        return
    known, missing = columns(label.stream), False
    for root in label.truth.roots:
        for fault in unknown(root, known, label.where, f"label: stream {label.stream.name}"):
            missing = True
            yield fault
    if missing or not known.keys() >= set(label.truth.roots):
        return
    yield from _not_yet_known(pipeline) if ask.timed else _given_away(pipeline)
    try:
        kind = type_of(label.truth, known)
    except PolarsError as error:
        yield Fault(label.where, f"the label does not fit its columns: {str(error).splitlines()[0]}")
        return
    yield from _task(pipeline, kind)


def _not_yet_known(pipeline: Pipeline) -> Iterator[Fault]:
    label, ask, since = pipeline.label, pipeline.ask, known_from(pipeline.label.stream)
    if all(since[root] is None for root in label.truth.roots):
        what = "the label reads only columns that are known when a prediction is asked: there is nothing to predict"
        yield Fault(label.where, what, "Read a column that a later moment reveals, or list it under `reveals`")
    if label.settled_after <= ask.lead:
        what = f"the label looks into the future: it is taken as settled {in_words(label.settled_after)} after asking"
        yield Fault(
            label.where,
            f"{what}, but `{ask.moment}` itself comes {in_words(ask.lead)} after asking",
            "Give a longer `settled_after`",
        )


def _given_away(pipeline: Pipeline) -> Iterator[Fault]:
    """Rows without time reveal nothing later: what the label is made of must not all be sent with the question."""
    label, source = pipeline.label, pipeline.label.stream
    made_of = {column for root in label.truth.roots for column in shipped(source, root)}
    sent = {column for field in _request_fields(pipeline) for column in shipped(source, field)}
    if made_of <= sent:
        what = "the label reads only columns that the caller sends: there is nothing to predict"
        yield Fault(label.where, what, f"Take `{', '.join(sorted(made_of))}` out of the request")


def search_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The search has models it knows, ranges that hold something, and a trial for each model."""
    search = pipeline.search
    if not search.models:
        yield Fault(search.where, "the search has no models", "Add one, such as `models.LightGBM()`")
    if search.trials < len(search.models):
        what = f"{amount(search.trials, 'trial')} cannot try {amount(len(search.models), 'model')}"
        yield Fault(search.where, what, "Give at least one trial a model")
    yield from _metric(pipeline)
    yield from _limits(search)
    yield from _segments(pipeline)
    for number, model in enumerate(search.models):
        yield from model_faults(model)
        if model.algorithm in [earlier.algorithm for earlier in search.models[:number]]:
            cure = "Name it once, with ranges that hold all you want to try"
            yield Fault(model.where, f"`{model.algorithm}` is in the search twice", cure)


def _segments(pipeline: Pipeline) -> Iterator[Fault]:
    search = pipeline.search
    if search.by and search.by not in pipeline.feature_names:
        what = f"there can be no model for each `{search.by}`: it is no feature"
        yield Fault(search.where, what, did_you_mean(search.by, pipeline.feature_names))
    elif search.by and (kind := feature_types(pipeline).get(search.by)) and (kind.is_numeric() or kind == pl.Boolean):
        what = f"there can be no model for each `{search.by}`: it is {kind}, and only text has categories"
        yield Fault(search.where, what, "Name a feature of text, or make it one with `.cast(pl.String)`")


def _limits(search: Search) -> Iterator[Fault]:
    if search.p99_ms is not None and not search.p99_ms > 0:
        yield Fault(search.where, f"no model answers within {search.p99_ms:g} ms", "Give a positive `p99_ms`, or none")
    limits = {"seconds": search.seconds, "money": search.money, "trial_seconds": search.trial_seconds}
    for name, limit in limits.items():
        if limit is not None and not limit > 0:
            yield Fault(search.where, f"a search of {name} {limit:g} tries nothing", f"Give a positive `{name}`")
    if search.money is not None and not search.cpu_hour > 0:
        yield Fault(
            search.where, "the search has a budget of money, but no price", "Give `cpu_hour`, what an hour costs"
        )
    for name, price in (("cpu_hour", search.cpu_hour), ("gpu_hour", search.gpu_hour)):
        if not 0 <= price < float("inf"):
            yield Fault(search.where, f"`{name}` is {price:g}: no price", f"Give what an hour costs as `{name}`")
    if search.money is not None and not search.gpu_hour > 0 and any(model.gpus for model in search.models):
        yield Fault(search.where, "the budget of money has no price for GPUs", "Give `gpu_hour`, what an hour costs")


def _task(pipeline: Pipeline, kind: pl.DataType) -> Iterator[Fault]:
    label = pipeline.label
    if label.task not in LABELS:
        yield Fault(label.where, f"unknown task `{label.task}`", did_you_mean(label.task, LABELS))
        return
    words, fits, cure = LABELS[label.task]
    if not fits(kind):
        yield Fault(label.where, f"the label is {kind}, not {words}", cure)
    if label.task == "quantile" and not (label.quantile is not None and 0 < label.quantile < 1):
        yield Fault(label.where, "the label is a quantile, but does not say which", "Give `quantile` between 0 and 1")
    if label.task != "quantile" and label.quantile is not None:
        yield Fault(label.where, f"`quantile` means nothing to the task {label.task}", 'Say `task="quantile"`')
    for model in pipeline.search.models:
        if model.algorithm == "linear" and label.task == "quantile":
            yield Fault(model.where, "the linear model has no quantiles", "Leave it out, or predict the mean")
    weights = pipeline.search.class_weights
    if weights is not None and label.task not in ("binary", "multiclass"):
        yield Fault(pipeline.search.where, f"class weights mean nothing to the task {label.task}", "Leave them out")
    if label.task == "binary" and not isinstance(weights, str):
        for name in sorted(set(weights or {}) - {"true", "false"}):
            what = f"there is no class `{name}` to weigh: the label is true or false"
            yield Fault(pipeline.search.where, what, 'Write {"true": 3.0}')
    if isinstance(weights, str) and weights != "balanced":
        yield Fault(
            pipeline.search.where, f"unknown class weights `{weights}`", "Say `balanced`, or give each class one"
        )
    if not isinstance(weights, str) and any(not 0 < weight < float("inf") for weight in (weights or {}).values()):
        yield Fault(pipeline.search.where, "a class weight is not a positive number", "Give a positive number")


def _metric(pipeline: Pipeline) -> Iterator[Fault]:
    metric, task = pipeline.search.metric, pipeline.label.task
    if ":" in metric:
        if not OWN.fullmatch(metric):
            yield Fault(pipeline.search.where, f"`{metric}` names no function", "Write it as `package.module:function`")
        else:
            yield from own_faults(metric, pipeline.search.where)
        return
    every = dict.fromkeys(name for names in TASK_METRICS.values() for name in names)
    # Which of them an unknown task may be chosen by is told when it is known.
    fitting = TASK_METRICS.get(task, tuple(every))
    if metric not in fitting:
        known = metric in every
        what = f"the metric {metric} is not for the task {task}" if known else f"unknown metric `{metric}`"
        cure = did_you_mean(metric, fitting) if not known else f"Choose by {', '.join(fitting)}"
        yield Fault(pipeline.search.where, what, cure or f"Choose by {', '.join(fitting)}")


def finish_rule(pipeline: Pipeline) -> Iterator[Fault]:
    """The model is judged by columns that there are, calibrated in a way that is known, at costs that are costs."""
    finish = pipeline.finish
    known = [*dict.fromkeys([*_request_fields(pipeline), *pipeline.feature_names])]
    for name in (*finish.by, *finish.fair):
        if name not in known:
            what = f"the model cannot be judged by `{name}`: it is no request field and no feature"
            yield Fault(finish.where, what, did_you_mean(name, known))
    if finish.calibrate not in CALIBRATIONS:
        yield Fault(
            finish.where, f"unknown calibration `{finish.calibrate}`", did_you_mean(finish.calibrate, CALIBRATIONS)
        )
    task = pipeline.label.task
    # What an unknown task has no use for is told when it is known.
    if finish.calibrate in ("platt", "isotonic") and task in {*LABELS} - {"binary"}:
        yield Fault(
            finish.where, f"{finish.calibrate} calibration is for true or false, not for {task}", "Leave it out"
        )
    if finish.costs is not None and task in {*LABELS} - {"binary", "multiclass"}:
        yield Fault(finish.where, f"costs by answer mean nothing to the task {task}", "Leave them out")
    for truth, row in (finish.costs or {}).items():
        for answer, cost in row.items():
            if not (0 <= cost < float("inf")):
                what = f"to answer {answer} when the truth is {truth} costs {cost:g}"
                yield Fault(finish.where, what, "Give a cost of zero or more")
            if task == "binary" and not {truth, answer} <= {"true", "false"}:
                what = f"the costs name `{truth}` and `{answer}`, but the label is true or false"
                yield Fault(finish.where, what, 'Write {"true": {"false": 5.0}}: the truth, then the answer')
    if finish.costs is not None and not any(cost > 0 for row in finish.costs.values() for cost in row.values()):
        yield Fault(
            finish.where, "no error costs anything: there is no threshold to choose", "Give a cost, or no costs"
        )


def _request_fields(pipeline: Pipeline) -> list[str]:
    return [name for item in pipeline.inputs if isinstance(item, Request) for name in item.fields]
