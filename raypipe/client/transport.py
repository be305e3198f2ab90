"""HTTP with one pool of connections, bounded waits, and errors that say what to do."""

from collections.abc import Mapping
from typing import TypeVar

import httpx
import msgspec
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from raypipe.errors import RequestError, ServingError

#: Nothing was sent when one of these is raised, so sending again cannot be sending twice.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
ATTEMPTS = 3
T = TypeVar("T")


class Transport:
    """Sends requests to one address.

    Args:
        url: of the service, such as ``http://127.0.0.1:8000``.
        seconds: how long one answer may take.
        cure: what to do when nothing answers.
        headers: sent with every request.
    """

    def __init__(self, url: str, seconds: float, cure: str, headers: Mapping[str, str] | None = None) -> None:
        self.url, self._cure, self._seconds = url.rstrip("/"), cure, seconds
        timeout = httpx.Timeout(seconds, connect=min(seconds, 3.0))
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        # The services are near: a proxy that the environment names for the internet is not asked.
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, limits=limits, headers=dict(headers or {}), trust_env=False
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def answers(self, path: str) -> bool:
        """True when a GET is answered, with whatever, at the first try."""
        try:
            self._http.get(path, timeout=2.0)
        except httpx.TransportError:
            return False
        return True

    def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send ``body`` as JSON; try again only while no connection can be made.

        Raises:
            ServingError: nothing answers, or not in time, or the service itself failed (5xx, and 429: too busy).
            RequestError: the request was refused (any other 4xx); ``where`` is the field.
        """
        content = None if body is None else msgspec.json.encode(body)
        sent = {"Content-Type": "application/json", **(headers or {})} if content is not None else dict(headers or {})
        retry = Retrying(
            retry=retry_if_exception_type(_NOT_SENT),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            reraise=True,
        )
        try:
            response = retry(self._http.request, method, path, content=content, headers=sent)
        except _NOT_SENT:
            raise ServingError("nothing answers", where=self.url, cure=self._cure) from None
        except httpx.TimeoutException:
            raise ServingError(f"no answer within {self._seconds:g} s", where=self.url + path) from None
        except httpx.TransportError as error:
            what = f"the connection broke ({type(error).__name__})"
            raise ServingError(what, where=self.url + path, cure="`raypipe status` says what is up") from None
        if response.is_success:
            return response
        raise _refusal(response)


def decoded(response: httpx.Response, kind: type[T]) -> T:
    """The body as a typed value.

    Raises:
        ServingError: something else answers at this address.
    """
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        cure = "Is it another program's port? `raypipe status` says what is up"
        raise ServingError(f"answers with something unexpected: {error}", where=str(response.url), cure=cure) from None


class _Explained(msgspec.Struct):
    message: str
    field: str = ""
    cure: str = ""


class _Refused(msgspec.Struct):
    error: _Explained


def _refusal(response: httpx.Response) -> RequestError | ServingError:
    try:
        said = msgspec.json.decode(response.content, type=_Refused).error
    except msgspec.MsgspecError:
        text = " ".join(response.text.split())[:200]
        said = _Explained(f"HTTP {response.status_code}{': ' if text else ''}{text}", response.url.path)
    status = response.status_code
    if status == 429 or status >= 500:
        return ServingError(said.message, where=said.field or str(response.url), cure=said.cure)
    return RequestError(said.message, where=said.field, cure=said.cure, status=status)
