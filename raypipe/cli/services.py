"""``raypipe up``, ``down`` and ``status``: the processes on this machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.output import AsJson, Output
from raypipe.cli.progress import watch

if TYPE_CHECKING:
    from raypipe.services import ServiceStatus


def up(json: AsJson = False) -> None:
    """Start Ray, MLflow and the HTTP service on this machine; what runs already is left alone."""
    from raypipe import services
    from raypipe.settings import load_settings
    from raypipe.wiring import services_config

    out = Output(json)
    config = services_config(load_settings())
    _show(services.up(config, watch(out.console)), out)


def status(json: AsJson = False) -> None:
    """Say what is up, where it listens, and which models answer."""
    from raypipe import services
    from raypipe.settings import load_settings
    from raypipe.wiring import services_config

    _show(services.status(services_config(load_settings())), Output(json))


def down(json: AsJson = False) -> None:
    """Stop everything that `raypipe up` or `raypipe run` started here. Data, models and history stay."""
    from raypipe import services
    from raypipe.settings import load_settings
    from raypipe.wiring import services_config

    out = Output(json)
    config = services_config(load_settings())
    services.down(config, watch(out.console))
    _show(services.status(config), out)


def _show(found: "Sequence[ServiceStatus]", out: Output) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("service", "", "address"):
        table.add_column(heading, no_wrap=True)
    table.add_column("")
    for service in found:
        state = Text("up", "green") if service.running else Text("down", "red")
        table.add_row(service.name, state, Text(service.url, "cyan"), Text(service.detail, "dim"))
    if not out.json:
        out.say(table)
    out.result(found)
