"""Every source's gate: its columns first, then its checks. What cannot be judged has failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from raypipe.clock import iso
from raypipe.contracts.changes import Changes, Since
from raypipe.contracts.faulty import Faulty
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import CheckResult, GateReport, Snapshot
from raypipe.errors import GateError
from raypipe.spec import Pipeline
from raypipe.spec.checks import Check
from raypipe.validation.columns import check_columns
from raypipe.validation.judge import Verdict, judge
from raypipe.validation.parts import Blocks
from raypipe.validation.reference import reference
from raypipe.validation.rules import Keys
from raypipe.validation.sieve import no_faulty
from raypipe.validation.subject import Subject
from raypipe.validation.table import Table

Read = Callable[[Snapshot], pl.LazyFrame]


@dataclass(frozen=True)
class Examined:
    """The report of a gate, and the rows that it would set aside."""

    report: GateReport
    faulty: tuple[Faulty, ...]


def check(pipeline: Pipeline, snapshots: Sequence[Snapshot], read: Read, as_of: int, progress: Progress) -> GateReport:
    """Judge every source of a pipeline by its gate.

    Args:
        pipeline: declares the sources and their gates.
        snapshots: the state of each source's table that is judged.
        read: gives the rows of a snapshot.
        as_of: the run's moment, in microseconds UTC: freshness is of what is known by then.
        progress: is told which table is under way.

    Returns:
        One result a check, those of a table together, its columns first; a check that cannot be made has failed.

    Raises:
        GateError: a source has no snapshot.
    """
    return examine(pipeline, snapshots, read, as_of, progress).report


def examine(
    pipeline: Pipeline,
    snapshots: Sequence[Snapshot],
    read: Read,
    as_of: int,
    progress: Progress,
    before: Sequence[Snapshot] = (),
    *,
    since: Since | None = None,
    kept: Path | None = None,
    blocks: Callable[[Snapshot], Blocks | None] | None = None,
) -> Examined:
    """The same as ``check``, with the rows that are to be set aside; the other checks have not seen them.

    Args:
        pipeline: declares the sources and their gates.
        snapshots: what is judged.
        read: gives the rows of a snapshot.
        as_of: the run's moment, in microseconds UTC.
        progress: is told which table is under way.
        before: what was published before of each source, for checks that compare.
        since: tells new rows by the files that they are in; None: they are told by their ids.
        kept: a folder for what is found about ``before``, so that it is found once; None: it is found each time.
        blocks: asks the blocks of a snapshot, where the cluster is to judge it; None: one scan here does.
    """
    frames = {snapshot.table: read(snapshot) for snapshot in snapshots}
    if missing := [source.name for source in pipeline.sources if source.name not in frames]:
        raise GateError(f"no snapshot of {', '.join(missing)} to check", where=pipeline.name, cure="Ingest it first")
    results: list[CheckResult] = []
    good: dict[str, pl.LazyFrame] = {}
    faulty: list[Faulty] = []
    by_table = {snapshot.table: snapshot for snapshot in snapshots}
    earlier = {snapshot.table: snapshot for snapshot in before}
    with progress.step("check", len(pipeline.sources)) as step:
        for source in pipeline.sources:  # whatever a source refers to comes before it
            name, frame = source.name, frames[source.name]
            keys = keys_of(source.gate, good | {name: frame})  # a table may refer to itself
            was = earlier.get(name)
            subject = Subject.of(source)
            changed = None
            if was is not None and since is not None and subject.grows:
                changed = _grown(since(was, by_table[name]))
            table = Table(
                subject,
                frame,
                None if was is None else read(was),
                as_of,
                by_table[name].rows,
                _new_files(by_table[name], was),
                published=None if changed is None else changed.kept,
                gained=None if changed is None else changed.gained,
                blocks=None if blocks is None else blocks(by_table[name] if was is None or changed is None else was),
            )
            file = None if was is None or kept is None else kept / name / f"{was.snapshot_id}"
            # Where all rows are published anew, they are compared with all that were there.
            verdict = _judged(table, keys, file, None if changed is None else as_of)
            results += verdict.results
            if verdict.fits:
                good[name] = verdict.good
            if verdict.faulty.height:
                faulty.append(Faulty(by_table[name], verdict.faulty))
            step.advance(note=name)
    report = GateReport(pipeline=pipeline.name, as_of=as_of, snapshots=tuple(snapshots), results=tuple(results))
    return Examined(report, tuple(faulty))


def examine_rows(
    subject: Subject,
    rows: pl.LazyFrame,
    keys: Keys,
    as_of: int,
    before: pl.LazyFrame | None = None,
) -> Verdict:
    """Judge one table by its gate: its columns first, then, if they are as declared, its checks.

    Args:
        subject: what is judged, and by what.
        rows: the table.
        keys: by table name, the keys of the tables that checks refer to.
        as_of: the run's moment, in microseconds UTC.
        before: what checks that compare compare with; None: there is nothing.
    """
    return _judged(Table(subject, rows, before, as_of), keys, None, as_of)


def _judged(table: Table, keys: Keys, kept: Path | None, until: int | None) -> Verdict:
    """Judge a table by its columns and its checks; what is compared with is what was known by ``until``, if given."""
    subject = table.subject
    columns = check_columns(subject, table.rows)
    if not columns.passed:
        return Verdict((columns,), table.rows, no_faulty())
    compared, why = None, ""
    try:
        compared = reference(subject, table.before, until, kept)
    except (PolarsError, OSError) as error:  # OSError: what it is to be compared with is gone
        why = str(error).strip().splitlines()[0]
    compares = replace(
        table,
        before=None if table.before is None else subject.known(table.before, until),
        reference=compared,
        incomparable=why,
    )
    verdict = judge(compares, keys)
    return replace(verdict, results=(columns, *verdict.results))


def _grown(changes: Changes | None) -> Changes | None:
    """What changed, when no row that was there changed its file."""
    return None if changes is None or changes.lost is not None or changes.anew else changes


def require(report: GateReport) -> None:
    """Do nothing when every check passed that may stop a run.

    Raises:
        GateError: a check failed; a sentence for each says table, check, rows and place, and shows some of the rows.
    """
    failed = report.stopping
    if not failed:
        return
    what = f"{len(failed)} of {len(report.results)} checks failed as of {iso(report.as_of)}; nothing was moved on"
    cure = "Correct the data, set bad rows aside with `.quarantine()`, or go on with `--bypass-gate REASON`"
    shown = tuple(_sentence(result) for result in failed)
    raise GateError(what, where=f"gate of {report.pipeline}", cure=cure, checks=failed, shown=shown)


def keys_of(gate: Sequence[Check], frames: Mapping[str, pl.LazyFrame]) -> dict[str, pl.Series]:
    """The keys of the tables that checks refer to, as far as there are frames of them."""
    tables = {check.to.name: check.to.key for check in gate if check.to is not None}
    return {
        name: frames[name].select(key).collect().to_series().drop_nulls().unique()
        for name, key in tables.items()
        if name in frames
    }


def _new_files(now: Snapshot, before: Snapshot | None) -> tuple[str, ...]:
    known = set() if before is None else {file.digest for file in before.files}
    return tuple(file.path for file in now.files if file.digest not in known)


def _sentence(result: CheckResult) -> str:
    head = f"  {result.table}: {result.check} failed: {result.detail} ({result.where})"
    cause = (f"    likely cause: {result.cause}",) if result.cause else ()
    return "\n".join((head, *cause, *(f"    {row}" for row in result.sample)))
