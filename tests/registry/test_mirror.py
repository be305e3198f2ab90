"""MLflow shows what the ledger says, catches up when it lagged, and is never asked what is true."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypipe.contracts import bundle
from raypipe.contracts.records import Deployment
from raypipe.errors import RegistryError
from raypipe.ledger import Ledger
from raypipe.registry import Registry
from tests.contracts.bundles import ROWS, expected_scores
from tests.registry.making import loader

# MLflow, of types of its own, when the module is imported that loads models.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture
def client(tracking_uri: str):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri, tracking_uri)


@pytest.fixture
def load_model() -> Iterator[Callable[[str, str], object]]:
    with loader() as load:
        yield load


def shown(client) -> dict[str, str]:
    """Our number of each of MLflow's versions."""
    return {
        version.version: version.tags.get("raypipe.version") for version in client.search_model_versions("name='rides'")
    }


def test_a_version_is_shown_with_its_lineage(mirrored: Registry, make, client) -> None:
    candidate, lineage = make(auc=0.75)
    version = mirrored.register(candidate, lineage)
    found = client.get_model_version("rides", "1")
    assert found.description == "linear: auc 0.7500, log_loss 0.5000"
    expected = {
        "raypipe.version": "1",
        "raypipe.digest": version.digest,
        "raypipe.algorithm": "linear",
        "raypipe.metric.auc": "0.75",
        "raypipe.training_set": "set-1",
        "raypipe.pipeline_definition": lineage.pipeline_definition,
        "raypipe.snapshot.rides": "11",
        "raypipe.snapshot.zones": "5",
        "raypipe.as_of": "2013-07-01T00:00:00Z",
        "raypipe.seed": "7",
    }
    assert found.tags.items() >= expected.items()
    names = {file.path for file in client.list_artifacts(found.run_id, f"model-{version.digest[:12]}")}
    assert {Path(name).name for name in names} >= {"MLmodel", "lineage.json", "requirements.txt", "bundle"}
    assert client.get_run(found.run_id).info.status == "FINISHED"


def test_mlflow_loads_and_scores_the_champion(mirrored: Registry, make, tracking_uri: str, load_model) -> None:
    """With MLflow's own words, on raw feature rows; the expected scores were computed by hand."""
    mirrored.register(*make(1.0))
    mirrored.register(*make(2.0))
    mirrored.promote("rides", 2, expect=None, why="first")
    for uri, weight in (("models:/rides@champion", 2.0), ("models:/rides/1", 1.0)):
        model = load_model(tracking_uri, uri)
        np.testing.assert_allclose(model.predict(ROWS.to_pandas()), expected_scores(weight), atol=1e-6)
    assert model.metadata.get_input_schema().input_names() == ["zone", "fare", "hour"]
    one = model.predict(pd.DataFrame({"hour": [1], "zone": ["a"], "fare": [1.5], "more": [0]}))
    np.testing.assert_allclose(one, expected_scores()[:1], atol=1e-6)


def test_mlflow_refuses_rows_that_lack_a_feature(mirrored: Registry, make, tracking_uri: str, load_model) -> None:
    from mlflow.exceptions import MlflowException

    mirrored.register(*make())
    model = load_model(tracking_uri, "models:/rides/1")
    with pytest.raises(MlflowException, match=r"missing inputs .*fare"):
        model.predict(pd.DataFrame({"zone": ["a"], "hour": [1]}))
    with pytest.raises(RegistryError, match="the rows lack feature `fare`"):
        model._model_impl.predict(pd.DataFrame({"zone": ["a"], "hour": [1]}))


def test_a_damaged_copy_is_not_loaded(mirrored: Registry, make, client, tracking_uri: str, load_model) -> None:
    mirrored.register(*make())
    found = client.get_model_version("rides", "1")
    model = Path(found.source) / "bundle" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(RegistryError, match=r"file `model\.onnx` is altered"):
        load_model(tracking_uri, "models:/rides/1")


def test_nothing_in_the_copy_is_a_pickle_or_code(mirrored: Registry, make, client) -> None:
    mirrored.register(*make())
    folder = Path(client.get_model_version("rides", "1").source)
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {"", ".json", ".onnx", ".parquet", ".txt", ".yaml"}
    assert bundle.verify(folder / "bundle", mirrored.get("rides", 1).digest)
    assert "code" not in (folder / "MLmodel").read_text()


def test_the_run_of_the_winner_is_linked(mirrored: Registry, make, client) -> None:
    import msgspec

    run = client.create_run(client.create_experiment("search"))
    candidate, lineage = make()
    mirrored.register(candidate, msgspec.structs.replace(lineage, run_id=run.info.run_id))
    assert client.get_model_version("rides", "1").run_id == run.info.run_id
    assert client.get_experiment_by_name("rides") is None


def test_a_run_that_mlflow_lost_is_replaced(mirrored: Registry, make, client) -> None:
    import msgspec

    candidate, lineage = make()
    mirrored.register(candidate, msgspec.structs.replace(lineage, run_id="0" * 32))
    assert client.get_run(client.get_model_version("rides", "1").run_id).data.tags["raypipe.version"] == "1"


def test_nothing_is_done_twice(mirrored: Registry, make) -> None:
    mirrored.register(*make())
    mirrored.promote("rides", 1, expect=None, why="first")
    assert mirrored.mirror("rides") == []


