"""What there is to know of a version that is watched, out of its bundle."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raypipe.contracts import bundle
from raypipe.contracts.bins import Reference
from raypipe.contracts.judged import Judged, JudgedNumbers
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.target import Target
from raypipe.contracts.watched import Watched
from raypipe.flows.measure import Measure
from raypipe.monitoring import Plan
from raypipe.monitoring.season import season
from raypipe.spec import Pipeline, of_clock
from raypipe.stats.seasonal import Seasonal
from raypipe.stats.shift import Floats


@dataclass(frozen=True)
class Known:
    """A version.

    Attributes:
        version: of the model.
        pipeline: its definition.
        reference: what it was judged on, in cells; None in bundles of old: its values are not compared with anything.
        target: what it predicts.
        importance: by how much its score depends on each feature of the reference, shape (features,).
    """

    version: ModelVersion
    pipeline: Pipeline
    reference: Reference | None
    target: Target
    importance: Floats

    @classmethod
    def of(cls, version: ModelVersion) -> "Known":
        """Read it.

        Raises:
            RegistryError: a file of the bundle is damaged.
        """
        folder = Path(version.folder)
        reference = bundle.bins(folder)
        names = () if reference is None else tuple(column.name for column in reference.features)
        target = bundle.card(folder).target
        return cls(version, bundle.pipeline(folder), reference, target, importance(folder, names))

    @property
    def learned(self) -> tuple[str, int, int]:
        """The pipeline, its number, and up to when it has learned, microseconds UTC."""
        return self.version.name, self.version.version, self.version.lineage.as_of

    @property
    def measure(self) -> Measure:
        """How its answers are measured."""
        return Measure(self.target, None if self.reference is None else self.reference.numbers)

    @property
    def judged(self) -> Judged | JudgedNumbers | None:
        """How it did on the rows it was judged on; None in bundles of old."""
        return None if self.reference is None else self.reference.judged or self.reference.numbers

    @property
    def watched(self) -> Watched | None:
        """Its reference, ready to be compared with."""
        return None if self.reference is None else Watched.of(self.reference, of_clock(self.pipeline))

    def season(self, watched: Watched, plan: Plan) -> Seasonal | None:
        """What is usual at which hour; None where its reference is too short to know.

        Raises:
            RegistryError: a file of the bundle is damaged.
        """
        return season(bundle.hours(Path(self.version.folder), watched), watched, plan)


def importance(folder: Path, names: tuple[str, ...]) -> Floats:
    """How much the metric loses when each feature is shuffled, as it was found when the model was judged."""
    evaluation = bundle.evaluation(folder)
    known = {} if evaluation is None else {one.feature: max(one.loss, 0.0) for one in evaluation.importances}
    return np.array([known.get(name, 0.0) for name in names])
