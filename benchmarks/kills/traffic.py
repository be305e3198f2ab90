"""What replicas counted of a round, tick by tick, written by whoever is never killed."""

from pathlib import Path

from benchmarks.kills.world import NAME, ROWS, Home, ended
from raypipe.contracts import counts
from raypipe.contracts.counts import Counted
from raypipe.contracts.segment import Segment
from raypipe.flows.collect import log_folder

#: The ticks of a round in order. ``drift`` asks for a training; what comes beside it may be decided on or not, as the
#: champion changes meanwhile; ``fails`` asks to roll back the new champion.
TICKS = ("calm", "drift", "beside", "beside", "calm", "fails", "calm")
#: Those that are decided on for certain.
CERTAIN = sum(tick != "beside" for tick in TICKS)


class Traffic:
    """Writes a tick when what it waits for has come.

    Args:
        home: the workspace of the round.
        drifts: False: inputs stay as they are, as somebody else asks for the training.
    """

    def __init__(self, home: Home, *, drifts: bool = True) -> None:
        self._home, self._drifts, self._next, self._question = home, drifts, 0, ""
        self.rows: dict[int, int] = {}

    @property
    def over(self) -> bool:
        """Whether everything was written and decided on."""
        return self._next == len(TICKS) and self._settled()

    def go(self) -> None:
        """Write the next tick, if it is time."""
        if self._next == len(TICKS) or not self._settled():
            return
        tick = TICKS[self._next]
        # Whoever is champion while a training takes over is not known beforehand.
        if tick not in ("drift", "beside") and self._next > TICKS.index("drift") and not ended(self._home):
            return
        champion = self._home.registry.get(NAME, "champion").version
        self._write(
            champion, "moved" if tick == "drift" and self._drifts else "calm", 2 * ROWS if tick == "fails" else 0
        )
        self._next += 1

    def _settled(self) -> bool:
        """The tick before was decided on, and a rollback that was decided is done."""
        if not self._next or TICKS[self._next - 1] == "beside":
            return True
        if self._home.ledger.get(self._question) is None:
            return False
        # Asked after that: a rollback that it decided on is seen.
        kinds = [row.kind for row in self._home.ledger.entries(subject=NAME)]
        return kinds.count("decision.rollback") == kinds.count("decision.done")

    def _write(self, version: int, looks: str, failed: int) -> None:
        at, cells = self._home.clock.now(), (self._home.workspace / f"{looks}.cells").read_bytes()
        made = Counted(version, "", "champion", at, ROWS, cells, {200: ROWS}, 0.1, failed)
        segment = Segment(log_folder(self._home.workspace) / counts.NAME / NAME, at)
        segment.append(0, counts.encode(made))
        segment.close()
        self.rows[version] = self.rows.get(version, 0) + ROWS
        self._question = f"decision:{NAME}:own:{version}:{at}"


def lay_out(folder: Path, cells: dict[str, bytes]) -> None:
    """Keep what a tick looks like where rounds find it."""
    for name, content in cells.items():
        (folder / f"{name}.cells").write_bytes(content)
