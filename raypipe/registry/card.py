"""A model card: what a version is, learned from the record alone, for people who have to answer for it.

M. Mitchell et al., "Model cards for model reporting", FAT* 2019. Nothing is typed by hand: what the record lacks is
missing here too, and said to be.
"""

from collections.abc import Iterator
from pathlib import Path

from raypipe.clock import iso
from raypipe.contracts import bundle
from raypipe.contracts.records import ModelVersion
from raypipe.ledger import Ledger
from raypipe.registry.card_page import Part, Section, Table
from raypipe.registry.rows import deployments, promotions
from raypipe.registry.walk import Past, past
from raypipe.spec import (
    PARTS,
    Expression,
    FeatureGroup,
    Pipeline,
    Shares,
    Split,
    TableFeatures,
    in_words,
    more_is_better,
)
from raypipe.spec.agg import Aggregate
from raypipe.words import amount

#: Rows of a table that a person reads.
MOST = 15


def card(ledger: Ledger, version: ModelVersion) -> list[Section]:
    """The card of a version, its own name as the first title.

    Raises:
        RegistryError: the version's files cannot be read.
    """
    folder = Path(version.folder)
    pipeline, known = bundle.pipeline(folder), past(ledger, version)
    sections = [
        ("What it answers", _asked(pipeline, folder)),
        ("Data", _data(version, pipeline, known)),
        ("Features", _features(pipeline)),
        ("Search", _search(pipeline, known)),
        ("Quality on the holdout", _quality(version, folder)),
        ("Segments", _segments(folder)),
        ("Fairness", _fairness(folder)),
        ("What it goes by", _importances(pipeline, folder)),
        ("Limits", _limits(pipeline, folder, known)),
        ("Decisions", _decisions(ledger, version)),
    ]
    first = Section(f"{version.name}/{version.version}", tuple(_identity(version)))
    return [first, *(Section(title, tuple(parts)) for title, parts in sections)]


def _identity(version: ModelVersion) -> Iterator[Part]:
    lineage = version.lineage
    held = f"It is {', '.join(version.aliases)} now." if version.aliases else "It holds no alias now."
    yield f"A {version.algorithm} model, registered at {iso(version.created)}. {held}"
    commit = f"{lineage.commit or 'none'}{', changed since' if lineage.dirty else ''}"
    rows = [
        ("digest of its files", version.digest),
        ("definition", lineage.pipeline_definition),
        ("training set", lineage.training_set),
        ("commit", commit),
        ("seed", str(lineage.seed)),
        ("machine", lineage.machine or "not recorded"),
        ("libraries", ", ".join(f"{n} {lineage.lock[n]}" for n in _LIBRARIES if n in lineage.lock)),
    ]
    yield Table(("record", "value"), tuple(rows))


def _asked(pipeline: Pipeline, folder: Path) -> Iterator[Part]:
    ask, label, made = pipeline.ask, pipeline.label, bundle.card(folder)
    lead = f"{in_words(ask.lead)} before" if ask.lead.total_seconds() else "at"
    when, settled = f", {lead} `{ask.moment}`", f", which is settled {in_words(label.settled_after)} after asking"
    fields = ", ".join(pipeline.request.fields)
    yield f"Asked once for each row of {ask.stream.name}{when if ask.timed else ''}, with {fields}."
    yield f"It predicts `{label.truth.in_words}` ({label.task}){settled if ask.timed else ''}."
    if label.task == "binary":
        yield f"A probability of at least {made.threshold:g} counts as true. Calibration: {made.calibration}."
    if pipeline.finish.costs is not None:
        rows = [(t, a, f"{c:g}") for t, row in pipeline.finish.costs.items() for a, c in row.items()]
        yield Table(("truth", "answer", "cost"), tuple(rows))


