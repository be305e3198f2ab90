"""What Ray is told of the trials of a search."""

import pytest
from ray.tune.execution.class_cache import _ActorClassCache  # what describes a trial's process

from raypipe.training import tuning  # noqa: F401  # the search is what keeps secrets out


def test_no_secret_of_the_environment_is_in_the_description_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.setenv(name, "canary")

    class Trial:
        pass

    described = _ActorClassCache().get(Trial)._default_options["runtime_env"]
    assert described["env_vars"]["PL_DISABLE_FORK"] == "1"
    assert "canary" not in repr(described)
