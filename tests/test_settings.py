"""Settings come from one file and the environment, and a wrong one is named in a sentence."""

from pathlib import Path

import pytest

from raypipe.errors import SettingsError
from raypipe.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_needs_to_be_set(folder: Path) -> None:
    settings = load_settings()
    assert settings.home == folder / ".raypipe"
    assert settings.host == "127.0.0.1"
    assert list(folder.iterdir()) == []


def test_arguments_win_over_the_environment_and_that_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "raypipe.toml").write_text('serve_port = 8001\nmlflow_port = 5001\nworkspace = "from_file"\n')
    monkeypatch.setenv("RAYPIPE_SERVE_PORT", "8002")
    monkeypatch.setenv("RAYPIPE_MLFLOW_PORT", "5002")
    settings = load_settings(mlflow_port=5003)
    assert (settings.workspace, settings.serve_port, settings.mlflow_port) == (Path("from_file"), 8002, 5003)


def test_the_home_of_a_user_is_found(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert load_settings(workspace="~/kept").home == folder / "kept"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("serve_port = 0", "raypipe.toml: setting `serve_port`: must be at least 1"),
        ("serve_port = 70000", "`serve_port`: must be at most 65535"),
        ('cpus = "many"', "`cpus`: must be a whole number"),
        ("cpus = 1.5", "`cpus`: must be a whole number"),
        ("trace_share = [1]", "`trace_share`: must be a number"),
        ("false_alarm_days = 0", "`false_alarm_days`: must be more than 0"),
        ("drift_material = 1", "`drift_material`: must be less than 1"),
        ('log_format = "xml"', "`log_format`: must be 'text' or 'json'"),
        ("kafka = 1", "`kafka`: must be a table"),
        ("alerts = 1", "`alerts`: must be a list"),
        ("[databases]\nshop = 1", "`databases.shop`: must be a text"),
        ("serve_prot = 8000", "`serve_prot`: there is no such setting. Did you mean `serve_port`?"),
        ("serve_port = ", "cannot be read"),
        ("[workspace]\nx = 1", "`workspace`"),
    ],
)
def test_a_wrong_file_is_a_sentence(folder: Path, text: str, told: str) -> None:
    (folder / "raypipe.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"raypipe\.toml") as caught:
        load_settings()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(folder: Path) -> None:
    (folder / "raypipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings()


def test_a_file_that_is_a_folder(folder: Path) -> None:
    (folder / "raypipe.toml").mkdir()
    assert load_settings() == Settings()


def test_a_wrong_variable_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_REPLICAS", "0")
    with pytest.raises(SettingsError, match=r"^RAYPIPE_REPLICAS: setting `replicas`: must be at least 1$"):
        load_settings()


def test_who_has_the_last_word_is_blamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "raypipe.toml").write_text("replicas = 0")
    with pytest.raises(SettingsError, match=r"^raypipe\.toml: setting `replicas`"):
        load_settings()
    monkeypatch.setenv("RAYPIPE_REPLICAS", "many")
    with pytest.raises(SettingsError, match=r"^RAYPIPE_REPLICAS: setting `replicas`: must be a whole number$"):
        load_settings()
    with pytest.raises(SettingsError, match=r"^arguments: setting `replicas`"):
        load_settings(replicas=-1)


@pytest.mark.parametrize("name", ["ALERTS", "KAFKA"])
def test_a_variable_that_is_no_json_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"RAYPIPE_{name}", "nonsense")
    with pytest.raises(SettingsError, match=f"^RAYPIPE_{name}: is not JSON") as told:
        load_settings()
    assert "raypipe.toml" not in str(told.value)


def test_other_variables_of_ours_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_FAILPOINT", "a.b=kill")
    assert load_settings() == Settings()


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_databases_hold_no_passwords() -> None:
    assert load_settings(databases={"shop": "env:SHOP_URL"}).databases == {"shop": "env:SHOP_URL"}
    with pytest.raises(SettingsError, match="setting `databases`: holds a password"):
        load_settings(databases={"shop": "postgresql://u:secret@host/shop"})


def test_a_misspelt_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPIPE_SERVE_PRT", "8001")
    with pytest.raises(SettingsError, match="`RAYPIPE_SERVE_PRT` is no setting") as told:
        load_settings()
    assert told.value.cure == "Did you mean `RAYPIPE_SERVE_PORT`?"
    monkeypatch.delenv("RAYPIPE_SERVE_PRT")
    monkeypatch.setenv("RAYPIPE_BENCH_PORT", "1")
    load_settings()
