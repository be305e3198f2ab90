"""``raypipe up``, ``down`` and ``status``: the processes on this machine."""

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch
from raypipe.errors import RaypipeError

if TYPE_CHECKING:
    from raypipe.services import ServicesConfig, ServiceStatus


def up(json: AsJson = False) -> None:
    """Start Ray, MLflow and the HTTP service on this machine; what runs already is left alone.

    The champions that were in service and do not answer now answer again, with the features that are stored.
    """
    from raypipe import services

    out = Output(json)
    running = services.up(_config(), watch(out.console))
    out.say("Everything is up already." if running.already else "Everything is up.")
    again = _serve_again(out)
    _show(services.status(_config()) if again else running.services, out)


def status(json: AsJson = False) -> None:
    """Say what is up, where it listens, and which models answer."""
    from raypipe import services

    _show((*services.status(_config()), *_trainings()), Output(json))


def down(json: AsJson = False) -> None:
    """Stop everything that `raypipe up` or `raypipe run` started here. Data, models and history stay."""
    from raypipe import services

    out, config = Output(json), _config()
    stopped = services.down(config, watch(out.console))
    out.say("Everything is down." if stopped else "Nothing was running.")
    out.result(services.status(config))


def _serve_again(out: Output) -> bool:
    """Let each champion that was in service and is not now answer again: Serve has forgotten it, the ledger has not.

    Returns:
        Whether there was any.
    """
    from raypipe.settings import load_settings

    if not (load_settings().home / "ledger.db").exists():
        return False
    from raypipe import services
    from raypipe.cli.kept import kept

    with kept() as found:
        registry = found.registry
        names = [name for name in registry.names() if registry.deployments(name) and registry.champion(name)]
    there = {route.strip("/") for route in services.routes(_config())} if names else set()
    names = [name for name in names if name not in there]
    if not names:
        return False
    progress = watch(out.console)
    with progress.step("Load the libraries"):
        from raypipe.cli.opened import opened
        from raypipe.flows.deploy import watch_again
        from raypipe.flows.swap import swap

    with opened(progress, "raypipe: up") as platform:
        champions = [platform.registry.get(name, "champion") for name in names]
        # First of all: it decides and trains while nobody is answered yet, and comes up beside the others.
        for champion in champions:
            # One that cannot be read is told of below, when it cannot answer either.
            with suppress(RaypipeError):
                watch_again(platform, champion)
        for champion in champions:
            name = champion.name
            try:
                with progress.stage("deploy"):
                    deployment = swap(platform, champion, progress)
            except RaypipeError as error:
                out.say(Text(f"{name} does not answer: {error}", "red"))
            else:
                out.say(f"{name}/{champion.version} answers again at {deployment.url}")
    return True


def _trainings() -> "tuple[ServiceStatus, ...]":
    """The trainings that are not over, each as what works on it."""
    from raypipe.settings import load_settings

    if not load_settings().ledger_url and not (load_settings().home / "ledger.db").exists():
        return ()
    from raypipe.cli.kept import kept
    from raypipe.retraining.standing import standing
    from raypipe.services import ServiceStatus

    with kept() as found:
        now = [standing(found.ledger, name, found.registry.arms(name).arms) for name in found.registry.names()]
    url = _config().dashboard_url
    return tuple(
        ServiceStatus(
            f"training {s.pipeline}/{s.number}",
            s.outcome == "running",
            f"{url}/#/jobs/{s.job}" if s.job else "",
            None,
            s.note,
            s.state,
        )
        for s in now
        if s is not None and s.state != "ended"
    )


def _config() -> "ServicesConfig":
    from raypipe.settings import load_settings
    from raypipe.wiring import services_config

    return services_config(load_settings())


def _show(found: "Sequence[ServiceStatus]", out: Output) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for service in found:
        style = "green" if service.running else "yellow" if service.state else "red"
        state = Text(service.state or ("up" if service.running else "down"), style)
        table.add_row(service.name, state, Text(service.url, "cyan"), Text(service.detail, "dim"))
    if not out.json:
        out.say(table)
    out.result(found)
