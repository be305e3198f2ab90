"""``raypipe promote``, ``rollback`` and ``history``: who is champion, by whose decision, and why."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from raypipe.cli.kept import Kept, Last, Name, because, kept, older, person, require_known
from raypipe.cli.life import Bypass, moment_of, reason_of
from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch
from raypipe.cli.rows import Rows
from raypipe.clock import iso, to_minute, to_second

if TYPE_CHECKING:
    from raypipe.contracts.records import Deployment, ModelVersion
    from raypipe.services import ServicesConfig

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.", show_default=False)]
#: So many reigns are shown.
SHOWN = 50


def promote(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Its number.", show_default=False)],
    why: Why,
    expect: Annotated[
        int | None,
        typer.Option(
            "--expect",
            metavar="N",
            show_default=False,
            help="Only if version N is champion still. Default: whoever is.",
        ),
    ] = None,
    bypass_gate: Bypass = None,
    json: AsJson = False,
) -> None:
    """Make a version champion, and let it answer if the model is in service: it is swapped in place.

    If somebody else changes the champion at the same moment, one of you is refused.
    """
    bypass = reason_of(bypass_gate)
    with kept(writes=True) as found:
        before = _known(found, name)
        seen = expect if expect is not None else before
        after = found.registry.promote(name, version, expect=seen, why=because(why), who=person(), bypass=bypass)
        _tell(found, before, after, why, Output(json))


def rollback(name: Name, why: Why, json: AsJson = False) -> None:
    """Give a model back to the champion before; again, and it goes further back.

    If the model is in service, the earlier version is swapped in place.
    """
    with kept(writes=True) as found:
        before = _known(found, name)
        after = found.registry.rollback(name, because(why), who=person())
        _tell(found, before, after, why, Output(json))


def history(
    name: Name,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="DATE",
            show_default=False,
            help="Only who was champion, and which version answered, at this moment (UTC unless it names an offset).",
        ),
    ] = None,
    last: Last = None,
    json: AsJson = False,
) -> None:
    """Tell who was champion when, since when, by whose decision, and why: the last 50, newest first."""
    out = Output(json)
    moment = moment_of(at, "--at")
    with kept() as found:
        _known(found, name)
        reigns, services = _reigns(found, name), _services(found, name)
    if moment is not None:
        reign, service = _then(reigns, moment), _then(services, moment)
        if not json:
            out.say(*_sentences(name, moment, reign, service))
        out.result({"model": name, "at": iso(moment), "champion": _shown(reign), "served": _shown(service)})
        return
    if not json:
        shown = reigns[-(last or SHOWN) :]
        out.say(_table(shown) if reigns else f"{name} has had no champion.", *older(len(reigns) - len(shown)))
    out.result({"model": name, "champions": [_shown(r) for r in reigns], "served": [_shown(s) for s in services]})


@dataclass(frozen=True)
class Span:
    """A version that held something from ``since`` to ``until`` (microseconds UTC; None: it holds it now)."""

    version: int
    since: int
    until: int | None
    how: str
    why: str = ""
    who: str = ""


def _known(found: Kept, name: str) -> int | None:
    """The number of a model's champion; raises RegistryError when there is no such model."""
    require_known(found.registry, name)
    return found.registry.holder(name)


def _tell(found: Kept, before: int | None, after: "ModelVersion", why: str, out: Output) -> None:
    deployment = swapped(found, after, out)
    changed = before != after.version
    if deployment is None:
        served = "It is not in service: only the registry says so; `raypipe deploy FILE` serves it."
    else:
        served = f"It answers at {deployment.url}"
    said = f"{after.name}/{after.version} is champion" + ("" if changed else " already")
    if changed and before is not None:
        said += f" in place of {after.name}/{before}"
    if not out.json:
        out.say(Text.assemble(("✓", "green"), f" {said}. {served}"))
    out.result(
        {
            "model": after.name,
            "version": after.version,
            "previous": before,
            "changed": changed,
            "why": why,
            "url": None if deployment is None else deployment.url,
        }
    )


def swapped(found: Kept, version: "ModelVersion", out: Output) -> "Deployment | None":
    """Swap a version in where the model is in service; None where it is not."""
    from raypipe.wiring import services_config

    config = services_config(found.settings)
    if not config.ray_address and not _in_service(config, version.name):
        return None
    progress = watch(out.console)
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows.swap import swap, swap_where_served

    # Whether a cluster that others run serves it, only one who has joined is told: it may ask for a token.
    work = swap_where_served if config.ray_address else swap
    with opened(progress, f"raypipe: {version.name}") as platform, progress.stage("deploy"):
        return work(platform, version, progress)


def _in_service(config: "ServicesConfig", name: str) -> bool:
    """Whether a model is in service on this machine; asked without the libraries that take seconds."""
    from raypipe import services

    serve = next(service for service in services.status(config) if service.name == "serve")
    return serve.running and f"/{name}" in serve.detail.split(", ")


def _reigns(found: Kept, name: str) -> list[Span]:
    changes = found.registry.history(name)
    ends = [entry.at for entry, _ in changes[1:]]
    return [
        Span(c.version, entry.at, end, "rolled back" if c.rollback else "promoted", c.why, c.who)
        for (entry, c), end in zip(changes, [*ends, None], strict=False)
        if c.version is not None
    ]


def _services(found: Kept, name: str) -> list[Span]:
    rows: list[tuple[int, int | None]] = [(one.at, one.version) for _, one in found.registry.deployments(name)]
    # A champion that was withdrawn was taken out of service.
    rows += [(entry.at, None) for entry, change in found.registry.history(name) if change.version is None]
    rows.sort(key=lambda row: row[0])
    spans = zip(rows, [*(at for at, _ in rows[1:]), None], strict=False)
    return [Span(version, at, end, "deployed") for (at, version), end in spans if version is not None]


def _then(spans: list[Span], moment: int) -> Span | None:
    return next((s for s in spans if s.since <= moment and (s.until is None or moment < s.until)), None)


def _shown(span: Span | None) -> dict[str, object] | None:
    if span is None:
        return None
    until = None if span.until is None else iso(span.until)
    shown: dict[str, object] = {"version": span.version, "since": iso(span.since), "until": until, "how": span.how}
    return shown | ({"why": span.why, "who": span.who} if span.why or span.who else {})


def _sentences(name: str, moment: int, reign: Span | None, service: Span | None) -> list[str]:
    when = to_second(moment)
    if reign is None:
        said = f"{name} had no champion at {when}."
    else:
        by = f" by {reign.who}" if reign.who else ""
        said = f"{name}/{reign.version} was champion at {when}: {reign.how}{by} at {to_second(reign.since)}"
        said += f", {reign.why.rstrip('.')}."
    if service is None:
        return [said, "No version answered then."]
    return [said, f"{name}/{service.version} answered then, since {to_second(service.since)}."]


def _table(reigns: list[Span]) -> Rows:
    headings = ("version", "since (UTC)", "until", "how", "why", "by")
    table = Rows(headings, first=("version", *headings[1:4], "by"), folds=("why", "by"), right=("version",))
    for span in reversed(reigns):
        until = "now" if span.until is None else to_minute(span.until)
        style = "bold green" if span.until is None else ""
        table.add(str(span.version), to_minute(span.since), until, span.how, span.why, span.who, style=style)
    return table
