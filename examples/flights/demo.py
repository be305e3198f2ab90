"""From raw files to answers, in one go: what `make demo` runs."""

import subprocess
import sys
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from raypipe import Client
from raypipe.errors import RaypipeError

PIPELINE = Path(__file__).with_name("pipeline.py")
RAYPIPE = Path(sys.executable).with_name("raypipe")

#: Flights of the evening after the run's as-of time, as an airline would ask about them one hour before departure.
QUESTIONS: tuple[dict[str, str | int], ...] = (
    {"carrier": "UA", "flight": 1545, "tailnum": "N14228", "origin": "EWR", "dest": "IAH"},
    {"carrier": "B6", "flight": 1806, "tailnum": "N804JB", "origin": "JFK", "dest": "BOS"},
    {"carrier": "DL", "flight": 2155, "tailnum": "N6703D", "origin": "LGA", "dest": "ATL"},
    {"carrier": "??", "flight": 1, "tailnum": "N00000", "origin": "JFK", "dest": "SJU"},
)
SCHEDULED_AT = "2013-07-02T21:05:00-04:00"


#: The days that the model then lives through: July's thunderstorms, which it has not learned from.
SUMMER = ("--from", "2013-07-03", "--to", "2013-07-20")


def main() -> int:
    """Run the pipeline, ask the service, live through the summer, ask again, say what is up and how to stop it."""
    for live, title in ((False, f"Asked over HTTP, for {SCHEDULED_AT}"), (True, "Asked again, of the new champion")):
        done = subprocess.run(summer() if live else [RAYPIPE, "run", PIPELINE], check=False)
        if done.returncode != 0:
            return done.returncode
        try:
            Console().print(answers(title))
        except RaypipeError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
    subprocess.run([RAYPIPE, "status"], check=True)
    print("\nStop everything with: .venv/bin/raypipe down")
    return 0


def summer() -> list[str | Path]:
    """The command that lives through July until a challenger has taken over; where one has, what tells of that.

    A demo that was killed before goes on: the days are lived again up to where it was, and what was decided on them and
    trained stays.
    """
    if (learned := learned_until()) <= SUMMER[1]:
        return [RAYPIPE, "replay", PIPELINE, "--live", *SUMMER]
    print(f"A challenger took over in July already, and was judged on flights up to {learned}:", flush=True)
    return [RAYPIPE, "history", "flights"]


def learned_until() -> str:
    """The day on which the champion's holdout ends."""
    with Client() as client:
        champion = next(model for model in client.models("flights") if "champion" in model.aliases)
        return str(champion.lineage["holdout"]["to"])[:10]


def answers(title: str) -> Table:
    """What the service says to the questions, as a table."""
    table = Table("flight", "from", "to", "model", box=SIMPLE, title=title, title_justify="left")
    table.add_column("late or cancelled", justify="right")
    with Client() as client:
        for question in QUESTIONS:
            answer = client.predict("flights", scheduled_at=SCHEDULED_AT, **question)
            flight, model = f"{question['carrier']} {question['flight']}", f"flights/{answer.version}"
            asked = (flight, str(question["origin"]), str(question["dest"]))
            table.add_row(*asked, model, f"{answer.probability:.1%}")
    return table


if __name__ == "__main__":
    raise SystemExit(main())