def _data(version: ModelVersion, pipeline: Pipeline, known: Past) -> Iterator[Part]:
    found = known.training_set
    yield f"Nothing is used that was not known at {iso(version.lineage.as_of)}."
    if found is None:
        yield "The ledger lacks the record of its training set."
        rows = [(table, str(number), "", "") for table, number in version.lineage.snapshots.items()]
    else:
        rows = [
            (s.table, str(s.snapshot_id), f"{s.rows:,}", ", ".join(Path(f.path).name for f in s.files))
            for s in found.snapshots
        ]
    yield Table(("table", "snapshot", "rows", "files"), tuple(rows))
    if known.gate is None:
        yield "The ledger lacks a gate that passed these snapshots."
    else:
        checks = known.gate.results
        past_gate = f" It was bypassed: {known.gate.bypassed}." if known.gate.bypassed else ""
        yield f"Its gate made {amount(len(checks), 'check')} and set {known.gate.quarantined:,} rows aside.{past_gate}"
    if found is not None:
        parts = [
            (name, span, f"{found.rows.get(name, 0):,}", _share(found.positives, found.rows, name))
            for name, span in _parts(pipeline.split)
        ]
        yield Table(("part", "asked", "rows", "true"), tuple(parts))
        if found.left_out:
            yield Table(("rows left out because of", "rows"), tuple((w, f"{n:,}") for w, n in found.left_out.items()))


def _parts(split: Split) -> Iterator[tuple[str, str]]:
    """Each part of a split and what is in it."""
    if isinstance(split, Shares):
        whole = f", whole values of {split.together}" if split.together else ""
        yield from ((name, f"{getattr(split, name):g} % at random{whole}") for name in PARTS)
    else:
        yield from ((name, f"{start.date()} to before {end.date()}") for name, (start, end) in split.items())


def _share(positives: dict[str, int], rows: dict[str, int], period: str) -> str:
    return f"{positives[period] / rows[period]:.1%}" if rows.get(period) and period in positives else "–"


def _features(pipeline: Pipeline) -> Iterator[Part]:
    rows: list[tuple[str, str]] = []
    for item in pipeline.inputs:
        for name, content in item.features.items():
            if isinstance(item, FeatureGroup) and isinstance(content, Aggregate):
                rows.append((name, f"{content.in_words} of {item.moment.stream.name} by {', '.join(item.key)}"))
            elif isinstance(item, TableFeatures):
                rows.append((name, f"{item.table.name}.{content}, by {item.by}"))
            else:
                rows.append((name, (content.in_words if isinstance(content, Expression) else str(content))[:200]))
    yield Table(("feature", "meaning"), tuple(rows))


def _search(pipeline: Pipeline, known: Past) -> Iterator[Part]:
    if known.candidate is None:
        yield "The ledger lacks the record of its search."
        return
    candidate, metric = known.candidate, pipeline.search.metric
    yield f"{candidate.reason}."
    told = [trial for trial in candidate.trials if metric in trial.metrics]
    sign = -1 if more_is_better(metric) else 1
    best = sorted(told, key=lambda trial: sign * trial.metrics[metric])[:MOST]
    speeds = [name for name in _SPEEDS if any(name in t.metrics for t in best)]
    rows = [
        (
            str(t.number),
            t.algorithm,
            t.status,
            f"{t.metrics[metric]:.4f}",
            *(_number(t.metrics, name) for name in speeds),
            f"{t.seconds:.1f}",
        )
        for t in best
    ]
    headings = ("trial", "algorithm", "status", f"{metric} on tune", *(_SPEEDS[name] for name in speeds), "seconds")
    yield Table(headings, tuple(rows))
    yield "Speeds are from the values of the features to the score, in the code that serves."
    failed = [trial for trial in candidate.trials if trial.error]
    yield f"{amount(len(candidate.trials), 'trial')} in all; {len(failed)} failed."


def _number(metrics: dict[str, float], name: str) -> str:
    return (f"{metrics[name]:,.0f}" if name == "bytes" else f"{metrics[name]:.3g}") if name in metrics else "–"


def _quality(version: ModelVersion, folder: Path) -> Iterator[Part]:
    evaluation = bundle.evaluation(folder)
    if evaluation is None:
        rows = [(name, f"{value:.4g}") for name, value in version.metrics.items() if not name.startswith("tune_")]
        yield Table(("metric", "value"), tuple(rows))
        return
    cost = "" if evaluation.cost is None else f" A row costs {evaluation.cost:.4g} on average."
    yield f"Judged once, on {evaluation.rows:,} rows that nothing was learned or chosen from.{cost}"
    found = [(name, f"{i.value:.4f}", f"{i.low:.4f} to {i.high:.4f}") for name, i in evaluation.metrics.items()]
    yield Table(("metric", "value", "95 % interval"), tuple(found))
    yield f"Intervals by drawing {evaluation.blocks} blocks of rows with replacement."
    speed = [(words, _number(version.metrics, name)) for name, words in _SPEEDS.items() if name in version.metrics]
    if speed:
        yield Table(("speed and size of the model", "value"), tuple(speed))


