"""A policy in a TOML file, or by the name of one that comes with raypipe."""

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, timedelta
from math import isfinite, isinf
from pathlib import Path
from typing import TypeAlias

from raypipe.errors import DefinitionError, Fault, SourceError, did_you_mean
from raypipe.spec.lint.retrain import policy_faults
from raypipe.spec.retrain import (
    PRESETS,
    Age,
    AllOf,
    Drift,
    Errors,
    EstimatedLoss,
    Failing,
    Freeze,
    NewRows,
    Regret,
    Relearn,
    Retrain,
    Rollout,
    Schedule,
    Slower,
    Trigger,
    Worse,
)

_LISTS = ("any", "alert", "analyse", "roll_back")


def read_policy(source: str) -> Retrain:
    """The policy in a file, or the preset of that name.

    Args:
        source: a path that ends in ``.toml``, or a name in `PRESETS`.

    Raises:
        SourceError: there is no such file.
        DefinitionError: the file holds something else, with every fault in it; or there is no such preset.
    """
    if not source.endswith(".toml"):
        if source not in PRESETS:
            raise DefinitionError([Fault("--policy", f"there is no policy `{source}`", did_you_mean(source, PRESETS))])
        return PRESETS[source]()
    path = Path(source)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        cure = f"Give a TOML file, by its path from the working folder, or a name: {', '.join(PRESETS)}"
        raise SourceError(f"cannot be read: {error.strerror}", where=source, cure=cure) from None
    except ValueError as error:
        raise DefinitionError([Fault(path.name, f"is not TOML: {error}")]) from None
    return policy_of(content, path.name)


def policy_of(content: Mapping[str, object], where: str) -> Retrain:
    """A policy from a TOML document's content.

    >>> policy_of({"any": [{"schedule": "0 6 * * MON"}, {"regret": 50}], "cooldown_days": 3}, "a.toml").any[1].above
    50.0

    Raises:
        DefinitionError: with every fault in it.
    """
    faults = list(_unknown(content, _NAMES, where))
    if not isinstance(content.get("any"), list):
        faults.append(Fault(where, "there is no list `any` of triggers", 'Write `any = [{schedule = "0 6 * * MON"}]`'))
    lists: dict[str, tuple[Trigger, ...]] = {}
    for name in _LISTS:
        if name in content:
            lists[name] = tuple(_listed(name, content[name], where, faults))
    guards = _read(content, _GUARDS, where, faults)
    if "rollout" in content:
        guards["rollout"] = _rollout(content["rollout"], where, faults)
    if faults:
        raise DefinitionError(faults)
    policy = Retrain(name=str(content.get("name", Path(where).stem)), **lists, **guards)  # type: ignore[arg-type]  # read so
    if faults := list(policy_faults(policy)):
        raise DefinitionError([Fault(where, fault.what, fault.cure) for fault in faults])
    return policy


def _listed(name: str, items: object, where: str, faults: list[Fault]) -> Iterator[Trigger]:
    """The triggers of a list; what is wrong with them is added to ``faults``."""
    if not isinstance(items, list):
        if name != "any":
            faults.append(Fault(where, f"`{name}` is not a list of triggers", f"Write `{name} = [{{errors = true}}]`"))
        return
    for item in items:
        try:
            yield _trigger(item, where)
        except DefinitionError as error:
            faults += error.faults


def _trigger(item: object, where: str) -> Trigger:
    if not isinstance(item, dict) or not item:
        cure = "Write it as a table such as `{age_days = 30}`"
        raise DefinitionError([Fault(where, f"`{item}` is not a trigger", cure)])
    name, *options = item
    if name not in _TRIGGERS:
        raise DefinitionError([Fault(where, f"unknown trigger `{name}`", did_you_mean(name, _TRIGGERS))])
    make, known, example = _TRIGGERS[name]
    for option in options:
        if option not in known:
            cure = did_you_mean(option, known) or f"`{name}` takes no other"
            raise DefinitionError([Fault(where, f"`{name}` has no option `{option}`", cure)])
    try:
        return make(item, where)
    except (TypeError, ValueError, OverflowError):
        raise DefinitionError([Fault(where, f"`{name}` cannot be {item[name]!r}", f"Write `{example}`")]) from None


def _all_of(item: dict[str, object], where: str) -> Trigger:
    of = item["all"]
    if not isinstance(of, list):
        raise TypeError(of)
    return AllOf(tuple(_trigger(one, where) for one in of), where=where)


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _told(value: object, trigger: Trigger) -> Trigger:
    """A trigger that has nothing to say but that it is there: `{errors = false}` would be none."""
    if value is not True:
        raise TypeError(value)
    return trigger


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if not isfinite(value):
        raise ValueError(f"{value!r} is no finite number")
    return float(value)


def _whole(value: object) -> int:
    if not _number(value).is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(_number(value))


def _days(value: object) -> timedelta:
    if isinstance(value, float) and isinf(value):
        raise ValueError(f"{value!r} days are longer than any time")
    try:
        return timedelta(days=_number(value))
    except OverflowError:
        raise ValueError(f"{value!r} days are longer than any time") from None


