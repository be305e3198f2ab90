"""Looks at every part of a deployment, all at once, and says what to fix. Changes nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

from raypipe.clock import Clock
from raypipe.contracts.findings import Finding
from raypipe.errors import SettingsError
from raypipe.services.config import ServicesConfig

Look: TypeAlias = Callable[[], Iterator[Finding]]


@dataclass(frozen=True)
class Parts:
    """What there is to look at; an empty URL means that the part is in the workspace."""

    services: ServicesConfig
    ledger_url: str
    catalog_url: str
    warehouse_url: str
    online_url: str
    alerts: tuple[str, ...]
    clock: Clock


def examine(parts: Parts) -> list[Finding]:
    """All findings, part by part."""
    with ThreadPoolExecutor() as pool:
        return [finding for found in pool.map(lambda look: list(look()), _looks(parts)) for finding in found]


def _looks(parts: Parts) -> list[Look]:
    from raypipe.services import examine as services
    from raypipe.serving.access import FILE

    config = parts.services
    has_keys = (config.workspace / "serving" / FILE).is_file()
    looks: list[Look] = [
        lambda: services.examine_workspace(config.workspace),
        lambda: services.examine_services(config),
        lambda: services.examine_safety(config.host, config.ray_address, has_keys=has_keys),
        lambda: _examine_alerts(parts.alerts),
    ]
    if parts.ledger_url:
        from raypipe.ledger.examine import examine as ledger

        looks.append(lambda: ledger(parts.ledger_url, parts.clock))
    if parts.catalog_url:
        from raypipe.lake import examine as lake

        looks.append(lambda: lake.examine_catalog(parts.catalog_url))
        if parts.warehouse_url:
            looks.append(lambda: lake.examine_warehouse(parts.warehouse_url))
    if parts.online_url:
        from raypipe.features.stores.examine import examine as online

        looks.append(lambda: online(parts.online_url, parts.clock))
    return looks


def _examine_alerts(alerts: tuple[str, ...]) -> Iterator[Finding]:
    """Whether there is somebody behind each receiver, before there is an alarm; nobody is told anything."""
    from raypipe.flows.watching.telling import receiver

    for number, url in enumerate(alerts, 1):
        check = f"receiver {number}"
        try:
            receiver(url)
        except SettingsError as error:
            detail = f"{error.where}: {error.what}"
            yield Finding(part="alerts", check=check, state="fault", detail=detail, cure=error.cure)
        else:
            yield Finding(part="alerts", check=check, state="ok", detail="is one that Apprise knows")
