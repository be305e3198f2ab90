"""Serve's REST API on the Ray dashboard: read the configuration of all applications, replace it."""

import re
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from ray.exceptions import AuthenticationError

from raypipe.errors import ServingError

Config: TypeAlias = dict[str, object]

_REASON = re.compile(r"^(?:[\w.]*\.)?\w*(?:Error|Exception): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Status:
    """How an application is: ``running`` with all replicas as wanted, ``failed`` with a reason, or on its way."""

    running: bool
    failed: bool
    reason: str


class ServeApi:
    """Serve on one cluster.

    Args:
        dashboard: where the Ray dashboard is, such as ``http://127.0.0.1:8265``.
        url: where Serve answers, such as ``http://127.0.0.1:8000``; if Serve is not up it will be started there.

    Raises:
        ServingError: no Ray dashboard answers there.
    """

    def __init__(self, dashboard: str, url: str) -> None:
        self.dashboard, self.url = dashboard, url
        try:
            self._client = ServeSubmissionClient(dashboard)
        except (ConnectionError, RuntimeError, AuthenticationError) as error:
            raise ServingError(
                f"no Ray dashboard answers: {_first_line(error)}", where=dashboard, cure="Run `raypipe up` first"
            ) from None

    def configs(self) -> dict[str, Config]:
        """The configuration of each application that was deployed by one, by name."""
        apps = self._details()["applications"]
        return {name: app["deployed_app_config"] for name, app in apps.items() if app.get("deployed_app_config")}

    def names(self) -> set[str]:
        """The applications that are there, also those that are on their way out."""
        return set(self._details()["applications"])

    def put(self, configs: dict[str, Config]) -> None:
        """Make these the applications: all of them, because Serve deletes the ones that are not named."""
        details = self._details()
        running = {key: details[key] for key in ("proxy_location", "http_options", "grpc_options") if details.get(key)}
        where = urlsplit(self.url)
        new = {"proxy_location": "EveryNode", "http_options": {"host": where.hostname, "port": where.port}}
        capacity = {"target_capacity": details.get("target_capacity")}
        body = (running or new) | capacity | {"applications": list(configs.values())}
        try:
            self._client.deploy_applications(body)
        except RuntimeError as error:
            raise ServingError(
                f"Serve refuses the configuration: {last_error(str(error))}", where=self.dashboard
            ) from None

    def status(self, name: str) -> Status:
        """How an application is."""
        app = self._details()["applications"].get(name)
        if app is None:
            return Status(running=False, failed=False, reason="")
        deployments = app.get("deployments", {}).values()
        messages = [app.get("message", ""), *(deployment.get("message", "") for deployment in deployments)]
        failed = app["status"] in ("DEPLOY_FAILED", "UNHEALTHY")
        settled = all(deployment["status"] == "HEALTHY" for deployment in deployments)
        return Status(app["status"] == "RUNNING" and settled, failed, last_error("\n".join(messages)))

    def _details(self) -> dict[str, Any]:
        try:
            return self._client.get_serve_details()
        except (RuntimeError, ConnectionError) as error:
            raise ServingError(f"Serve cannot be asked: {_first_line(error)}", where=self.dashboard) from None


def last_error(text: str) -> str:
    r"""The last error that a stack trace ends in, or the first line.

    >>> last_error("Traceback ...\nraypipe.errors.ServingError: flights/3: has no golden rows\n")
    'flights/3: has no golden rows'
    """
    found = _REASON.findall(text)
    return found[-1].strip() if found else text.strip().partition("\n")[0]


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
