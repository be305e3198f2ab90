"""The files that make a bundle a model in MLflow's eyes: `MLmodel`, its environment, an example, the lineage."""

from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType

from raypipe.clock import iso
from raypipe.contracts import bundle
from raypipe.contracts.records import ModelVersion
from raypipe.contracts.signature import Signature

#: The bundle's folder, beside the file `MLmodel`.
BUNDLE = "bundle"
_LOADER = "raypipe.registry.pyfunc"
_NEEDED = ("mlflow", "numpy", "onnxruntime", "polars", "raypipe")


def write_model(folder: Path, version: ModelVersion) -> None:
    """Write everything but the bundle itself into ``folder``."""
    lock = version.lineage.lock
    # Written out here: MLflow's helper for it lies in a module that takes a second to import, and warns while it does.
    flavor = {"loader_module": _LOADER, "data": BUNDLE, "env": {"virtualenv": "python_env.yaml"}}
    model = Model(
        flavors={"python_function": flavor | ({"python_version": lock["python"]} if "python" in lock else {})},
        utc_time_created=iso(version.created).replace("T", " ").removesuffix("Z"),
        signature=_signature(bundle.signature(Path(version.folder))),
        metadata={"raypipe": f"{version.name}/{version.version}", "digest": version.digest},
    )
    model.save(str(folder / "MLmodel"))
    pins = "".join(f"{name}=={lock[name]}\n" for name in _NEEDED if name in lock)
    (folder / "requirements.txt").write_text(pins, encoding="utf-8")
    python = f"python: {lock['python']}\n" if "python" in lock else ""
    (folder / "python_env.yaml").write_text(f"{python}dependencies:\n- -r requirements.txt\n", encoding="utf-8")
    (folder / "lineage.json").write_text(version.lineage.to_json(), encoding="utf-8")


def _signature(signature: Signature) -> ModelSignature:
    # MLflow refuses whole numbers where it was told of real ones, and nulls where it was told of whole ones. We take
    # both, so a number is "any" to it.
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec("string" if c.vocabulary is not None else AnyType(), c.name) for c in signature.columns
    ]
    return ModelSignature(Schema(inputs), Schema([ColSpec("float", bundle.SCORE)]))
