"""Everything a flow is given: open rooms, plain values, and the recipe to open them again in another process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from raypipe.clock import Clock
from raypipe.contracts.stores import OnlineStore
from raypipe.flows.watching.settings import Watching
from raypipe.lake import Lake
from raypipe.ledger import Ledger
from raypipe.observe import Observing
from raypipe.registry import Registry
from raypipe.services import ServicesConfig


@dataclass(frozen=True)
class Platform:
    """The open parts of one workspace. Connections do not cross processes; ``reopen`` does.

    Attributes:
        workspace: the folder of everything that is kept.
        online_url: of the server of online features; empty: they are in the workspace.
        tracking_uri: where MLflow is.
        cpus: how many trials may run side by side.
        max_body_bytes: the largest request body a replica accepts.
        replicas: Serve replicas of each pipeline.
        row_modules: modules whose row functions a model that was read may call.
        services: how the processes on this machine are started and found.
        observing: what processes tell of their work.
        reopen: opens the same platform in another process.
        watching: how its pipelines are watched.
        log_days: how long predictions and feedback are kept; 0: for ever.
    """

    workspace: Path
    clock: Clock
    ledger: Ledger
    lake: Lake
    registry: Registry
    store: OnlineStore
    online_url: str
    tracking_uri: str
    cpus: int
    max_body_bytes: int
    replicas: int
    row_modules: tuple[str, ...]
    services: ServicesConfig
    observing: Observing
    reopen: Callable[[], "Platform"]
    watching: Watching = field(default_factory=Watching)
    log_days: float = 0.0
