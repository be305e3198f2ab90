"""`make bench-oip`: the client of Triton against a pipeline that is in service, REST and gRPC.

It has pins of its own, so it gets an environment of its own below `.raypipe-bench/`. The service is the one that the
settings name; `grpc_port` must be set. `RAYPIPE_BENCH_PIPELINE` names another pipeline than flights.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Aim, Row, versions, write
from raypipe import Client
from raypipe.settings import load_settings

PINS = ("tritonclient[http,grpc]==2.73.0",)
SCRIPT = Path(__file__).parent / "clients" / "triton.py"


def environment(name: str, *pins: str) -> Path:
    """The Python of an environment with these packages; made when it is not there."""
    folder = Path(".raypipe-bench") / name
    python = folder / "bin" / "python"
    done = folder / "pins"
    if not done.is_file() or done.read_text() != "\n".join(pins):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
        done.write_text("\n".join(pins))
    return python


def main() -> int:
    settings = load_settings()
    name = os.environ.get("RAYPIPE_BENCH_PIPELINE", "flights")
    if not settings.grpc_port:
        print("Set RAYPIPE_GRPC_PORT, and start the service with it", file=sys.stderr)
        return 2
    with Client() as client:
        served = client.served(name)
    urls = (f"127.0.0.1:{settings.serve_port}/{name}", f"127.0.0.1:{settings.grpc_port}")
    command: list[str | Path] = [environment("triton", *PINS), SCRIPT, *urls, name, json.dumps(dict(served.example))]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    lines = done.stdout.splitlines()
    print(done.stderr, file=sys.stderr)
    rows = [Row("tritonclient 2.73.0", line, {"held": "no" if line.startswith("FAILED") else "yes"}) for line in lines]
    aim = Aim("tritonclient passes", len([r for r in rows if r.figures["held"] == "yes"]), "all", done.returncode == 0)
    write("oip", rows, [aim], versions("ray", "grpcio"))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
