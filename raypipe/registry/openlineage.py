"""A model's way as OpenLineage run events (spec 2-0-2, https://openlineage.io), for catalogues such as Marquez."""

import uuid
from typing import TypeAlias

from raypipe.clock import iso
from raypipe.contracts.records import ModelVersion
from raypipe.registry.nodes import Node
from raypipe.registry.walk import Way

Event: TypeAlias = dict[str, object]

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = "https://pypi.org/project/raypipe"
#: Which kinds of things each job takes and makes.
JOBS = {
    "ingest": (("file",), ("snapshot",)),
    "features": (("snapshot",), ("training set",)),
    "train": (("training set",), ("version",)),
    "deploy": (("version",), ("deployment",)),
}


def events(way: Way, version: ModelVersion) -> list[Event]:
    """One event for each job that led to the version or put it into service, in order.

    The same version gives the same events, with the same run ids, whenever they are made: a catalogue that is told
    twice knows no more than before.
    """
    found = []
    for job, (taken, made) in JOBS.items():
        inputs = [node for node in way.nodes if node.kind in taken]
        outputs = [node for node in way.nodes if node.kind in made]
        if inputs and outputs:
            found.append(_event(job, inputs, outputs, version))
    return found


def _event(job: str, inputs: list[Node], outputs: list[Node], version: ModelVersion) -> Event:
    lineage = version.lineage
    run = uuid.uuid5(uuid.NAMESPACE_URL, f"raypipe:{version.name}:{version.version}:{version.digest}:{job}")
    facets: Event = {
        "nominalTime": {**_facet("NominalTimeRunFacet"), "nominalStartTime": _time(lineage.as_of)},
    }
    about: Event = {}
    if lineage.commit:
        about["sourceCodeLocation"] = {
            **_facet("SourceCodeLocationJobFacet"), "type": "git", "url": "", "version": lineage.commit,
        }  # fmt: skip
    return {
        "eventType": "COMPLETE",
        "eventTime": _time(version.created),
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": str(run), "facets": facets},
        "job": {"namespace": f"raypipe.{version.name}", "name": f"{version.name}.{job}", "facets": about},
        "inputs": [_dataset(node, version.name) for node in inputs],
        "outputs": [_dataset(node, version.name) for node in outputs],
    }


def _dataset(node: Node, name: str) -> Event:
    """A thing by a name that stays: tables and files by theirs, and which state of it was meant as its version."""
    if node.kind == "file":
        namespace, title, state = "file", str(node.facts["path"]), str(node.facts["sha256"])
    elif node.kind == "snapshot":
        namespace, title, state = "raypipe.lake", node.title, str(node.facts["snapshot"])
    elif node.kind == "training set":
        namespace, title, state = "raypipe.training_sets", name, str(node.facts["digest"])
    elif node.kind == "version":
        namespace, title, state = "raypipe.models", name, str(node.facts["digest"])
    else:
        namespace, title, state = "raypipe.services", name, str(node.facts["since"])
    version = {**_facet("DatasetVersionDatasetFacet"), "datasetVersion": state}
    return {"namespace": namespace, "name": title, "facets": {"version": version}}


def _facet(name: str) -> Event:
    place = {
        "NominalTimeRunFacet": "1-0-1/NominalTimeRunFacet.json",
        "SourceCodeLocationJobFacet": "1-0-1/SourceCodeLocationJobFacet.json",
        "DatasetVersionDatasetFacet": "1-0-1/DatasetVersionDatasetFacet.json",
    }[name]
    return {"_producer": PRODUCER, "_schemaURL": f"https://openlineage.io/spec/facets/{place}#/$defs/{name}"}


def _time(microseconds: int) -> str:
    return iso(microseconds)