def _errors(content: dict[str, object], where: str) -> Trigger:
    """`errors = true`, or by how much they must have risen."""
    risen = content["errors"]
    return _told(risen, Errors(where=where)) if isinstance(risen, bool) else Errors(_number(risen), where=where)


#: By the name in the file: how it is made, what may stand beside its first key, and how one is written.
_TRIGGERS: dict[str, tuple[Callable[[dict[str, object], str], Trigger], tuple[str, ...], str]] = {
    "schedule": (
        lambda t, w: Schedule(str(t["schedule"]), str(t.get("zone", "UTC")), where=w),
        ("zone",),
        '{schedule = "0 6 * * MON", zone = "Europe/Paris"}',
    ),
    "errors": (_errors, (), "{errors = true}` or `{errors = 0.5}"),
    "regret": (lambda t, w: Regret(_number(t["regret"]), where=w), (), "{regret = 60}"),
    "estimated_loss": (
        lambda t, w: EstimatedLoss(_number(t["estimated_loss"]), where=w),
        (),
        "{estimated_loss = 0.1}",
    ),
    "drift": (
        lambda t, w: Drift(_number(t["drift"]), _truth(t.get("score", False)), where=w),
        ("score",),
        "{drift = 0.3, score = true}",
    ),
    "age_days": (lambda t, w: Age(_days(t["age_days"]), where=w), (), "{age_days = 30}"),
    "new_rows": (lambda t, w: NewRows(_whole(t["new_rows"]), where=w), (), "{new_rows = 5000}"),
    "slower": (lambda t, w: Slower(_number(t["slower"]), where=w), (), "{slower = 1.5}"),
    "failing": (lambda t, w: Failing(_number(t["failing"]), where=w), (), "{failing = 0.01}"),
    "worse": (lambda t, w: _told(t["worse"], Worse(where=w)), (), "{worse = true}"),
    "relearn": (lambda t, w: Relearn(_number(t["relearn"]), where=w), (), "{relearn = 1.5}"),
    "all": (_all_of, (), "{all = [{errors = true}, {drift = 0.3}]}"),
}


def _freeze(value: object) -> tuple[Freeze, ...]:
    frozen = []
    for pair in value if isinstance(value, list) else [value]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(day, str | date) for day in pair)):
            raise TypeError(f"{pair!r} is no pair of days")
        first, last = pair
        frozen.append(Freeze(str(first), str(last), where=""))
    return tuple(frozen)


def _shares(value: object) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list of shares")
    return tuple(_number(share) for share in value)


#: By the name in the file: what it is called in `Retrain`, how it is read, and how one is written.
_Values: TypeAlias = Mapping[str, tuple[str, Callable[[object], object], str]]
_GUARDS: _Values = {
    "cooldown_days": ("cooldown", _days, "cooldown_days = 3"),
    "new_rows": ("new_rows", _whole, "new_rows = 5000"),
    "daily_cap": ("daily_cap", _whole, "daily_cap = 1"),
    "budget_seconds": ("budget", _number, "budget_seconds = 3600"),
    "freeze": ("freeze", _freeze, 'freeze = [["2013-11-25", "2013-12-01"]]'),
    "backoff_days": ("backoff", _days, "backoff_days = 7"),
    "approval": ("approval", _truth, "approval = true"),
    "challenge": ("challenge", _truth, "challenge = true"),
    "probation_days": ("probation", _days, "probation_days = 7"),
}
#: Likewise in the table `rollout`, for `Rollout`.
_ROLLOUT: _Values = {
    "shadow": ("shadow", _number, "shadow = 1.0"),
    "shares": ("shares", _shares, "shares = [0.1, 0.5]"),
    "least": ("least", _whole, "least = 1000"),
    "patience_days": ("patience", _days, "patience_days = 7"),
    "released": ("released", _truth, "released = true"),
}
_NAMES = ("name", *_LISTS, *_GUARDS, "rollout")


def _read(
    content: Mapping[str, object], known: _Values, where: str, faults: list[Fault], inside: str = ""
) -> dict[str, object]:
    """What is given of some values; what is not keeps its default, what is wrong is added to ``faults``."""
    given: dict[str, object] = {}
    for name, (attribute, read, example) in known.items():
        if name in content:
            try:
                given[attribute] = read(content[name])
            except (TypeError, ValueError, OverflowError) as error:
                faults.append(Fault(where, f"`{inside}{name}`: {error}", f"Write `{example}`"))
    return given


def _rollout(content: object, where: str, faults: list[Fault]) -> Rollout:
    if not isinstance(content, dict):
        faults.append(Fault(where, f"`rollout` is a table of {', '.join(_ROLLOUT)}", "Write `[rollout]` above them"))
        return Rollout(where=where)
    faults += _unknown(content, _ROLLOUT, where, "rollout.")
    return Rollout(**_read(content, _ROLLOUT, where, faults, "rollout."), where=where)  # type: ignore[arg-type]  # read so


def _unknown(content: Mapping[str, object], known: Collection[str], where: str, inside: str = "") -> Iterator[Fault]:
    for name in content:
        if name not in known:
            yield Fault(where, f"`{inside}{name}` is nothing that a policy has", did_you_mean(name, known))
