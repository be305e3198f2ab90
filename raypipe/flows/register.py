"""A candidate becomes a version, and the champion if it is good enough."""

import logging
from pathlib import Path

from msgspec import structs

from raypipe.contracts import bundle
from raypipe.contracts.holdout import holdout
from raypipe.contracts.progress import Progress
from raypipe.contracts.records import Candidate, Lineage, ModelVersion, TrainingSet
from raypipe.errors import NotAllowedError, TrainingError
from raypipe.flows.model_gates import gate_candidate
from raypipe.flows.platform import Platform
from raypipe.registry import Registry, capture, should_promote
from raypipe.spec import Pipeline, more_is_better

log = logging.getLogger(__name__)

#: Who decides when nobody does: the pipeline's own rule.
RULE = "the pipeline's rule"


def register(
    platform: Platform,
    progress: Progress,
    *,
    pipeline: Pipeline,
    file: Path,
    candidate: Candidate,
    training_set: TrainingSet,
    bypass: str = "",
) -> ModelVersion:
    """Enter a candidate into the registry with its lineage, and promote it by the pipeline's rule, past its gate.

    What is the champion's model, file by file, is no new version, whichever snapshots its training set was read from.

    Raises:
        GateError: a check before promotion failed, and ``bypass`` gives no reason to go on. The version is registered,
            and the champion is who it was.
    """
    # A search does not depend on all of a definition: not on the policy, say, that its watcher will read in the bundle.
    candidate = structs.replace(candidate, folder=str(bundle.redefined(Path(candidate.folder), pipeline)))
    lineage, champion = capture(pipeline, file, candidate, training_set), platform.registry.champion(pipeline.name)
    if champion is not None and _is_the_same(champion, candidate, lineage):
        return champion
    with progress.step("register", 2) as step:
        version = platform.registry.register(candidate, lineage)
        step.advance(note=f"{version.name}/{version.version}")
        champion = platform.registry.champion(version.name)
        if champion is not None and champion.version == version.version:
            return champion
        gate_candidate(platform, pipeline, version, training_set, champion, bypass)
        try:
            return _promote(platform, pipeline, version, champion, training_set)
        except NotAllowedError:
            # Whoever trains need not be who decides: the version is there, for somebody else to promote.
            log.warning(
                "%s/%s: this role may not promote; `raypipe promote` by one that may", version.name, version.version
            )
            return version


def _is_the_same(champion: ModelVersion, candidate: Candidate, lineage: Lineage) -> bool:
    """Learned from the same rows by the same definition, and come out the same to the byte."""
    if _learned(champion.lineage) != _learned(lineage):
        return False
    return champion.digest == bundle.verify(Path(candidate.folder)).digest


def _learned(lineage: Lineage) -> tuple[object, ...]:
    made_by = lineage.pipeline_definition, lineage.feature_definition
    return *made_by, lineage.training_set, lineage.params, lineage.seed


def _promote(
    platform: Platform,
    pipeline: Pipeline,
    version: ModelVersion,
    champion: ModelVersion | None,
    training_set: TrainingSet,
) -> ModelVersion:
    metric = pipeline.search.metric
    if _left_to_people(platform.registry, version, champion):
        return version
    old = None if champion is None else _on_the_same_rows(champion, version, training_set, metric)
    margin = pipeline.promote.champion_plus
    if not should_promote(version.metrics[metric], old, more_is_better(metric), margin):
        return version
    why = f"holdout {metric} {version.metrics[metric]:.4f}"
    why += " is the first" if old is None else f" against {old:.4f} of version {champion.version if champion else 0}"
    return platform.registry.promote(
        version.name, version.version, expect=None if champion is None else champion.version, why=why, who=RULE
    )


def _on_the_same_rows(champion: ModelVersion, version: ModelVersion, training_set: TrainingSet, metric: str) -> float:
    """The champion's figure. Where it was judged on other rows it is judged on these: some may be mended.

    Who has learned from the rows itself, or cannot answer them, keeps the figure that it has.
    """
    folder = Path(champion.folder)
    if champion.lineage.training_set == version.lineage.training_set or bundle.pipeline(folder).finish.whole:
        return champion.metrics[metric]
    # Not imported before: it brings the runtime of models with it.
    from raypipe.training.duel import quality_of

    try:
        if bundle.card(folder).target != bundle.card(Path(version.folder)).target:
            return champion.metrics[metric]
        return quality_of(training_set, folder, metric)
    except TrainingError as error:
        log.warning("%s/%s keeps the figure of other rows: %s", champion.name, champion.version, error)
        return champion.metrics[metric]


def register_line(registry: Registry, version: ModelVersion) -> str:
    """What came of it, in one line."""
    standing, champion = ", ".join(version.aliases), registry.champion(version.name)
    if not standing:
        why = _left_to_people(registry, version, champion) or "by the pipeline's rule it is not better"
        standing = f"not promoted, {version.name}/{champion.version} stays: {why}" if champion else "not promoted"
    return f"{version.name}/{version.version} ({standing})"


def _left_to_people(registry: Registry, version: ModelVersion, champion: ModelVersion | None) -> str:
    """Why figures do not decide between a version and the champion; empty: they do."""
    if champion is None:
        return ""
    if any(change.version == version.version for _, change in registry.history(version.name)):
        return "it was champion before, and who took its place did so for a reason"
    if holdout(Path(version.folder)) != holdout(Path(champion.folder)):
        return "they were judged on different periods; `raypipe release` compares them on the same requests"
    return ""
