"""An alarm goes out: into the ledger first, then to people. Whoever is killed in between tells it again."""

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING

from raypipe.errors import SettingsError
from raypipe.failpoints import failpoint
from raypipe.flows.platform import Platform
from raypipe.flows.watching.state import Alarm
from raypipe.references import reveal

if TYPE_CHECKING:
    from apprise import Apprise

RAISED, TOLD = "watch.alarm", "watch.told"


def tell(platform: Platform, name: str, alarm: Alarm) -> list[str]:
    """Write an alarm down, and tell it to everybody that the settings name, once each.

    A receiver that had it but was not heard of, because this process was killed, hears of it twice: nothing that goes
    over a network can do better.

    Returns:
        What kept receivers from hearing of it: try those again later. Empty: all have heard.

    Raises:
        LedgerError: it cannot be written down.
    """
    body = {"version": alarm.version, "at": alarm.at, "title": alarm.title, "text": alarm.text}
    platform.ledger.append(alarm.key, RAISED, name, json.dumps(body, sort_keys=True))
    failpoint("watch.alarm_before_sending")
    troubles = []
    for number, url in enumerate(platform.watching.alerts, 1):
        key = f"told:{alarm.key}:{number}"
        if platform.ledger.get(key) is not None:
            continue
        if trouble := _send(url, alarm):
            troubles.append(trouble)
        else:
            failpoint("watch.alarm_after_sending")
            platform.ledger.append(key, TOLD, name, json.dumps({"alarm": alarm.key, "receiver": number}))
    return troubles


def _send(url: str, alarm: Alarm) -> str:
    """Why a receiver has not heard; empty: it has. Whatever is wrong with one, the others are told."""
    try:
        heard = receiver(url).notify(body=alarm.text or alarm.title, title=alarm.title, notify_type="warning")
    except SettingsError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a library does; its words may hold the secret in the URL
        return f"{url}: {type(error).__name__}"
    return "" if heard else f"{url}: could not be reached"


def receiver(url: str) -> "Apprise":
    """Who stands behind a setting, ready to be told.

    Raises:
        SettingsError: it refers to nothing, Apprise knows no such receiver, or is not installed.
    """
    if find_spec("apprise") is None:
        cure = "Install it with `pip install 'raypipe[alerts]'`"
        raise SettingsError("needs a library that is not installed", where="alerts", cure=cure)
    import apprise

    sender = apprise.Apprise()
    if not sender.add(reveal(url)):
        raise SettingsError("is no URL that Apprise knows", where=url, cure="See docs/monitoring.md")
    return sender
