import logging

import pytest


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory):
    """An MLflow database for all tests of training: making one takes seconds."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    MlflowClient(tracking_uri=uri).search_experiments()
    return uri