def test_an_alias_moved_by_hand_is_moved_back(mirrored: Registry, make, client) -> None:
    mirrored.register(*make(1.0))
    mirrored.register(*make(2.0))
    mirrored.promote("rides", 2, expect=None, why="first")
    client.set_registered_model_alias("rides", "champion", "1")
    client.set_registered_model_alias("rides", "theirs", "1")
    assert mirrored.champion("rides").version == 2
    assert mirrored.mirror("rides") == ["alias champion"]
    aliases = {alias: str(number) for alias, number in client.get_registered_model("rides").aliases.items()}
    assert aliases == {"champion": "2", "theirs": "1"}  # what is not ours stays


def test_an_alias_that_nobody_decided_is_removed(mirrored: Registry, make, client) -> None:
    mirrored.register(*make())
    client.set_registered_model_alias("rides", "champion", "1")
    assert mirrored.mirror("rides") == ["alias champion removed"]
    assert mirrored.champion("rides") is None


def test_a_version_deleted_by_hand_comes_back(mirrored: Registry, make, client) -> None:
    mirrored.register(*make(1.0))
    mirrored.register(*make(2.0))
    mirrored.promote("rides", 1, expect=None, why="first")
    client.delete_model_version("rides", "1")
    assert mirrored.mirror("rides") == ["version 1", "alias champion"]
    assert shown(client) == {"2": "2", "3": "1"} or shown(client) == {2: "2", 3: "1"}
    assert str(client.get_model_version_by_alias("rides", "champion").tags["raypipe.version"]) == "1"


def test_a_version_made_by_others_is_left_alone(mirrored: Registry, make, client) -> None:
    """Then MLflow's number is not ours; the tag and the alias still say which is which."""
    client.create_registered_model("rides")
    client.create_model_version("rides", "somewhere", tags={"raypipe.version": "many"})
    mirrored.register(*make())
    mirrored.promote("rides", 1, expect=None, why="first")
    found = client.get_model_version_by_alias("rides", "champion")
    assert (str(found.version), found.tags["raypipe.version"]) == ("2", "1")
    assert mirrored.mirror("rides") == []


def test_mlflow_lost_everything(mirrored: Registry, make, tmp_path: Path, empty_mlflow: Path, ledger: Ledger) -> None:
    import shutil

    for n in (1.0, 2.0):
        mirrored.register(*make(n))
    mirrored.promote("rides", 2, expect=None, why="first")
    shutil.copy(empty_mlflow, tmp_path / "new.db")
    fresh = Registry(tmp_path / "home" / "registry", ledger, f"sqlite:///{tmp_path / 'new.db'}")
    assert fresh.mirror("rides") == ["model rides", "version 1", "version 2", "alias champion"]


def test_a_server_that_is_down_stops_nobody(
    make,
    tmp_path: Path,
    ledger: Ledger,
    free_port: Callable[[], int],
    caplog: pytest.LogCaptureFixture,
    tracking_uri: str,
) -> None:
    down = Registry(tmp_path / "home" / "registry", ledger, f"http://127.0.0.1:{free_port()}")
    before = time.monotonic()
    with caplog.at_level(logging.WARNING):
        assert down.register(*make()).version == 1
        assert down.promote("rides", 1, expect=None, why="first").aliases == ("champion",)
    assert time.monotonic() - before < 60  # MLflow's own client would try for minutes
    told = [record.getMessage() for record in caplog.records if record.name.startswith("raypipe.registry")]
    assert len(told) == 2
    assert all("MLflow lags behind" in text and "\n" not in text for text in told)
    with pytest.raises(RegistryError, match="MLflow lags behind"):
        down.mirror("rides")
    back = Registry(tmp_path / "home" / "registry", ledger, tracking_uri)
    assert back.mirror("rides") == ["model rides", "version 1", "alias champion"]


def test_mlflow_catches_up_once_it_is_back_and_is_asked_nothing_then(
    make,
    tmp_path: Path,
    ledger: Ledger,
    free_port: Callable[[], int],
    tracking_uri: str,
    client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = tmp_path / "home" / "registry"
    down = Registry(folder, ledger, f"http://127.0.0.1:{free_port()}")
    down.register(*make())
    down.promote("rides", 1, expect=None, why="first")
    down.catch_up()
    assert len([one for one in caplog.records if "MLflow lags behind" in one.getMessage()]) == 3
    Registry(folder, ledger, tracking_uri).catch_up()
    assert shown(client) == {1: "1"}
    assert client.get_registered_model("rides").aliases == {"champion": 1}
    caplog.clear()
    down.catch_up()
    assert not caplog.records


def test_what_is_put_into_service_is_in_mlflow_though_it_was_away_when_that_became_champion(
    make, tmp_path: Path, ledger: Ledger, free_port: Callable[[], int], tracking_uri: str, client
) -> None:
    folder = tmp_path / "home" / "registry"
    down = Registry(folder, ledger, f"http://127.0.0.1:{free_port()}")
    down.register(*make())
    champion = down.promote("rides", 1, expect=None, why="first")
    deployed = Deployment(name="rides", version=1, digest=champion.digest, url="http://h/rides/predict", at=0)
    Registry(folder, ledger, tracking_uri).deployed(deployed)
    assert shown(client) == {1: "1"}
    assert client.get_registered_model("rides").aliases == {"champion": 1}
