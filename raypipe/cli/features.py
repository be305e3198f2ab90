"""``raypipe materialize`` and ``features``: features for whoever asks now, and what they are."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raypipe.cli.definition import read
from raypipe.cli.kept import is_there, kept, require_known, split
from raypipe.cli.life import AsOf, moment_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch
from raypipe.cli.rows import Rows
from raypipe.clock import to_minute

if TYPE_CHECKING:
    from raypipe.flows.catalogue import Described
    from raypipe.spec import Pipeline

Anew = Annotated[
    bool, typer.Option("--anew", help="Load everything again, beside what is in use, instead of what is new.")
]


def materialize(
    pipeline: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A pipeline file, or a name such as flights or flights/3."),
    ],
    as_of: AsOf = None,
    anew: Anew = False,
    json: AsJson = False,
) -> None:
    """Bring the online store up to date: what the published tables gained since, late and corrected rows included.

    Every definition that is in service is brought up to date: the champion's, those beside it, and the file's.

    Only entities that gained events are touched, all in one step; the same again changes nothing. What is served goes
    on answering, from the state before or from the new one.
    """
    definition = read(Path(pipeline)) if pipeline.endswith(".py") else None
    name, version = split(pipeline) if definition is None else (definition.name, "")
    moment, out = moment_of(as_of), Output(json)
    progress = watch(out.console)
    # Seconds of imports: a faulty definition is told before them.
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows.materialize import materialize_line, refresh
        from raypipe.flows.remote import on_cluster

    with opened(progress, f"raypipe: {name}") as platform:
        if definition is None:
            platform.registry.get(name, version)  # a name that nobody knows is told before the cluster works
        task = partial(refresh, name=name, pipeline=definition, version=version, moment=moment, anew=anew)
        records = on_cluster(f"{name}: materialize", task, platform, progress)
    out.say(f"{name}: {materialize_line(records[0])}")
    out.say(*(f"  also in service, definition {one.definition[:8]}: {materialize_line(one)}" for one in records[1:]))
    out.result(records[0])


def features(
    pipeline: Annotated[
        str, typer.Argument(metavar="FILE|NAME", help="A pipeline file, or the pipeline's name.", show_default=False)
    ],
    json: AsJson = False,
) -> None:
    """List a pipeline's features: what they mean and come from, how many values are missing, which models see them.

    Of a file, what its definition says is told before anything has run, too.
    """
    named = read(Path(pipeline)) if pipeline.endswith(".py") else None
    from raypipe.flows.catalogue import catalogue

    out = Output(json)
    if named is not None and not is_there():
        # Nothing was computed yet; what the definition says needs no workspace.
        entries = catalogue(named)
    else:
        named, entries = _with_history(pipeline, named)
    if not json:
        out.say(*([f"Owner: {named.owner}"] if named.owner else []), _table(entries, named.owner))
    out.result(entries)


def _with_history(name: str, named: "Pipeline | None") -> "tuple[Pipeline, list[Described]]":
    from raypipe.contracts import bundle
    from raypipe.flows.catalogue import catalogue

    with kept() as found:
        if named is None:
            require_known(found.registry, name)
        versions = found.registry.versions(name if named is None else named.name)
        if named is None:
            # The last one that was registered speaks for the name.
            named = bundle.pipeline(Path(max(versions, key=lambda one: one.version).folder))
        return named, catalogue(named, versions, found.ledger)


def _table(entries: "list[Described]", owner: str) -> Rows:
    others = any(one.owner != owner for one in entries)
    words = ("meaning, or how it is computed", "window", "from", "definition")
    figures = ("nulls", "fresh until", "models", "fingerprint")
    table = Rows(
        ("feature", *(["owner"] if others else []), "kind", *words, *figures),
        first=("feature", "kind", "nulls", "models", "fingerprint"),
        folds=("owner", *words),
        right=figures,
    )
    for one in entries:
        nulls = "" if one.null_share is None else f"{one.null_share:.1%}"
        fresh = "" if one.fresh_until is None else to_minute(one.fresh_until)
        told = (one.kind, one.meaning or one.computed, one.window, ", ".join(one.sources), _definition(one))
        whose = (one.owner,) if others else ()
        table.add(one.name, *whose, *told, nulls, fresh, _models(one), one.fingerprint[:8])
    return table


def _definition(one: "Described") -> str:
    return f"{one.definition}, {'new' if one.since is None else f'since {to_minute(one.since)[:10]}'}"


def _models(one: "Described") -> str:
    others = f" (others: {', '.join(str(number) for number in one.otherwise_in)})" if one.otherwise_in else ""
    return ", ".join(str(number) for number in one.used_by) + others
