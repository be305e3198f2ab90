from raypipe.contracts.records import Trial
from raypipe.spec import Search
from raypipe.training.front import draw, front, sentence
from raypipe.training.outcome import Outcome


def outcome(number, auc, p99, status="finished"):
    metrics = {"auc": auc, "p99_ms_1": p99} if status == "finished" else {}
    trial = Trial(number=number, algorithm="linear", params={}, status=status, metrics=metrics, seconds=1.0)
    return Outcome(trial=trial, goodness=auc if metrics else None)


TRIED = [
    outcome(0, 0.80, 4.0),
    outcome(1, 0.70, 1.0),
    outcome(2, 0.69, 2.0),  # slower and worse than 1
    outcome(3, 0.80, 9.0),  # as good as 0, and slower
    outcome(4, 0.75, 1.5),
    outcome(5, 0.0, 0.0, status="failed"),
    outcome(6, 0.75, 1.5),  # the same as 4
]


def test_the_front_holds_what_no_other_beats():
    assert [o.trial.number for o in front(TRIED)] == [1, 4, 0]
    for kept in front(TRIED):
        for other in TRIED[:5]:
            better = other.trial.metrics["auc"] >= kept.trial.metrics["auc"]
            faster = other.trial.metrics["p99_ms_1"] < kept.trial.metrics["p99_ms_1"]
            assert not (better and faster)


def test_it_is_said_and_drawn(tmp_path):
    search = Search([], metric="auc", p99_ms=5)
    assert sentence(TRIED, search) == (
        "on the front of quality and speed: linear (trial 1) 0.7000 at 1 ms, linear (trial 4) 0.7500 at 1.5 ms, "
        "linear (trial 0) 0.8000 at 4 ms"
    )
    draw(TRIED, search, TRIED[0], tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
