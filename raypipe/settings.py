"""The only place that reads the environment: ``raypipe.toml``, then ``RAYPIPE_*`` variables, which win."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableVariable

from raypipe.errors import SettingsError, did_you_mean
from raypipe.references import is_reference

#: Alerts to a web service of one's own name no secret; all other kinds have one in their URL.
_OPEN = {"json", "jsons", "form", "forms", "xml", "xmls"}

#: What variables of the environment that are settings begin with.
PREFIX = "RAYPIPE_"

#: Why a value is refused, by pydantic's name for it; where it has more names, its own words stand.
_WORDS = {
    "extra_forbidden": "there is no such setting",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
    "string_type": "must be a text",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "dict_type": "must be a table",
}


class Settings(BaseSettings):
    """Where raypipe keeps things and where its services listen.

    Every field can be set in ``raypipe.toml`` of the working folder, or as ``RAYPIPE_<NAME>`` in the environment.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, toml_file="raypipe.toml", extra="forbid", frozen=True)

    workspace: Path = Field(Path(".raypipe"), description="Folder for tables, models, the ledger and logs")
    host: str = Field("127.0.0.1", description="Address of the HTTP service; Ray and MLflow stay on 127.0.0.1")
    serve_port: int = Field(8000, ge=1, le=65535, description="HTTP port of Ray Serve")
    grpc_port: int = Field(0, ge=0, le=65535, description="gRPC port of Ray Serve; 0: no gRPC")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="Port of the Ray dashboard and Jobs API")
    mlflow_port: int = Field(5000, ge=1, le=65535, description="Port of the MLflow server")
    cpus: int | None = Field(None, ge=1, description="Logical CPUs for Ray; None: those of the machine, at least 2")
    max_body_bytes: int = Field(4 * 2**20, ge=1024, description="Largest request body a replica accepts")
    ray_address: str = Field("", description="Ray cluster to join, `auto` in its own jobs; empty: start one here")
    mlflow_url: str = Field("", description="MLflow server to use; empty: start one here")
    ledger_url: str = Field("", description="PostgreSQL database of the ledger; empty: a file in the workspace")
    catalog_url: str = Field(
        "", description="PostgreSQL database that names the tables; empty: a file in the workspace"
    )
    warehouse_url: str = Field("", description="Where tables are, `s3://bucket/prefix`; empty: in the workspace")
    online_url: str = Field("", description="Redis or Valkey server of the online features; empty: in the workspace")
    databases: dict[str, str] = Field({}, description="Where databases are that rows come from, by name; references")
    kafka: dict[str, str] = Field({}, description="How Kafka is reached, in librdkafka's words: `bootstrap.servers` …")
    iceberg: dict[str, str] = Field({}, description="Catalog of Iceberg tables to read, in pyiceberg's words: `uri` …")
    delta: dict[str, str] = Field({}, description="Storage options of Delta tables, in delta-rs' words")
    snowflake: dict[str, str] = Field(
        {}, description="How to log in to Snowflake, in its connector's words; references"
    )
    bigquery: dict[str, str] = Field({}, description="The `project_id` that BigQuery is asked under")
    databricks: dict[str, str] = Field({}, description="`host`, `token` and `warehouse_id` of Databricks; references")
    clickhouse: dict[str, str] = Field({}, description="The `dsn` of ClickHouse; a reference")
    kinesis: dict[str, str] = Field({}, description="How Kinesis is reached, in boto3's words: `region_name` …")
    key: str = Field("", description="Key that the client shows to the service", repr=False)
    audit_folder: str = Field("", description="Where signed checkpoints of the ledger are; empty: in the workspace")
    audit_key: str = Field("", description="Private key that signs checkpoints, by reference: env:NAME, file:/path")
    audit_public_key: str = Field("", description="Public key that checks them, by reference")
    row_modules: list[str] = Field([], description="Modules whose row functions a model that was read may call")
    replicas: int = Field(1, ge=1, description="Serve replicas of each pipeline")
    regions: dict[str, str] = Field({}, description="Ray dashboards of other clusters, by name, for `deploy --to`")
    traces_url: str = Field("", description="Receiver of OpenTelemetry traces, OTLP over HTTP; empty: no traces")
    trace_share: float = Field(0.01, ge=0, le=1, description="Share of the requests that are traced")
    log_format: Literal["text", "json"] = Field("text", description="`json`: log one JSON object a line")
    tick_seconds: int = Field(3_600, ge=1, description="How often a watched model is tested for drift")
    tick_rows: int = Field(200, ge=20, description="Predictions below which it is not tested yet")
    false_alarm_days: float = Field(90.0, gt=0, description="Days between two false alarms of a pipeline, on average")
    drift_material: float = Field(
        0.03, ge=0, lt=1, description="Moves of less than this share are no alarm, however certain; 0: any move is one"
    )
    alerts: list[str] = Field([], description="Where alarms go, as Apprise URLs; those with a secret by reference")
    log_days: float = Field(0.0, ge=0, description="Days that predictions and feedback are kept; 0: for ever")
    cpu_price: float = Field(0.05, ge=0, description="Of an hour of one processor, to tell costs by")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @field_validator("databases", "clickhouse")
    @classmethod
    def _no_passwords(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: cls._no_password(url) for name, url in value.items()}

    @field_validator("ledger_url", "catalog_url", "online_url", "mlflow_url", "warehouse_url", "traces_url")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if not is_reference(value) and urlsplit(value).password:
            raise ValueError("holds a password; put it in a variable or a file, and write env:NAME or file:/path")
        return value

    @field_validator("snowflake", "databricks")
    @classmethod
    def _secrets_by_reference(cls, value: dict[str, str]) -> dict[str, str]:
        for name in ("password", "token"):
            cls._only_by_reference(value.get(name, ""))
        return value

    @field_validator("audit_key", "audit_public_key")
    @classmethod
    def _only_by_reference(cls, value: str) -> str:
        if value and not is_reference(value):
            raise ValueError("is not a reference; write env:NAME or file:/path")
        return value

    @field_validator("alerts")
    @classmethod
    def _alerts_without_secrets(cls, value: list[str]) -> list[str]:
        for url in value:
            known = urlsplit(url)
            if not is_reference(url) and (known.scheme not in _OPEN or known.password):
                raise ValueError("holds a secret; put it in a variable or a file, and write env:NAME or file:/path")
        return value

    @field_validator("warehouse_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value and not (value.startswith("s3://") and urlsplit(value).netloc):
            raise ValueError("is not written as s3://bucket/prefix")
        return value

    @model_validator(mode="after")
    def _warehouse_has_catalog(self) -> Self:
        if self.warehouse_url and not self.catalog_url:
            raise ValueError("warehouse_url needs a catalog_url: a file in one workspace cannot name tables for many")
        return self

    @property
    def home(self) -> Path:
        """The workspace as an absolute path."""
        return self.workspace.expanduser().absolute()


def debugging() -> bool:
    """True when ``RAYPIPE_DEBUG=1`` asks for stack traces instead of sentences; read apart, for when settings fail."""
    return os.environ.get("RAYPIPE_DEBUG", "") not in ("", "0")


def load_settings(**overrides: object) -> Settings:
    """Read the settings, or say in one sentence which one is wrong.

    Raises:
        SettingsError: a value has the wrong type or range, ``raypipe.toml`` names an unknown setting, or a variable of
            the environment looks like one that is misspelt.
    """
    _require_known()
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks the values
    except ValidationError as error:
        first = error.errors()[0]
        setting, name = str(next(iter(first["loc"]), "")), ".".join(str(part) for part in first["loc"])
        told = _WORDS.get(first["type"], first["msg"].removeprefix("Value error, "))
        told = told.format(**first["ctx"]) if first["type"] in _WORDS and "ctx" in first else told
        raise SettingsError(
            f"setting `{name}`: {told}" if name else told,
            where=_origin(setting, overrides),
            cure="" if setting in ("", *Settings.model_fields) else did_you_mean(setting, Settings.model_fields),
        ) from None
    except UnreadableVariable as error:  # lists and tables are JSON there; its words hold the setting in quotes
        name = str(error).split('"')[1]
        cure = """Lists are written as '["a", "b"]', tables as '{"name": "value"}'"""
        raise SettingsError("is not JSON", where=f"{PREFIX}{name.upper()}", cure=cure) from None
    except ValueError as error:  # tomllib's own complaint about the file's syntax
        raise SettingsError(f"cannot be read: {error}", where="raypipe.toml") from None


def _origin(setting: str, overrides: Mapping[str, object]) -> str:
    """Where the value of a setting is from; of what several make together, all that there is."""
    if setting in overrides:
        return "arguments"
    variable = f"{PREFIX}{setting.upper()}"
    set_there = any(name.upper() == variable for name in os.environ)
    return ("raypipe.toml" if setting else "raypipe.toml or environment") if not set_there else variable


def _require_known() -> None:
    """A misspelt variable would be passed over in silence; others of this prefix are none of the settings' business."""
    for variable in os.environ:
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in Settings.model_fields:
            continue
        if near := get_close_matches(name, Settings.model_fields, n=1, cutoff=0.85):
            cure = f"Did you mean `{PREFIX}{near[0].upper()}`?"
            raise SettingsError(f"`{variable}` is no setting", where="environment", cure=cure)
