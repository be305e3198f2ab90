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
#: So many a kind of request are made, and so many there must be in all.
EXAMPLES, CASES = (200, 300) if QUICK else (12_000, 10_000)


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
    done = subprocess.run([*command, *options, *headers], check=False, text=True, capture_output=True)
    print(done.stdout[-4_000:], done.stderr[-1_000:])
    found = re.search(r"([\d,]+) generated", done.stdout)
    cases = int(found[1].replace(",", "")) if found else 0
    failures = [line.strip("- ") for line in done.stdout.splitlines() if re.match(r"- ST\d+", line)]
    server = [failure for failure in failures if "ST101" in failure or "erver error" in failure]
    rows = [Row("raypipe", "schemathesis, all checks but one", {"cases": cases, "failures": len(failures)})]
    aims = [
        Aim("cases", cases, f"at least {CASES:,}", cases >= CASES),
        Aim("server errors", len(server), "none", not server and cases > 0),
        Aim("other failures", len(failures) - len(server), "none", done.returncode == 0),
    ]
    write("fuzz", rows, aims, versions("ray"), "\n".join(failures))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
