"""How a pipeline is served is changed while it answers: Serve hears of replicas, and they find the rest themselves."""

from collections.abc import Mapping

import msgspec

from raypipe.failpoints import failpoint
from raypipe.flows.deploy import one_at_a_time, recipe
from raypipe.flows.platform import Platform
from raypipe.serving.api import ServeApi
from raypipe.serving.deploy import scale as scale_replicas
from raypipe.serving.tuning import Tuning

SCALED = "scaled"


def tuning(platform: Platform, name: str) -> Tuning:
    """How a pipeline is served."""
    return recipe(platform, name).tuning


def scale(platform: Platform, name: str, changes: Mapping[str, int | float], *, running: bool) -> tuple[Tuning, bool]:
    """Change how a pipeline is served, and write down that it was.

    Args:
        platform: where.
        name: of the pipeline.
        changes: what is to be another, by the names of `Tuning`.
        running: whether Serve runs.

    Returns:
        How it is served now, and whether it is in service: if not, it counts from the next deploy on.

    Raises:
        SettingsError: a number is out of range; nothing was changed.
        ServingError: Serve refuses it.
    """
    made = recipe(platform, name)
    with one_at_a_time(platform.workspace):
        wanted = msgspec.structs.replace(made.tuning, **changes).checked()
        if wanted != made.tuned.read():
            made.tuned.write(wanted)
            failpoint("scale.before_ledger")
        ledger = platform.ledger
        told = ledger.entries(kind=SCALED, subject=name)
        if not told or told[-1].body != wanted.to_json():
            ledger.append(f"{SCALED}/{name}/{len(told) + 1}", SCALED, name, wanted.to_json())
        failpoint("scale.before_serve")
        where = platform.services
        return wanted, running and scale_replicas(ServeApi(where.dashboard_url, where.serve_url), made)
