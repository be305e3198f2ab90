"""`make bench-fuzz`: schemathesis, all its checks, at least 10,000 cases, against a pipeline that is in service.

It reads our OpenAPI and sends what fits and what does not. One check is left out: that whatever fits is accepted, since
a time can be well written and older than the stored features, which no schema can say. The service is the one that the
settings name.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.oip import environment
from benchmarks.report import QUICK, Aim, Row, versions, write
from raypipe.settings import load_settings

PINS = ("schemathesis==4.32.5",)
#: So many a kind of request are made by each of so many processes, which begin with seeds of their own (to make a
#: request up takes longer than to answer it), and so many there must be in all.
EXAMPLES, PROCESSES, CASES = (100, 2, 300) if QUICK else (5_400, 2, 10_000)


def main() -> int:
    settings = load_settings()
    name = os.environ.get("RAYPIPE_BENCH_PIPELINE", "flights")
    url = f"http://127.0.0.1:{settings.serve_port}"
    program = environment("schemathesis", *PINS).parent / "schemathesis"
    command: list[str | Path] = [
        program,
        "run",
        f"{url}/{name}/openapi.json",
        "--url",
        url,
        "--checks",
        "all",
        "--continue-on-failure",
    ]
    shown = {"Authorization": f"Bearer {settings.key}"} if settings.key else {}
    headers = [word for key, value in shown.items() for word in ("--header", f"{key}: {value}")]
    options = ["--exclude-checks", "positive_data_acceptance", "--max-examples", str(EXAMPLES), "--no-color"]
    running = [
        subprocess.Popen(
            [*command, *options, *headers, "--seed", str(seed)],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for seed in range(PROCESSES)
    ]
    said = [process.communicate() for process in running]
    print(*(text[-4_000:] for texts in said for text in texts), sep="\n")
    lines = [line for out, _ in said for line in out.splitlines()]
    cases = sum(int(found[1].replace(",", "")) for line in lines if (found := re.search(r"([\d,]+) generated", line)))
    failures = sorted({line.strip("- ") for line in lines if re.match(r"- ST\d+", line)})
    worst = max(process.returncode for process in running)
    server = [failure for failure in failures if "ST101" in failure or "erver error" in failure]
    rows = [Row("raypipe", "schemathesis, all checks but one", {"cases": cases, "failures": len(failures)})]
    aims = [
        Aim("cases", cases, f"at least {CASES:,}", cases >= CASES),
        Aim("server errors", len(server), "none", not server and cases > 0),
        Aim("other failures", len(failures) - len(server), "none", worst == 0),
    ]
    write("fuzz", rows, aims, versions("ray"), "\n".join(failures))
    return worst


if __name__ == "__main__":
    sys.exit(main())
