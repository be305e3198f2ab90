"""What commands there are, in the order in which a newcomer meets them: data, so that one of them can be had alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

PIPELINE, MACHINE, MODEL = "A pipeline file", "This machine", "A model in service"


@dataclass(frozen=True)
class Command:
    """One command: ``module:function`` in this folder, and what its help shows beside the function's docstring."""

    where: str
    panel: str
    examples: tuple[str, ...]
    settings: Mapping[str, bool]

    @property
    def name(self) -> str:
        """What one types: the function's name."""
        return self.where.partition(":")[2]

    def load(self) -> Callable[..., None]:
        """Import it."""
        module, _, name = self.where.partition(":")
        found: Callable[..., None] = getattr(import_module(f"raypipe.cli.{module}"), name)
        return found


def command(where: str, panel: str, *lines: str, **settings: bool) -> Command:
    """A command with examples of how it is used."""
    return Command(where, panel, lines, settings)


COMMANDS = (
    command(
        "definition:check",
        PIPELINE,
        "raypipe check examples/flights/pipeline.py",
        "raypipe check pipeline.py --json | jq .features",
    ),
    command(
        "life:run",
        PIPELINE,
        "raypipe run examples/flights/pipeline.py",
        "raypipe run pipeline.py --as-of 2013-07-03",
        "raypipe run pipeline.py --until features",
        "raypipe run pipeline.py --bypass-gate 'a known gap in May'",
        "raypipe run pipeline.py --json | jq .model.version",
    ),
    command(
        "life:ingest",
        PIPELINE,
        "raypipe ingest examples/flights/pipeline.py",
        "raypipe ingest pipeline.py --follow --every 5 --metrics-port 9108",
        "raypipe ingest pipeline.py --follow --bypass-gate 'a known gap in May'",
        "raypipe ingest pipeline.py --anew",
    ),
    command(
        "gates:gates", PIPELINE, "raypipe gates flights", "raypipe gates examples/flights/pipeline.py --html gates.html"
    ),
    command(
        "replay:replay",
        PIPELINE,
        "raypipe replay examples/flights/pipeline.py --from 2013-07-01 --to 2013-12-31 --policy hybrid",
        "raypipe replay pipeline.py --from 2013-07-01 --to 2013-09-30 --policy a.toml --policy b.toml --plot a_b.svg",
        "raypipe replay examples/flights/pipeline.py --from 2013-07-03 --to 2013-09-30 --live",
    ),
    command(
        "policy:policy",
        PIPELINE,
        "raypipe policy explain flights",
        "raypipe policy explain examples/flights/pipeline.py --policy hybrid",
        "raypipe policy explain pipeline.py --at 2013-11-04 --json | jq .action",
        "raypipe policy approve flights --why 'reviewed on 3 July'",
    ),
    command(
        "life:deploy",
        PIPELINE,
        "raypipe deploy examples/flights/pipeline.py",
        "raypipe deploy examples/flights/pipeline.py --to eu --to us",
    ),
    command("regions:receive", MODEL, "raypipe receive parcel --serve", "raypipe receive parcel --back"),
    command(
        "features:materialize",
        PIPELINE,
        "raypipe materialize examples/flights/pipeline.py",
        "raypipe materialize flights",
        "raypipe materialize pipeline.py --as-of 2013-07-03T06:00Z",
        "raypipe materialize pipeline.py --anew --json | jq .entities",
    ),
    command(
        "features:features",
        PIPELINE,
        "raypipe features examples/flights/pipeline.py",
        "raypipe features flights --json | jq '.[].null_share'",
    ),
    command("upkeep:erase", PIPELINE, "raypipe erase pipeline.py passenger 4711 --why 'asked on 3 May'"),
    command("upkeep:tidy", PIPELINE, "raypipe tidy pipeline.py --keep-days 90"),
    command("services:up", MACHINE, "raypipe up", "RAYPIPE_SERVE_PORT=8080 raypipe up"),
    command("services:status", MACHINE, "raypipe status", "raypipe status --json"),
    command("services:down", MACHINE, "raypipe down"),
    command("doctor:doctor", MACHINE, "raypipe doctor", "raypipe doctor --json | jq '.[] | select(.state != \"ok\")'"),
    command(
        "audit:audit",
        MACHINE,
        "raypipe audit parity flights",
        "raypipe audit parity examples/flights/pipeline.py --log asked.parquet --json | jq .equal",
        "raypipe audit ledger",
        "raypipe audit checkpoint",
        "raypipe audit keys --folder secrets",
    ),
    command(
        "models:predict",
        MODEL,
        "raypipe predict flights --carrier UA --flight 1545 --tailnum N14228 \\",
        "    --origin EWR --dest IAH --scheduled_at 2013-07-03T09:15:00Z",
        "raypipe predict flights carrier=UA flight=1545 tailnum=N14228 …",
        "raypipe predict flights --json-file rows.json",
        "head -1 rows.jsonl | raypipe predict flights --json-file - --json",
        "raypipe predict flights --batch tomorrow.parquet",
        ignore_unknown_options=True,
    ),
    command("models:models", MODEL, "raypipe models flights", "raypipe models flights --json | jq '.[0].metrics.auc'"),
    command(
        "scale:scale",
        MODEL,
        "raypipe scale flights",
        "raypipe scale flights --replicas 3",
        "raypipe scale flights --min 1 --max 4 --target 32",
        "raypipe scale flights --batch 256 --queue 4096 --cache 100000",
    ),
    command(
        "logs:log",
        MODEL,
        "raypipe log flights",
        "raypipe log flights --since 2013-07-03 --last 1000 --json | jq '.[].score'",
    ),
    command(
        "retrain:retrain",
        MODEL,
        'raypipe retrain flights --why "the summer schedule has begun"',
        "raypipe retrain flights",
    ),
    command("champions:promote", MODEL, 'raypipe promote flights 3 --why "better on JFK"'),
    command(
        "releases:release",
        MODEL,
        'raypipe release flights/4 10% --why "fewer missed delays in July"',
        'raypipe release flights/4 10% --where origin=JFK --why "trained on JFK"',
        'raypipe release flights/4 100% --shadow --why "how would it do?"',
        'raypipe release flights/4 0% --why "no better"',
    ),
    command("releases:experiment", MODEL, "raypipe experiment flights", "raypipe experiment flights --by origin"),
    command(
        "effect:effect",
        MODEL,
        "raypipe effect flights/4",
        "raypipe effect flights/4 --period 1 --json | jq '.effects[]'",
    ),
    command("champions:rollback", MODEL, 'raypipe rollback flights --why "complaints from JFK"'),
    command("champions:history", MODEL, "raypipe history flights", "raypipe history flights --at 2026-03-01T09:00Z"),
    command(
        "watching:watch", MODEL, "raypipe watch flights", "raypipe watch flights --once", "raypipe watch flights --stop"
    ),
    command("drift:drift", MODEL, "raypipe drift flights", "raypipe drift flights --by origin --html drift.html"),
    command(
        "lineage:lineage", MODEL, "raypipe lineage flights/3", "raypipe lineage flights/champion --html lineage.html"
    ),
    command("card:card", MODEL, "raypipe card flights/3", "raypipe card flights/champion --html card.html"),
    command(
        "reproduce:reproduce",
        MODEL,
        "raypipe reproduce flights/3",
        "raypipe reproduce flights/champion --json | jq .identical",
    ),
    command(
        "export:export",
        MODEL,
        "raypipe export flights@champion --onnx flights-edge",
        "raypipe export flights@champion --feast flights-feast",
    ),
)
KEYS = (
    command("keys:add", MACHINE),
    command("keys:list_", MACHINE),
    command("keys:revoke", MACHINE),
)
