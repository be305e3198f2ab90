"""A policy in a TOML file, or by the name of one that comes with raypipe."""

import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

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

_GUARDS = (
    "cooldown_days",
    "new_rows",
    "daily_cap",
    "budget_seconds",
    "freeze",
    "backoff_days",
    "approval",
    "challenge",
    "rollout",
    "probation_days",
)
_LISTS = ("any", "alert", "analyse", "roll_back")
_ROLLOUT = ("shadow", "shares", "least", "patience_days", "released")


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
        raise SourceError(f"cannot be read: {error.strerror}", where=source) from None
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
    faults = [
        Fault(where, f"`{name}` is nothing that a policy has", did_you_mean(name, ("name", *_LISTS, *_GUARDS)))
        for name in content
        if name not in ("name", *_LISTS, *_GUARDS)
    ]
    if not isinstance(content.get("any"), list):
        faults.append(Fault(where, "there is no list `any` of triggers", 'Write `any = [{schedule = "0 6 * * MON"}]`'))
    lists: dict[str, tuple[Trigger, ...]] = {}
    for name in _LISTS:
        if name in content:
            lists[name] = tuple(_listed(name, content[name], where, faults))
    if faults:
        raise DefinitionError(faults)
    try:
        policy = Retrain(name=str(content.get("name", Path(where).stem)), **lists, **_guards(content, where))  # type: ignore[arg-type]  # checked there
    except (TypeError, ValueError, OverflowError) as error:
        what = f"a guard has a value that it cannot have: {error}"
        raise DefinitionError([Fault(where, what, "See docs/retraining.md")]) from None
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
    make, known = _TRIGGERS[name]
    for option in options:
        if option not in known:
            cure = did_you_mean(option, known) or f"`{name}` takes no other"
            raise DefinitionError([Fault(where, f"`{name}` has no option `{option}`", cure)])
    try:
        return make(item, where)
    except (TypeError, ValueError, OverflowError):
        raise DefinitionError([Fault(where, f"`{name}` cannot be {item[name]!r}", "See docs/retraining.md")]) from None


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
    return float(value)


def _whole(value: object) -> int:
    if not _number(value).is_integer():
        raise ValueError(f"{value!r} is not a whole number")
    return int(_number(value))


def _days(value: object) -> timedelta:
    try:
        return timedelta(days=_number(value))
    except OverflowError:
        raise ValueError(f"{value!r} days are longer than any time") from None


def _errors(content: dict[str, object], where: str) -> Trigger:
    """`errors = true`, or by how much they must have risen."""
    risen = content["errors"]
    return _told(risen, Errors(where=where)) if isinstance(risen, bool) else Errors(_number(risen), where=where)


#: By the name in the file: how it is made, and what may stand beside its first key.
_TRIGGERS: dict[str, tuple[Callable[[dict[str, object], str], Trigger], tuple[str, ...]]] = {
    "schedule": (lambda t, w: Schedule(str(t["schedule"]), str(t.get("zone", "UTC")), where=w), ("zone",)),
    "errors": (_errors, ()),
    "regret": (lambda t, w: Regret(_number(t["regret"]), where=w), ()),
    "estimated_loss": (lambda t, w: EstimatedLoss(_number(t["estimated_loss"]), where=w), ()),
    "drift": (lambda t, w: Drift(_number(t["drift"]), _truth(t.get("score", False)), where=w), ("score",)),
    "age_days": (lambda t, w: Age(_days(t["age_days"]), where=w), ()),
    "new_rows": (lambda t, w: NewRows(_whole(t["new_rows"]), where=w), ()),
    "slower": (lambda t, w: Slower(_number(t["slower"]), where=w), ()),
    "failing": (lambda t, w: Failing(_number(t["failing"]), where=w), ()),
    "worse": (lambda t, w: _told(t["worse"], Worse(where=w)), ()),
    "relearn": (lambda t, w: Relearn(_number(t["relearn"]), where=w), ()),
    "all": (_all_of, ()),
}


def _guards(content: Mapping[str, object], where: str) -> dict[str, object]:
    """The guards by the names of `Retrain`; what is not given keeps its default."""
    given: dict[str, object] = {}
    for name in ("cooldown_days", "backoff_days", "probation_days"):
        if name in content:
            given[name.removesuffix("_days")] = _days(content[name])
    for name in ("new_rows", "daily_cap"):
        if name in content:
            given[name] = _whole(content[name])
    if "budget_seconds" in content:
        given["budget"] = _number(content["budget_seconds"])
    for name in ("approval", "challenge"):
        if name in content:
            given[name] = _truth(content[name])
    if "freeze" in content:
        days = content["freeze"]
        if not isinstance(days, list):
            raise TypeError("`freeze` is a list of pairs of days")
        given["freeze"] = tuple(Freeze(_day(first), _day(last), where=where) for first, last in days)
    if "rollout" in content:
        given["rollout"] = _rollout(content["rollout"], where)
    return given


def _rollout(content: object, where: str) -> Rollout:
    if not isinstance(content, dict) or set(content) - set(_ROLLOUT):
        raise TypeError(f"`rollout` is a table of {', '.join(_ROLLOUT)}")
    given: dict[str, object] = {}
    if "shadow" in content:
        given["shadow"] = _number(content["shadow"])
    if "shares" in content:
        if not isinstance(content["shares"], list):
            raise TypeError(f"{content['shares']!r} is not a list of shares")
        given["shares"] = tuple(_number(share) for share in content["shares"])
    if "least" in content:
        given["least"] = _whole(content["least"])
    if "patience_days" in content:
        given["patience"] = _days(content["patience_days"])
    if "released" in content:
        given["released"] = _truth(content["released"])
    return Rollout(**given, where=where)  # type: ignore[arg-type]  # policy_faults judges them


def _day(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
