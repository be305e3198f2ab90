"""Python's clock with steps: whoever has this folder on its path is as many nanoseconds off as a file says.

It is of the build that another file names, too: of one that is broken on purpose, see `tests.chaos.broken`.

`time.time` and `time.time_ns` only, of which raypipe's one clock is made; what Ray's C++ asks, and clocks that only
count on, are the machine's own. The machine's clock itself is not ours to move.
"""

# ruff: noqa: TID251  # the very clock is what is put off
import mmap
import os
import struct
import time
from pathlib import Path

if _path := os.environ.get("CHAOS_CLOCK"):
    with Path(_path).open("rb") as _file:
        _off = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + struct.unpack("<q", _off)[0] / 1e9
    time.time_ns = lambda: int(_time_ns() + struct.unpack("<q", _off)[0])
    # Ray Data sends clocks to its workers, by the name under which each of them finds its own.
    for _name in ("time", "time_ns"):
        _clock = getattr(time, _name)
        _clock.__module__, _clock.__name__, _clock.__qualname__ = "time", _name, _name

if os.environ.get("CHAOS_BUILD"):
    from tests.chaos import broken

    broken.watch()
