"""Reports of gates in MLflow: a run each, in an experiment of their own, with numbers, the record and the page.

MLflow holds a copy: a report that it did not take is logged as a warning, and the ledger has it.
"""

import logging
from hashlib import sha256

from raypipe.clock import iso
from raypipe.contracts.records import GateReport
from raypipe.errors import RegistryError

REPORT = "raypipe.report"
log = logging.getLogger(__name__)


def experiment(pipeline: str) -> str:
    """Where the reports of a pipeline are.

    >>> experiment("flights")
    'flights gates'
    """
    return f"{pipeline} gates"


def copy_report(tracking_uri: str, report: GateReport, outcome: str, page: str) -> None:
    """Put a report into MLflow, once.

    Args:
        tracking_uri: where MLflow is; ``""``: nowhere.
        report: what a gate found.
        outcome: what became of the run: passed, stopped or bypassed.
        page: the same for people, as HTML.
    """
    if not tracking_uri:
        return
    from raypipe.registry.mirror import connected, in_one_sentence  # MLflow takes a second to import

    text = report.to_json()
    try:
        client = connected(tracking_uri)
        with in_one_sentence(tracking_uri):
            name = experiment(report.pipeline)
            found = client.get_experiment_by_name(name)
            home = client.create_experiment(name) if found is None else found.experiment_id
            digest = sha256(text.encode()).hexdigest()[:32]
            if client.search_runs([home], f"tags.`{REPORT}` = '{digest}'", max_results=1):
                return
            tags = {"stage": report.stage, "outcome": outcome, "about": report.about, "bypassed": report.bypassed}
            run = client.create_run(
                home, run_name=f"{report.stage} {iso(report.as_of)}: {outcome}", tags=tags
            ).info.run_id
            counts = {"checks": len(report.results), "failed": len(report.stopping), "quarantined": report.quarantined}
            for key, value in counts.items():
                client.log_metric(run, key, value)
            client.log_text(run, text, "report.json")
            client.log_text(run, page, "gates.html")
            client.set_tag(run, REPORT, digest)  # last: a run that was cut short is written again
            client.set_terminated(run)
    except RegistryError as error:
        log.warning("the report of a gate is not in MLflow: %s", error)
