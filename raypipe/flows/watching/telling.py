"""An alarm goes out: into the ledger first, then to people. Whoever is killed in between tells it again."""

import json
import logging
from importlib.util import find_spec

from raypipe.errors import SettingsError
from raypipe.failpoints import failpoint
from raypipe.flows.platform import Platform
from raypipe.flows.watching.state import Alarm
from raypipe.references import reveal

logger = logging.getLogger(__name__)

RAISED, TOLD = "watch.alarm", "watch.told"


def tell(platform: Platform, name: str, alarm: Alarm) -> bool:
    """Write an alarm down, and tell it to everybody that the settings name, once each.

    A receiver that had it but was not heard of, because this process was killed, hears of it twice: nothing that goes
    over a network can do better.

    Returns:
        False when somebody could not be reached: try again later.

    Raises:
        LedgerError: it cannot be written down.
        SettingsError: there is no such receiver, or nothing to reach it with.
    """
    body = {"version": alarm.version, "at": alarm.at, "title": alarm.title, "text": alarm.text}
    platform.ledger.append(alarm.key, RAISED, name, json.dumps(body, sort_keys=True))
    failpoint("watch.alarm_before_sending")
    reached = True
    for number, url in enumerate(platform.watching.alerts, 1):
        key = f"told:{alarm.key}:{number}"
        if platform.ledger.get(key) is not None:
            continue
        if _send(url, alarm):
            failpoint("watch.alarm_after_sending")
            platform.ledger.append(key, TOLD, name, json.dumps({"alarm": alarm.key, "receiver": number}))
        else:
            logger.warning("receiver %d of alarms could not be reached", number)
            reached = False
    return reached


def _send(url: str, alarm: Alarm) -> bool:
    if find_spec("apprise") is None:
        cure = "Install it with `pip install 'raypipe[alerts]'`"
        raise SettingsError("needs a library that is not installed", where="alerts", cure=cure)
    import apprise

    sender = apprise.Apprise()
    if not sender.add(reveal(url)):
        raise SettingsError("is no URL that Apprise knows", where="alerts", cure="See docs/monitoring.md")
    return bool(sender.notify(body=alarm.text or alarm.title, title=alarm.title, notify_type="warning"))
