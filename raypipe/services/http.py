"""A request to a service on this machine: no proxy, no redirect, never longer than asked."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit


def ask(
    url: str,
    method: str = "GET",
    body: object = None,
    *,
    seconds: float = 0.5,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Status and text of the answer; status 0 when there is none.

    >>> ask("http://127.0.0.1:1/")
    (0, '')
    """
    place = urlsplit(url)
    connection = HTTPConnection(place.hostname or "", place.port, timeout=seconds)
    sent = None if body is None else json.dumps(body)
    said = {**({"Content-Type": "application/json"} if sent else {}), **(headers or {})}
    try:
        connection.request(method, place.path or "/", sent, said)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
