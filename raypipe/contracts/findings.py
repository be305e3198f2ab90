"""What an examination of a deployment finds, and how a room's part of it is written."""

from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["ok", "warning", "fault"]
#: A clock that differs by more (seconds) puts rows into the wrong order for those who read them.
SKEW_SECONDS = 2.0


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    Attributes:
        part: of the deployment, such as ``ledger``.
        check: what was looked at, such as ``clock``.
        state: ``warning`` is what works but should not be so; ``fault`` does not work.
        detail: what was seen.
        cure: what to do about it; empty when it is well.
    """

    part: str
    check: str
    state: State
    detail: str
    cure: str = ""


def clock(part: str, theirs: float, before: float, after: float) -> Finding:
    """Another machine's clock against ours; all in seconds since 1970.

    Args:
        part: whose clock.
        theirs: what it said.
        before: our clock when we asked.
        after: our clock when it had answered.

    >>> clock("ledger", 107.5, 100.0, 100.2).detail
    'is 7.3 s ahead of this machine'
    >>> clock("ledger", 100.1, 100.0, 100.2).state
    'ok'
    """
    off = max(before - theirs, theirs - after, 0.0)
    if off <= SKEW_SECONDS:
        return Finding(part=part, check="clock", state="ok", detail="agrees with this machine")
    way = "ahead of" if theirs > after else "behind"
    cure = "Let one time server (chrony, NTP) set the clocks of all machines"
    return Finding(part=part, check="clock", state="warning", detail=f"is {off:.1f} s {way} this machine", cure=cure)
