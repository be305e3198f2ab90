"""Judge a definition before anything runs: small named rules, every fault at once."""

from collections.abc import Callable, Iterator
from contextlib import suppress

from raypipe.errors import DefinitionError, Fault
from raypipe.spec.lint.gates import check_rule, model_check_rule
from raypipe.spec.lint.goals import finish_rule, label_rule, name_rule, search_rule
from raypipe.spec.lint.groups import group_rule
from raypipe.spec.lint.inputs import derived_rule, name_clash_rule, request_rule, table_rule
from raypipe.spec.lint.kinds import kind_rule
from raypipe.spec.lint.retrain import retrain_rule
from raypipe.spec.lint.service import service_rule, value_rule
from raypipe.spec.lint.sources import column_rule, elsewhere_rule, live_rule, source_name_rule, time_rule, upkeep_rule
from raypipe.spec.lint.split import split_rule
from raypipe.spec.pipeline import Pipeline

SOURCE_RULES: tuple[Callable[[Pipeline], Iterator[Fault]], ...] = (
    source_name_rule,
    column_rule,
    time_rule,
    live_rule,
    elsewhere_rule,
    upkeep_rule,
    check_rule,
)
PIPELINE_RULES: tuple[Callable[[Pipeline], Iterator[Fault]], ...] = (
    name_rule,
    request_rule,
    group_rule,
    table_rule,
    derived_rule,
    name_clash_rule,
    label_rule,
    split_rule,
    search_rule,
    finish_rule,
    service_rule,
    value_rule,
    retrain_rule,
    model_check_rule,
)


def lint(pipeline: Pipeline) -> None:
    """Check a definition without touching data or cluster.

    Raises:
        DefinitionError: with every fault found, each with file, line and cure.
    """
    faults = list(kind_rule(pipeline))
    whole = not faults
    for rule in SOURCE_RULES + PIPELINE_RULES:
        # A rule that stumbles over a value of the wrong kind has nothing to add; the others have.
        with suppress(*(() if whole else (AttributeError, TypeError, ValueError, KeyError))):
            faults += rule(pipeline)
    if faults := list(dict.fromkeys(faults)):
        raise DefinitionError(sorted(faults, key=_line))


def _line(fault: Fault) -> tuple[str, int]:
    file, _, line = fault.where.partition(":")
    return file, int(line) if line.isdigit() else 0
