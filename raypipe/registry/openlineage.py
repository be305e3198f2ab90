"""A model's way as OpenLineage run events (spec 2-0-2, https://openlineage.io), for catalogues such as Marquez."""

import uuid
from collections.abc import Mapping
from typing import TypeAlias

from raypipe.clock import iso
from raypipe.contracts.records import ModelVersion
from raypipe.registry.nodes import KINDS, Node
from raypipe.registry.walk import Way

Event: TypeAlias = dict[str, object]

SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = "https://pypi.org/project/raypipe"
#: Which kinds of things each job takes and makes.
JOBS = {
    "ingest": (("file",), ("snapshot",)),
    "gate": (("snapshot",), ("gate",)),
    "features": (("snapshot", "gate"), ("training set",)),
    "train": (("training set",), ("version",)),
}


def events(way: Way, version: ModelVersion, at: Mapping[str, int]) -> list[Event]:
    """One event for each job that led to the version, for each trial of its search, and for each deployment, in order.

    The same version gives the same events, with the same run ids, whenever they are made: a catalogue that is told
    twice knows no more than before.

    Args:
        way: of the version.
        version: which one.
        at: when each job had ended, microseconds UTC, as `raypipe.registry.walk.past` tells; of trials the search.
    """
    found = []
    of = {kind: [node for node in way.nodes if node.kind == kind] for kind in KINDS}
    for job, (taken, made) in JOBS.items():
        inputs, outputs = ([node for kind in kinds for node in of[kind]] for kinds in (taken, made))
        if inputs and outputs:
            if job == "train":
                found += [_trial(node, inputs, version, at) for node in of["trial"]]
            found.append(_event(job, inputs, outputs, version, _time(at.get(job, version.created))))
    for node in of["deployment"]:
        told = _event("deploy", of["version"], [node], version, str(node.facts["since"]), node.id)
        found.append(told)
    return found


def _trial(node: Node, inputs: list[Node], version: ModelVersion, at: Mapping[str, int]) -> Event:
    """A trial is a run below that of its search."""
    told = _event("trial", inputs, [], version, _time(at.get("train", version.created)), node.id)
    parent = {"run": {"runId": _run(version, "train")}, "job": _job("train", version)}
    facets: Event = {"parent": {**_facet("ParentRunFacet"), **parent}}
    if error := node.facts.get("error"):
        facets["errorMessage"] = {
            **_facet("ErrorMessageRunFacet"), "message": error, "programmingLanguage": "python",
        }  # fmt: skip
    run = {"runId": _run(version, "trial", node.id), "facets": facets}
    return told | {"run": run, "eventType": "FAIL" if error else "COMPLETE"}


def _run(version: ModelVersion, job: str, which: str = "") -> str:
    name = f"raypipe:{version.name}:{version.version}:{version.digest}:{job}{which and f':{which}'}"
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def _job(job: str, version: ModelVersion) -> Event:
    return {"namespace": f"raypipe.{version.name}", "name": f"{version.name}.{job}"}


def _event(job: str, inputs: list[Node], outputs: list[Node], version: ModelVersion, at: str, which: str = "") -> Event:
    lineage = version.lineage
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
        "eventTime": at,
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": _run(version, job, which), "facets": facets},
        "job": {**_job(job, version), "facets": about},
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
    elif node.kind == "gate":
        namespace, title, state = "raypipe.gates", name, str(node.facts["as of"])
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
        "ParentRunFacet": "1-0-1/ParentRunFacet.json",
        "ErrorMessageRunFacet": "1-0-1/ErrorMessageRunFacet.json",
        "DatasetVersionDatasetFacet": "1-0-1/DatasetVersionDatasetFacet.json",
    }[name]
    return {"_producer": PRODUCER, "_schemaURL": f"https://openlineage.io/spec/facets/{place}#/$defs/{name}"}


def _time(microseconds: int) -> str:
    return iso(microseconds)