def _segments(folder: Path) -> Iterator[Part]:
    evaluation = bundle.evaluation(folder)
    if evaluation is None or not evaluation.segments:
        yield "The pipeline names no columns to judge by."
        return
    names = list(dict.fromkeys(name for segment in evaluation.segments for name in segment.metrics))
    for column in dict.fromkeys(segment.column for segment in evaluation.segments):
        own = [segment for segment in evaluation.segments if segment.column == column]
        rows = [
            (s.value, f"{s.rows:,}", f"{s.truth:.3f}", f"{s.answer:.3f}", *(_four(s.metrics, name) for name in names))
            for s in own
        ]
        yield Table((column, "rows", "truth", "answer", *names), tuple(rows))


def _four(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else "–"


def _fairness(folder: Path) -> Iterator[Part]:
    evaluation = bundle.evaluation(folder)
    if evaluation is None or not evaluation.fairness:
        yield "The pipeline names no columns over which rows are to be treated alike."
        return
    rows = [(f.column, str(f.values), n, f"{v:.4f}") for f in evaluation.fairness for n, v in f.measures.items()]
    yield Table(("column", "values", "measure (0: alike)", "value"), tuple(rows))


def _importances(pipeline: Pipeline, folder: Path) -> Iterator[Part]:
    evaluation = bundle.evaluation(folder)
    if evaluation is None or not evaluation.importances:
        yield "Importances were not measured."
        return
    yield f"What {pipeline.search.metric} loses when a feature is shuffled over the rows of the holdout."
    rows = [(i.feature, f"{i.loss:.5f}", f"{i.deviation:.5f}") for i in evaluation.importances[:MOST]]
    yield Table(("feature", "loss", "deviation"), tuple(rows))


def _limits(pipeline: Pipeline, folder: Path, known: Past) -> Iterator[Part]:
    if isinstance(pipeline.split, Shares):
        yield "It was judged on a random part of rows without time; nothing is known of how it does on later ones."
    else:
        start, end = pipeline.split.holdout
        yield f"It was judged on {start.date()} to {end.date()} only; nothing is known of how it does at other times."
    evaluation, found = bundle.evaluation(folder), known.training_set
    left = 0 if found is None else sum(found.left_out.values())
    if left:
        yield f"{left:,} rows of history could not have been asked or have no answer; see Data."
    if evaluation is not None:
        metric = pipeline.search.metric
        judged = [s for s in evaluation.segments if metric in s.metrics]
        if judged:
            best = max if not more_is_better(metric) else min
            worst = best(judged, key=lambda s: s.metrics[metric])
            yield f"It does worst where {worst.column} is {worst.value}: {metric} {worst.metrics[metric]:.4f}."
        idle = [i.feature for i in evaluation.importances if i.loss <= 2 * i.deviation]
        if idle:
            yield f"Not told from useless by shuffling: {', '.join(idle)}."
    reference = bundle.bins(folder)
    if reference is not None:
        unseen = [f"{b.name} ({b.counts[3]:,})" for b in reference.features if b.counts[3]]
        if unseen:
            yield f"Rows of the holdout with values that training never saw: {', '.join(unseen)}."


def _decisions(ledger: Ledger, version: ModelVersion) -> Iterator[Part]:
    rows = [
        (iso(entry.at), "rolled back to" if change.rollback else "promoted", change.why, change.who)
        for entry, change in promotions(ledger, version.name, "champion")
        if change.version == version.version
    ]
    rows += [
        (iso(row.at), "deployed", row.url, "")
        for _, row in deployments(ledger, version.name)
        if (row.version, row.digest) == (version.version, version.digest)
    ]
    if not rows:
        yield "Nobody has promoted or deployed it."
        return
    yield Table(("at", "what", "why", "who"), tuple(sorted(rows)))


_LIBRARIES = ("python", "raypipe", "ray", "lightgbm", "torch", "scikit-learn", "onnxruntime")
_SPEEDS = {
    "p50_ms_1": "p50 of one row, ms",
    "p99_ms_1": "p99 of one row, ms",
    "p50_ms_1000": "p50 of 1,000 rows, ms",
    "p99_ms_1000": "p99 of 1,000 rows, ms",
    "bytes": "bytes",
    "money_per_million": "cost of a million predictions",
}
