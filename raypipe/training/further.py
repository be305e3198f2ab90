"""Trials that follow from the others: a mean of the best, and models of one segment each, kept where they win.

They are answered, kept and told like any other trial, and what comes of them is held against the others by the same
rule. Which there are follows from the outcomes so far, so a search that was killed asks for the same again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import msgspec
import numpy as np
import ray
from ray import ObjectRef
from ray.exceptions import RayError

from raypipe.contracts.progress import Progress
from raypipe.spec import Pipeline
from raypipe.training.budget import Budget
from raypipe.training.choice import choose
from raypipe.training.front import finished, front
from raypipe.training.limits import death
from raypipe.training.metrics import goodness, measure
from raypipe.training.outcome import FAILED, PART, Outcome, kept, kept_scores, trial_folder
from raypipe.training.tracking import Tracking
from raypipe.training.trainer import Params, Scores, Task, Vector
from raypipe.training.trainers.several import code_of, column_of, enough, only, pack
from raypipe.training.trial import Data, Plan, Point, answer, hung, outcome_of, watched
from raypipe.training.waiting import waits_told
from raypipe.words import amount

#: So many of the best trials may be in an ensemble, on the front or not, and the best of each algorithm: those err
#: apart, and the mean of what errs apart errs less.
BEST = 8
#: How often the best next member is taken into an ensemble; one that is taken twice counts twice.
PICKS = 20
#: Draws of blocks of rows, and how many of them a segment's own model must win.
DRAWS, BLOCKS, WON = 100, 20, 95


@dataclass(frozen=True)
class Further:
    """What came of the further trials, and what to say of it."""

    outcomes: tuple[Outcome, ...]
    told: tuple[str, ...] = ()


def further(
    pipeline: Pipeline,
    data: Data,
    plan: Plan,
    outcomes: Sequence[Outcome],
    tracking: Tracking,
    cpus: int,
    progress: Progress,
    budget: Budget,
) -> Further:
    """The trials that follow from those of a search, as far as the pipeline asks for any, and the budget allows."""
    search, told = pipeline.search, []
    if not (search.ensemble or search.by):
        return Further(())
    own = replace(plan, folder=plan.folder / "further")
    run = _Run(data, own, tracking, cpus, progress, count(len(outcomes)), budget, list(outcomes))
    found: list[Outcome] = []
    if search.ensemble:
        params = ensemble(outcomes, data, plan)
        found += run("ensemble", [("ensemble", params)]) if params else []
        told += [] if params else ["no mean of trials is better than the best of them"]
    if search.by:
        best, _ = choose([*outcomes, *found], search, pipeline.name)
        base = {"algorithm": best.trial.algorithm, **best.trial.params}
        parts = run(f"segments by {search.by}", _segments(base, search.by, data, plan), by=search.by)
        scores = kept_scores(plan.folder if best in outcomes else run.plan.folder, best)
        kept = [part for part in parts if _wins(part, scores, search.by, data, run.plan)]
        names = [str(part.trial.params["value"]) for part in kept]
        told.append(f"of {len(parts)} segments by {search.by} {', '.join(names) or 'none'} keep a model of their own")
        found += parts
        if kept:
            all_parts = pack([base, *({"algorithm": part.trial.algorithm, **part.trial.params} for part in kept)])
            found += run("segments together", [("segments", {"by": search.by, **all_parts})])
    if run.left_out:
        told.append(f"the budget was used up before {amount(run.left_out, 'further trial')}")
    return Further(tuple(found), tuple(told))


class _Run:
    """Answers points, up to ``cpus`` side by side, and tells of each. None begins when the ``budget`` is used up.

    Attributes:
        left_out: how many it did not begin.
    """

    def __init__(
        self,
        data: Data,
        plan: Plan,
        tracking: Tracking,
        cpus: int,
        progress: Progress,
        numbers: Iterator[int],
        budget: Budget,
        before: list[Outcome],
    ) -> None:
        self._cpus, self._budget, self._ended, self.left_out = max(1, cpus), budget, before, 0
        self.plan, self._tracking, self._progress, self._numbers = plan, tracking, progress, numbers
        self._data = ray.put(data)

    def __call__(self, name: str, asked: Sequence[tuple[str, Params]], by: str = "") -> list[Outcome]:
        points = [Point(next(self._numbers), algorithm, params, {}, by) for algorithm, params in asked]
        found: dict[int, Outcome] = {}
        with self._progress.step(name, len(points)) as step, waits_told(step):
            coming = list(reversed(points))
            waiting: dict[ObjectRef[str], Point] = {}
            while coming or waiting:
                while coming and len(waiting) < self._cpus:
                    point = coming.pop()
                    if self._may(point):
                        self._tracking.start(self._name(point), point.number)
                        waiting[self._begin(point)] = point
                if not waiting:
                    break
                [done], _ = ray.wait(list(waiting))
                point = waiting.pop(done)
                found[point.number] = self._tell(point, self._outcome(point, done))
                self._ended.append(found[point.number])
                value = found[point.number].trial.metrics.get(self.plan.metric)
                step.advance(1, f"{point.params.get('value', point.algorithm)}: {value}")
        return [found[point.number] for point in points if point.number in found]

    def _may(self, point: Point) -> bool:
        """Whether a point may begin; one that was answered before costs nothing."""
        known = kept(trial_folder(self.plan.folder, point.algorithm, point.params)) is not None
        may = known or not self._budget.spent(self._ended)
        self.left_out += not may
        return may

    def _begin(self, point: Point) -> "ObjectRef[str]":
        holds = self.plan.holds(point)
        options = _answer.options(num_cpus=holds["CPU"], num_gpus=holds["GPU"])
        return options.remote(point, self._data, self.plan)

    def _outcome(self, point: Point, done: "ObjectRef[str]") -> Outcome:
        try:
            return Outcome.from_json(ray.get(done))
        except RayError:
            lost = death(trial_folder(self.plan.folder, point.algorithm, point.params))
            return outcome_of(point, self.plan, FAILED, 0.0, {}, {}, error=lost)

    def _tell(self, point: Point, outcome: Outcome) -> Outcome:
        numbered = msgspec.structs.replace(outcome.trial, number=point.number)
        run_id = self._tracking.end(self._name(point), msgspec.structs.replace(outcome, trial=numbered))
        return msgspec.structs.replace(outcome, trial=msgspec.structs.replace(numbered, run_id=run_id))

    def _name(self, point: Point) -> str:
        return trial_folder(self.plan.folder, point.algorithm, point.params).name


@ray.remote(max_retries=1)
def _answer(point: Point, data: Data, plan: Plan) -> str:
    with watched(point, plan):
        return (hung(point, plan) or answer(point, data, plan)).to_json()


def ensemble(outcomes: Sequence[Outcome], data: Data, plan: Plan) -> Params | None:
    """Of the front and the best, also of each algorithm, those whose mean does best on the tuning period, with shares.

    None: one alone does, or there is none.

    R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004: the best next member is taken, again
    and again, and what was best on the way is kept.
    """
    best_first = sorted(finished(outcomes), key=lambda outcome: (-(outcome.goodness or 0.0), outcome.trial.number))
    algorithms = dict.fromkeys(outcome.trial.algorithm for outcome in best_first)
    best_each = [next(o for o in best_first if o.trial.algorithm == algorithm) for algorithm in algorithms]
    members: list[Outcome] = []
    for outcome in [*front(outcomes), *best_first[:BEST], *best_each]:
        members += [outcome] if outcome not in members else []
    if len(members) < 2:
        return None
    scores = [kept_scores(plan.folder, member) for member in members]

    def good(of: list[int]) -> float:
        mean: Scores = np.asarray(np.mean([scores[member] for member in of], axis=0), dtype=np.float32)
        return goodness(plan.metric, measure(plan.metric, data.tune.y, mean, data.target))

    picked: list[int] = []
    best: tuple[float, list[int]] = (-np.inf, [])
    for _ in range(PICKS):
        value, following = max((good([*picked, member]), -member) for member in range(len(members)))
        picked.append(-following)
        if value > best[0] + 1e-6:
            best = (value, list(picked))
    chosen = sorted(set(best[1]))
    if len(chosen) < 2:
        return None
    shares = [best[1].count(member) / len(best[1]) for member in chosen]
    return pack(
        {"algorithm": members[member].trial.algorithm, "share": share, **members[member].trial.params}
        for member, share in zip(chosen, shares, strict=True)
    )


def _segments(base: Params, by: str, data: Data, plan: Plan) -> list[tuple[str, Params]]:
    """One trial for each value that has enough rows in every step, the most frequent first."""
    column, points = column_of(data.signature, by), []
    for value in data.signature.columns[column].vocabulary or ():
        code = code_of(data.signature, column, value)
        steps = (Task(train, tuning, data.signature, plan.metric) for train, tuning in data.steps())
        if all(enough(only(step, column, code)) for step in steps):
            params = {name: own for name, own in base.items() if name != "algorithm"}
            points.append((str(base["algorithm"]), params | {"value": value}))
    return points


def _wins(part: Outcome, base: Scores, by: str, data: Data, plan: Plan) -> bool:
    """Whether a segment's own model is better on its rows than the one for all, and not by chance."""
    if part.trial.status != PART:
        return False
    column = column_of(data.signature, by)
    mine = data.tune.x[:, column] == code_of(data.signature, column, str(part.trial.params["value"]))
    own = kept_scores(plan.folder, part)
    return certain(data.tune.y[mine], own, base[mine], plan.metric, data) >= WON


def certain(y: Vector, own: Scores, other: Scores, metric: str, data: Data) -> int:
    """In how many of a hundred draws of the rows the first scores are better than the second.

    Rows that follow each other are drawn together: they share what happened that day.
    """
    rng, blocks, won = np.random.default_rng(0), np.array_split(np.arange(len(y)), BLOCKS), 0
    for _ in range(DRAWS):
        rows = np.concatenate([blocks[i] for i in rng.integers(0, BLOCKS, BLOCKS)])
        if len(np.unique(y[rows])) > 1:
            first, second = (measure(metric, y[rows], scores[rows], data.target) for scores in (own, other))
            won += goodness(metric, first) > goodness(metric, second)
    return won
