"""What people should hear of, in words: each thing once, until it has been over."""

from collections.abc import Collection, Sequence
from datetime import timedelta

from raypipe.clock import to_second
from raypipe.contracts.decisions import Decision
from raypipe.contracts.watching import DriftReport
from raypipe.flows.watching.state import Alarm
from raypipe.spec import in_words

#: After so many ticks it is known how long nobody may ask anything.
_ACQUAINTED = 10
#: Decisions that people hear of by themselves.
_TOLD = {
    "analyse": "the policy looked deeper",
    "ask": "a training waits for approval",
    "rollback": "the champion gives way to the version before",
}


def drift_alarm(report: DriftReport, text: str, broken: Collection[str], *, errors: bool) -> Alarm | None:
    """What people should hear of a tick: columns that drift or look broken and did not before, more errors."""
    columns = {words.partition(":")[0]: None for words in report.breaks}
    breaks = [column for column in columns if column not in {words.partition(":")[0] for words in broken}]
    raised = [column.column for column in report.raised if column.column not in columns]
    if not (raised or breaks or errors):
        return None
    looks = "looks" if len(breaks) == 1 else "look"
    what = [f"{_some(names)} {does}" for names, does in ((breaks, f"{looks} broken"), (raised, "drifted")) if names]
    what += ["the share of errors has risen"] if errors else []
    where = f"{report.pipeline}/{report.version}"
    return Alarm(
        key=f"alarm:{where}:{report.tick}",
        version=report.version,
        at=report.at,
        title=f"{where}: {' and '.join(what)}",
        text=f"{text} (tick {report.tick}, to {to_second(report.at)})".strip(),
    )


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"


def silence(last: DriftReport, answered: int, pause: int, now: int, span: int) -> Alarm | None:
    """No requests for much longer than there ever were none: whoever asked cannot reach the model, or has stopped."""
    if last.tick < _ACQUAINTED or now - answered < 2 * max(pause, span):
        return None
    where, longest = f"{last.pipeline}/{last.version}", in_words(timedelta(microseconds=pause))
    return Alarm(
        key=f"silence:{where}:{last.tick}",
        version=last.version,
        at=answered,
        title=f"{where}: nobody asks it any more",
        text=f"The last request was at {to_second(answered)}; the longest pause before was {longest}.",
    )


def decided(decision: Decision, said: Collection[str], deeper: str = "") -> tuple[Alarm | None, tuple[str, ...]]:
    """What a policy decided that people should know.

    Args:
        decision: of a policy.
        said: what was told when it was asked before.
        deeper: what a deeper look has found.

    Returns:
        The alarm, None where nothing is new; and what is told by now.
    """
    now, action = decision.situation, decision.action
    asking = tuple(text.partition(":")[0] for text in decision.alerts)
    what = [text for name, text in zip(asking, decision.alerts, strict=True) if name not in said]
    what += [decision.why] if action in _TOLD and action not in said else []
    told = (*asking, *([action] if action in _TOLD else []))
    if not what:
        return None, told
    cure = f"Answer with `raypipe policy approve {now.pipeline}`." if action == "ask" else ""
    alarm = Alarm(
        key=f"told:{decision.key}",
        version=now.version,
        at=now.at,
        title=f"{now.pipeline}/{now.version}: {_TOLD.get(action, 'the policy alerts')}",
        text=" ".join(filter(None, [f"{'; '.join(what).rstrip('.')}.", deeper or decision.diagnosis, cure])),
    )
    return alarm, told
