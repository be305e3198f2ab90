"""What is to be forgotten is removed from the lake for good, and tables are kept small."""

import json
from collections.abc import Mapping
from hashlib import sha256
from shutil import rmtree

from msgspec import structs

from raypipe.contracts.records import Erased, Tidied
from raypipe.errors import SourceError, did_you_mean
from raypipe.flows.platform import Platform
from raypipe.spec import Pipeline, Source, micros
from raypipe.spec.shape import in_lake

DAY = 86_400_000_000
#: The folder of a workspace that keeps what gates found about published snapshots.
GATES = "gates"


def erase(platform: Platform, *, pipeline: Pipeline, column: str, value: str, why: str) -> Erased:
    """Remove every row that has a value in a column, from all tables of a pipeline that have the column.

    No byte of it stays in the lake: the rows leave ``main`` and the quarantine, all older snapshots are expired, and
    the files that only they named are removed; so is what gates keep about them. The ledger says that it was done, with
    a digest instead of the value.

    Raises:
        SourceError: no table has the column, or the value is not of its type.
    """
    known = {name for source in pipeline.sources for name in in_lake(source)}
    if column not in known:
        raise SourceError(f"no source has a column `{column}`", where=pipeline.name, cure=did_you_mean(column, known))
    rows, aside, tables = 0, 0, []
    for source in pipeline.sources:
        if column in in_lake(source):
            gone, quarantined = platform.lake.erase(source, column, value)
            # What its gate compares with may name the value; it is found again from the rows that are left.
            if (profiles := platform.workspace / GATES / source.name).exists():
                rmtree(profiles)
            rows, aside = rows + gone, aside + quarantined
            tables.append(source.name)
    digest = sha256(f"{column}\0{value}".encode()).hexdigest()
    body = {"column": column, "digest": digest, "why": why, "tables": tables, "rows": rows, "quarantined": aside}
    now = platform.clock.now()
    text = json.dumps(body, sort_keys=True)
    platform.ledger.append(f"data.erased:{digest[:32]}:{now}", "data.erased", pipeline.name, text)
    return Erased(pipeline=pipeline.name, column=column, tables=tuple(tables), rows=rows, quarantined=aside)


def tidy(platform: Platform, *, pipeline: Pipeline, keep_days: float) -> Tidied:
    """Write scattered tables into few files, expire snapshots that are older, remove files that nobody names.

    So it does with the logs of its predictions and of what was told of them, whose snapshots nobody needs: see
    `tidy_logs`. Model versions that were trained on an expired snapshot can no longer be reproduced.
    """
    # Not at the top: it brings serving along, for which who ingests has no use.
    from raypipe.flows.collect import tidy_logs

    done = _tidy(platform, pipeline, dict.fromkeys(pipeline.sources, int(keep_days * DAY)))
    return structs.replace(done, files=done.files + tidy_logs(platform, pipeline.name).removed)


def retain(platform: Platform, *, pipeline: Pipeline) -> Tidied:
    """Do the same for the sources that say how long their snapshots stay, each by its own word."""
    return _tidy(platform, pipeline, {one: micros(one.retain) for one in pipeline.sources if one.retain is not None})


def _tidy(platform: Platform, pipeline: Pipeline, stays: Mapping[Source, int]) -> Tidied:
    now = platform.clock.now()
    # A stream can lie in the order of one key: that of its first features.
    keys = {group.moment.stream.name: group.key[0] for group in reversed(pipeline.groups)}
    kept = {
        source: platform.lake.tidy(source, now - stay, now - DAY, keys.get(source.name, ""))
        for source, stay in stays.items()
    }
    snapshots, files = sum(one.snapshots for one in kept.values()), sum(one.removed for one in kept.values())
    if snapshots or files:
        days = {source.name: stay / DAY for source, stay in stays.items()}
        body = json.dumps({"keep_days": days, "snapshots": snapshots, "files": files}, sort_keys=True)
        platform.ledger.append(f"data.tidied:{pipeline.name}:{now}", "data.tidied", pipeline.name, body)
    return Tidied(pipeline=pipeline.name, snapshots=snapshots, files=files)
