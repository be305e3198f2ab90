"""The aims: how raypipe stands to its peers, and how soon and how much it must answer by itself."""

from collections.abc import Iterator, Sequence

from benchmarks.report import Aim, Row
from benchmarks.serving import peers
from benchmarks.serving.load import h2_case
from raypipe.words import amount

#: The case by which services are compared.
CASE = "64 connections, 1 row"
#: What stands in its place where a peer did not answer.
SILENT = "does not answer"
#: How many times as many requests a second as a peer.
TIMES = {
    peers.FASTAPI: 1.0,
    peers.RAY: 10.0,
    peers.FAST_RAY: 1.5,
    peers.MLFLOW: 4.0,
    peers.BENTOML: 4.0,
    peers.MLSERVER: 4.0,
}
#: The same of gRPC against REST, by the rows of a request.
GRPC_TIMES = {1: 0.7, 100: 2.0}


def aims(rows: Sequence[Row]) -> list[Aim]:
    """What came of each aim; one whose rows were not measured is left out."""
    by = {(row.system, row.case): row for row in rows}
    found = [*_against_peers(by), *_grpc_against_rest(by)]
    for row in rows:
        found += _alone(row)
    if ours := by.get(("raypipe", CASE)):
        found.append(_under("p99 at 64 connections, ms", ours, 100))
    return found


def _against_peers(by: dict[tuple[str, str], Row]) -> Iterator[Aim]:
    ours = by.get(("raypipe", CASE))
    for system, times in TIMES.items():
        peer = by.get((system, CASE))
        if ours and peer:
            yield _faster(f"requests/s against {system}", ours, peer, times)
        elif ours and (system, SILENT) in by:
            yield Aim(f"requests/s against {system}", SILENT, f"at least {times:g} times", False)
    if ours and (bare := by.get((peers.FASTAPI, CASE))):
        yield _under(f"p99 at 64 connections, ms, against {peers.FASTAPI}", ours, _number(bare, "p99_ms"))


def _grpc_against_rest(by: dict[tuple[str, str], Row]) -> Iterator[Aim]:
    for count, times in GRPC_TIMES.items():
        grpc, rest = (by.get((f"raypipe {way}", h2_case(count))) for way in ("gRPC", "REST"))
        if grpc and rest:
            yield _faster(f"gRPC against REST, {amount(count, 'row')}", grpc, rest, times)


def _alone(row: Row) -> Iterator[Aim]:
    """What one row is held against, without another."""
    if row.system == "raypipe in process" and row.case.endswith(" 1 row"):
        yield _under("p99 in process, ms", row, 1)
    if row.system == "raypipe, open loop":
        yield _under("p99 at half of peak load, ms", row, 20)
    if row.system == "raypipe batch":
        speed, grown = _number(row, "rows_minute"), _number(row, "grown")
        yield Aim("batch, rows a minute", speed, "at least 1,000,000", speed >= 1e6)
        yield Aim("batch, memory of its second half by the first", grown, "at most 1.1", grown <= 1.1)


def _faster(name: str, row: Row, other: Row, times: float) -> Aim:
    # A peer that answered nothing in time has 0 requests/s.
    ratio = _number(row, "requests_s") / max(1e-9, _number(other, "requests_s"))
    return Aim(name, ratio, f"at least {times:g} times", ratio >= times)


def _under(name: str, row: Row, milliseconds: float) -> Aim:
    p99 = _number(row, "p99_ms")
    return Aim(name, p99, f"under {milliseconds:g}", p99 < milliseconds)


def _number(row: Row, figure: str) -> float:
    return float(row.figures[figure] or 0)
