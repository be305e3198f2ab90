"""``raypipe scale``: change how a pipeline is served while it answers."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from raypipe.cli.kept import Name, kept, require_known
from raypipe.cli.output import AsJson, Output


def _option(flag: str, told: str, least: int = 0) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(flag, metavar="N", min=least, help=told, show_default=False)
    return option


def scale(
    name: Name,
    replicas: Annotated[int | None, _option("--replicas", "Processes that answer; ends --max.", 1)] = None,
    least: Annotated[int | None, _option("--min", "The fewest replicas, where their number follows load.", 1)] = None,
    most: Annotated[
        int | None, _option("--max", "The most replicas: their number follows load from now on.", 1)
    ] = None,
    target: Annotated[int | None, _option("--target", "Requests under way that one replica should have.", 1)] = None,
    batch: Annotated[int | None, _option("--batch", "Rows that are computed at once.", 1)] = None,
    queue: Annotated[int | None, _option("--queue", "Rows that may wait in a replica; more get 503.", 1)] = None,
    cache: Annotated[int | None, _option("--cache", "Answers that each replica keeps to repeat; 0: none.")] = None,
    json: AsJson = False,
) -> None:
    """Show how a pipeline is served, or change it while it answers: no replica is replaced, no request is lost.

    Replicas come and go as Serve starts and drains them; the rest counts in every replica within ten seconds. It stays
    so after a restart, and after `raypipe deploy`.
    """
    from raypipe import services
    from raypipe.flows.scale import scale as change
    from raypipe.flows.scale import tuning
    from raypipe.wiring import connect

    given = {"most": most, "target": target, "batch": batch, "queue": queue, "cache": cache}
    given |= {"replicas": replicas, "most": 0} if replicas is not None else {"replicas": least}
    changes = {key: value for key, value in given.items() if value is not None}
    with kept() as found:
        require_known(found.registry, name)
    out, platform = Output(json), connect()
    try:
        now, serving = tuning(platform, name), True
        if changes:
            serve = next(one for one in services.status(platform.services) if one.name == "serve")
            now, serving = change(platform, name, changes, running=serve.running)
    finally:
        platform.ledger.close()
    if not json:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading in ("replicas", "target", "batch", "queue", "cache"):
            table.add_column(heading, justify="right")
        many = f"{now.replicas} to {now.most}" if now.most else str(now.replicas)
        table.add_row(many, f"{now.target:g}" if now.most else "", str(now.batch), str(now.queue), str(now.cache))
        out.say(table)
        if not serving:
            out.say(Text("It is not in service: this counts from `raypipe deploy FILE` on."))
    out.result(now)
