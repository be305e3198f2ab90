"""The commands of ``raypipe``, in the order in which a newcomer meets them."""

import inspect
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from raypipe.cli import (
    audit,
    card,
    champions,
    definition,
    doctor,
    drift,
    effect,
    export,
    features,
    gates,
    keys,
    life,
    lineage,
    logs,
    models,
    policy,
    regions,
    releases,
    replay,
    reproduce,
    retrain,
    scale,
    services,
    upkeep,
    watching,
)


def examples(*lines: str) -> str:
    """The end of a command's help: what one types."""
    return "\n".join(["Examples:", *(f"[cyan]{escape(f'  {line} ')}[/cyan]" for line in lines)])


def add(command: Callable[..., None], panel: str, *lines: str, **settings: bool) -> None:
    """Add a command under its own name, with examples; its docstring's paragraphs are its help."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    help_text = "\n\n".join(escape(" ".join(paragraph.split())) for paragraph in paragraphs)
    app.command(
        command.__name__,
        help=help_text,
        short_help=paragraphs[0].replace("\n", " ").partition(":")[0].rstrip(".") + ".",
        rich_help_panel=panel,
        epilog=examples(*lines),
        context_settings=dict(settings),
    )(command)


app = typer.Typer(
    name="raypipe",
    help="The whole life of a machine-learning model on one Ray cluster: data, gate, features, training, service.",
    no_args_is_help=False,
    invoke_without_command=True,
    rich_markup_mode="rich",
    add_completion=False,
    epilog=examples(
        "raypipe check examples/flights/pipeline.py",
        "raypipe run examples/flights/pipeline.py",
        "raypipe predict flights --carrier UA --flight 1545 --origin EWR …",
        "raypipe down",
    )
    + "\n\nSettings come from raypipe.toml and RAYPIPE_* variables; everything is kept in .raypipe/.",
)


def _version(asked: bool) -> None:
    if asked:
        from raypipe import __version__

        typer.echo(f"raypipe {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


PIPELINE, MACHINE, MODEL = "A pipeline file", "This machine", "A model in service"

add(
    definition.check,
    PIPELINE,
    "raypipe check examples/flights/pipeline.py",
    "raypipe check pipeline.py --json | jq .features",
)
add(
    life.run,
    PIPELINE,
    "raypipe run examples/flights/pipeline.py",
    "raypipe run pipeline.py --as-of 2013-07-03",
    "raypipe run pipeline.py --until features",
    "raypipe run pipeline.py --bypass-gate 'a known gap in May'",
    "raypipe run pipeline.py --json | jq .model.version",
)
add(
    life.ingest,
    PIPELINE,
    "raypipe ingest examples/flights/pipeline.py",
    "raypipe ingest pipeline.py --follow --every 5 --metrics-port 9108",
)
add(gates.gates, PIPELINE, "raypipe gates flights", "raypipe gates examples/flights/pipeline.py --html gates.html")
add(
    replay.replay,
    PIPELINE,
    "raypipe replay examples/flights/pipeline.py --from 2013-07-01 --to 2013-12-31 --policy hybrid",
    "raypipe replay pipeline.py --from 2013-07-01 --to 2013-09-30 --policy a.toml --policy b.toml --plot loss.png",
    "raypipe replay examples/flights/pipeline.py --from 2013-07-03 --to 2013-09-30 --live",
)
add(
    policy.policy,
    PIPELINE,
    "raypipe policy explain flights",
    "raypipe policy explain examples/flights/pipeline.py --policy hybrid",
    "raypipe policy explain pipeline.py --at 2013-11-04 --json | jq .action",
    "raypipe policy approve flights --why 'reviewed on 3 July'",
)
add(
    life.deploy,
    PIPELINE,
    "raypipe deploy examples/flights/pipeline.py",
    "raypipe deploy examples/flights/pipeline.py --to eu --to us",
)
add(regions.receive, MODEL, "raypipe receive parcel --serve")
add(
    features.materialize,
    PIPELINE,
    "raypipe materialize examples/flights/pipeline.py",
    "raypipe materialize pipeline.py --as-of 2013-07-03T06:00Z",
    "raypipe materialize pipeline.py --anew --json | jq .entities",
)
add(
    features.features,
    PIPELINE,
    "raypipe features examples/flights/pipeline.py",
    "raypipe features flights --json | jq '.[].null_share'",
)
add(upkeep.erase, PIPELINE, "raypipe erase pipeline.py passenger 4711 --why 'asked on 3 May'")
add(upkeep.tidy, PIPELINE, "raypipe tidy pipeline.py --keep-days 90")
add(services.up, MACHINE, "raypipe up", "RAYPIPE_SERVE_PORT=8080 raypipe up")
add(services.status, MACHINE, "raypipe status", "raypipe status --json")
add(services.down, MACHINE, "raypipe down")
add(doctor.doctor, MACHINE, "raypipe doctor", "raypipe doctor --json | jq '.[] | select(.state != \"ok\")'")
add(
    audit.audit,
    MACHINE,
    "raypipe audit parity flights",
    "raypipe audit parity examples/flights/pipeline.py --log asked.parquet --json | jq .equal",
    "raypipe audit ledger",
    "raypipe audit checkpoint",
    "raypipe audit keys --folder secrets",
)
add(
    models.predict,
    MODEL,
    "raypipe predict flights --carrier UA --flight 1545 --tailnum N14228 \\",
    "    --origin EWR --dest IAH --scheduled_at 2013-07-03T09:15:00Z",
    "raypipe predict flights carrier=UA flight=1545 tailnum=N14228 …",
    "raypipe predict flights --json-file rows.json",
    "head -1 rows.jsonl | raypipe predict flights --json-file - --json",
    "raypipe predict flights --batch tomorrow.parquet",
    ignore_unknown_options=True,
)
add(models.models, MODEL, "raypipe models flights", "raypipe models flights --json | jq '.[0].metrics.auc'")
add(
    scale.scale,
    MODEL,
    "raypipe scale flights",
    "raypipe scale flights --replicas 3",
    "raypipe scale flights --min 1 --max 4 --target 32",
    "raypipe scale flights --batch 256 --queue 4096 --cache 100000",
)
add(
    logs.log,
    MODEL,
    "raypipe log flights",
    "raypipe log flights --since 2013-07-03 --last 1000 --json | jq '.[].score'",
)
add(
    retrain.retrain,
    MODEL,
    'raypipe retrain flights --why "the summer schedule has begun"',
    "raypipe retrain flights",
)
add(champions.promote, MODEL, 'raypipe promote flights 3 --why "better on JFK"')
add(
    releases.release,
    MODEL,
    'raypipe release flights/4 10% --why "fewer missed delays in July"',
    'raypipe release flights/4 10% --where origin=JFK --why "trained on JFK"',
    'raypipe release flights/4 100% --shadow --why "how would it do?"',
    'raypipe release flights/4 0% --why "no better"',
)
add(releases.experiment, MODEL, "raypipe experiment flights", "raypipe experiment flights --by origin")
add(effect.effect, MODEL, "raypipe effect flights/4", "raypipe effect flights/4 --period 1 --json | jq '.effects[]'")
add(champions.rollback, MODEL, 'raypipe rollback flights --why "complaints from JFK"')
add(champions.history, MODEL, "raypipe history flights", "raypipe history flights --at 2026-03-01T09:00Z")
add(watching.watch, MODEL, "raypipe watch flights", "raypipe watch flights --once", "raypipe watch flights --stop")
add(drift.drift, MODEL, "raypipe drift flights", "raypipe drift flights --by origin --html drift.html")
add(lineage.lineage, MODEL, "raypipe lineage flights/3", "raypipe lineage flights/champion --html lineage.html")
add(card.card, MODEL, "raypipe card flights/3", "raypipe card flights/champion --html card.html")
add(
    reproduce.reproduce,
    MODEL,
    "raypipe reproduce flights/3",
    "raypipe reproduce flights/champion --json | jq .identical",
)
add(export.export, MODEL, "raypipe export flights@champion --onnx flights-edge")

group = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)
group.command("add")(keys.add)
group.command("list")(keys.list_)
group.command("revoke")(keys.revoke)
app.add_typer(
    group,
    name="keys",
    help="Say who may ask the service: add, list and revoke keys. Each takes --json .",
    short_help="Say who may ask the service.",
    rich_help_panel=MACHINE,
    epilog=examples(
        "raypipe keys add airline --scope predict --scope feedback --rate 100",
        "raypipe keys list",
        "raypipe keys revoke 1f0c22ab --after 1d",
    ),
)
