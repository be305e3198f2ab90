"""The Serve application of one pipeline, from plain values: what `serve deploy` and the REST API build it from."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path

import msgspec
from ray import serve
from ray.serve.config import BackpressureConfig
from ray.serve.schema import LoggingConfig

from raypipe.clock import SystemClock
from raypipe.contracts import counts
from raypipe.contracts.logs import FEEDBACK, PREDICTIONS
from raypipe.contracts.reader import FeatureReader, OpenReader
from raypipe.contracts.records import Record
from raypipe.errors import ServingError
from raypipe.observe import Observing
from raypipe.serving.access import Guard, Keyring
from raypipe.serving.app import Limits
from raypipe.serving.counter import Counts
from raypipe.serving.feedback import FeedbackLog
from raypipe.serving.keys import the_key
from raypipe.serving.log import Keyed, PredictionLog
from raypipe.serving.meter import Meter
from raypipe.serving.model import Served
from raypipe.serving.pointer import Pointer
from raypipe.serving.ray_sink import DEPLOYMENT
from raypipe.serving.replica import Logs, Replica
from raypipe.serving.tuning import Tuned, Tuning
from raypipe.spec import Pipeline
from raypipe.spec.functions import trust

#: Where the builder below is found by a cluster on which raypipe is installed.
IMPORT_PATH = f"{__name__}:build"
# The frames are small: to share them among threads costs more than it gives, most of all when the machine is busy.
_ENVIRONMENT = {"POLARS_MAX_THREADS": "1"}


class Recipe(Record, frozen=True, kw_only=True):
    """All that an application is made of, as values. Recipes cross processes, connections do not.

    Attributes:
        name: of the pipeline, and of the path that it answers under.
        reader: ``package.module:function`` that is called with the pipeline and ``reader_args`` in each replica, and
            gives its `FeatureReader`.
        reader_args: by name.
        folder: where the version in service is kept; every replica sees it, under this path.
        replicas: how many processes answer, as long as nobody has changed their number with `raypipe scale`.
        max_body_bytes: the largest request body.
        require_keys: answer to keys alone, even when none has been made; else from the first one on.
        log: where what is answered, and told about it, is written until it is in the lake, beside the key that ids are
            hashed with; empty: nothing is kept.
        row_modules: modules whose row functions definitions may call.
        observing: what the replicas tell of their work.
        served: the version to put into service when the application is built; None: the one that is.
    """

    name: str
    reader: str
    folder: str
    reader_args: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    replicas: int = 1
    max_body_bytes: int = 4 * 2**20
    require_keys: bool = False
    log: str = ""
    row_modules: tuple[str, ...] = ()
    observing: Observing = Observing()
    served: Served | None = None

    @property
    def open_reader(self) -> OpenReader:
        """Opens the features in the process that needs them."""
        return partial(_open, self.reader, self.reader_args, self.row_modules)

    @property
    def pointer(self) -> Pointer:
        """The version in service."""
        return Pointer(Path(self.folder), self.name)

    @property
    def tuned(self) -> Tuned:
        """What can be changed while it answers."""
        return Tuned(Path(self.folder), self.name)

    @property
    def tuning(self) -> Tuning:
        """The same as it is now."""
        return self.tuned.read() or Tuning(replicas=self.replicas)


def build(args: Mapping[str, object]) -> serve.Application:
    """The application of a recipe given as plain values; the builder that ``import_path`` names.

    Raises:
        ServingError: the values are not a recipe, or name a reader that is not there.
    """
    try:
        recipe = msgspec.convert(dict(args), Recipe)
    except msgspec.ValidationError as error:
        raise ServingError(str(error), where="args of the Serve application") from None
    return application(recipe)


def application(recipe: Recipe) -> serve.Application:
    """The application of a recipe, to be returned by a builder or given to ``serve.run``.

    Raises:
        ServingError: the recipe names a reader that is not there.
        WorkspaceError: the version cannot be put into service.
    """
    _find(recipe.reader)
    if recipe.served is not None:
        recipe.pointer.write(recipe.served)
    deployed = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=recipe.replicas,
        ray_actor_options={"num_cpus": 0.1, "runtime_env": {"env_vars": _ENVIRONMENT}},
        # Requests wait in our own queue, where they are answered together.
        max_ongoing_requests=512,
        max_queued_requests=1_024,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        # A new replica is up before an old one goes: a single replica is never nobody.
        max_surge_percent=100,
        max_constructor_retry_count=3,
        # One that hangs is replaced after three checks: within 15 s.
        health_check_period_s=2,
        health_check_timeout_s=4,
        graceful_shutdown_timeout_s=15,
        graceful_shutdown_wait_loop_s=1,
        # A fifth of the time of a small request went into its line in the access log.
        logging_config=LoggingConfig(enable_access_log=False),
    )
    deployment: serve.Deployment = deployed(serve.ingress()(Replica))
    bound: serve.Application = deployment.bind(
        recipe.name,
        recipe.open_reader,
        recipe.pointer,
        Limits(body_bytes=recipe.max_body_bytes),
        partial(_open_logs, Path(recipe.log), recipe.name) if recipe.log else None,
        Guard(Keyring(Path(recipe.folder), SystemClock()), SystemClock(), required=recipe.require_keys),
        recipe.observing,
    )
    return bound


def _open_logs(folder: Path, name: str, meter: Meter) -> Logs:
    clock, hash_ = SystemClock(), Keyed(the_key(folder / "ids.key"))
    predictions = PredictionLog(folder / PREDICTIONS.name / name, hash_, clock, lost=meter.unlogged)
    feedback = FeedbackLog(folder / FEEDBACK.name / name, clock)
    return Logs(predictions, feedback, Counts(folder / counts.NAME / name, clock, meter.failures))


def _open(
    path: str, args: Mapping[str, str | int | float | bool], row_modules: tuple[str, ...], pipeline: Pipeline
) -> FeatureReader:
    trust(row_modules)
    return _find(path)(pipeline, **args)


def _find(path: str) -> Callable[..., FeatureReader]:
    module, _, name = path.partition(":")
    try:
        found: Callable[..., FeatureReader] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ServingError(
            f"cannot be found: {error}", where=f"feature reader `{path}`", cure="Write it as `package.module:function`"
        ) from None
    return found
