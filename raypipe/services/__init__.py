"""The processes that raypipe starts on this machine: what stands behind ``raypipe up``, ``down`` and ``status``."""

from raypipe.services.config import Running, ServicesConfig, ServiceStatus
from raypipe.services.connect import connect
from raypipe.services.front_door import routes
from raypipe.services.joined import join
from raypipe.services.lifecycle import down, up
from raypipe.services.status import status
from raypipe.services.workspace import check_workspace

__all__ = [
    "Running",
    "ServiceStatus",
    "ServicesConfig",
    "check_workspace",
    "connect",
    "down",
    "join",
    "routes",
    "status",
    "up",
]
