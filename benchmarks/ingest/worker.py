"""One system, one case, in this process: ``python -m benchmarks.ingest.worker SYSTEM CASE FROM LAKE ROWS CORES``."""

import json
import os
import sys
from pathlib import Path
from time import perf_counter, process_time

from benchmarks.ingest import data, ours, peers


def main() -> None:
    """Take in, and print what it took as JSON."""
    system, case, origin, lake, rows, cores = sys.argv[1:]
    os.sched_setaffinity(0, range(int(cores)))
    began, spent = perf_counter(), process_time()
    if case == "kafka" and system == "raypipe":
        ours.from_kafka(origin, Path(lake), data.TOPIC)
    elif case == "kafka":
        peers.kafka(origin, Path(lake), int(rows), data.TOPIC)
    elif system == "raypipe":
        ours.from_files(Path(origin), case, Path(lake))
    else:
        {"csv": peers.csv, "parquet": peers.parquet}[case](Path(origin), Path(lake))
    seconds, cpu = perf_counter() - began, process_time() - spent
    # What a process is said to have used at most begins with what its parent had; this does not.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1024
    print(json.dumps({"seconds": seconds, "cpu_s": cpu, "peak_mb": peak}))


if __name__ == "__main__":
    main()
