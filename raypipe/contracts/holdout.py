"""From when to when a version's holdout goes, out of the definition in its bundle: for a thousand versions at once.

Only that part of the file is read: to build all of a definition takes Polars, and a thousand times as long.
"""

from pathlib import Path
from typing import Any

import msgspec

#: The file of a bundle that holds the definition.
PIPELINE = "pipeline.json"


class _Definition(msgspec.Struct):
    split: dict[str, Any]


def holdout(folder: Path) -> dict[str, str] | None:
    """``from`` and ``to`` in UTC; None where chance split the rows, or the file is not there to tell.

    Args:
        folder: of the version's files.
    """
    try:
        split = msgspec.json.decode((folder / PIPELINE).read_bytes(), type=_Definition).split
    except (OSError, msgspec.MsgspecError):
        return None
    if split.get("is") != "Periods":
        return None
    start, end = (moment["utc"].replace("+00:00", "Z") for moment in split["holdout"])
    return {"from": start, "to": end}
