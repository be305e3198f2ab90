"""The client against a server that answers as the service does."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import run

import msgspec
import pytest

from raypipe import Client
from raypipe.cli.models import _told
from raypipe.client import Accepted
from raypipe.client.transport import ATTEMPTS, Transport
from raypipe.errors import RequestError, ServingError
from tests.client.server import Asked, Server, flights, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        flights(found)
        yield found


@pytest.fixture
def client(server: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("RAYPIPE_MLFLOW_URL", server.url)
    with Client(server.url, dashboard=server.url, seconds=2) as found:
        yield found


def test_one_question(client: Client, server: Server) -> None:
    moment = datetime(2013, 7, 3, 1, tzinfo=UTC)
    answer = client.predict("flights", carrier="UA", flight=345, tailnum=None, scheduled_at=moment)
    assert (answer.probability, answer.label, answer.version, answer.model) == (0.345, False, 3, "flights")
    assert answer.features_as_of == "2013-07-03T00:00:00Z"
    asked = server.asked[-1]
    assert asked.body == {"carrier": "UA", "flight": 345, "tailnum": None, "scheduled_at": "2013-07-03T01:00:00Z"}
    assert answer.request_id == asked.headers["x-request-id"] != ""


def test_every_question_has_an_id_of_its_own(client: Client) -> None:
    ids = {client.predict("flights", flight=1).request_id for _ in range(5)}
    assert len(ids) == 5


def test_many_questions_keep_their_order_over_requests(client: Client, server: Server) -> None:
    answers = client.predict_many("flights", ({"flight": number % 1000} for number in range(2_500)))
    assert [round(answer.probability * 1000) for answer in answers] == [number % 1000 for number in range(2_500)]
    assert [len(asked.body["rows"]) for asked in server.asked] == [1_000, 1_000, 500]
    assert {answer.features_as_of for answer in answers} == {"2013-07-03T00:00:00Z"}
    assert client.predict_many("flights", []) == []


def test_a_refused_field_is_named(client: Client) -> None:
    with pytest.raises(RequestError, match=r"flight: must be a whole number, not text. Send 1545.") as caught:
        client.predict("flights", flight="UA1545")
    assert (caught.value.where, caught.value.status) == ("flight", 422)


def test_feedback_gives_back_what_the_service_says_of_it(client: Client, server: Server) -> None:
    server.answers["/flights/feedback"] = (200, {"accepted": 1, "request_id": "f"})
    assert client.feedback("flights", "q", label=True) == Accepted(accepted=1, request_id="f")
    assert server.asked[-1].body == {"request_id": "q", "row": 0, "label": True, "outcomes": None}
    server.answers["/flights/feedback"] = (200, {"accepted": 1, "request_id": "f", "unknown": 1, "warning": "slow?"})
    told = client.feedback("flights", "q", label="slwo")
    assert (told.unknown, told.warning) == (1, "slow?")


def test_a_refused_row_is_counted_from_the_first_of_all(client: Client) -> None:
    rows = [{"flight": 1}] * 1_003 + [{"flight": "x"}]
    with pytest.raises(RequestError) as caught:
        client.predict_many("flights", rows)
    assert caught.value.where == "rows[1003].flight"


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_lacks_is_refused_before_it_is_sent(client: Client, server: Server, wrong: float) -> None:
    with pytest.raises(RequestError) as caught:
        client.predict("flights", flight=wrong)
    assert caught.value.where == "flight"
    with pytest.raises(RequestError) as caught:
        client.predict_many("flights", [{"flight": 1}] * 1_001 + [{"flight": wrong}])
    assert caught.value.where == "rows[1001].flight"
    assert all(len(asked.body["rows"]) == 1_000 for asked in server.asked)


def test_an_unknown_pipeline_is_told_by_its_nearest_name(client: Client) -> None:
    for ask in (client.served, lambda name: client.predict(name, flight=1)):
        with pytest.raises(RequestError, match=r"flihgts: .* Did you mean `flights`\?") as caught:
            ask("flihgts")
        assert caught.value.status == 404


def test_what_is_served(client: Client) -> None:
    found = client.served("flights")
    assert (found.version, found.metrics["auc"], found.example) == (3, 0.77, {"carrier": "UA"})
    assert [field.json_type for field in found.fields] == ["string", "integer", "string", "string"]


def test_status(client: Client, server: Server) -> None:
    status = client.status()
    assert status.pipelines == ("flights",)
    assert {service.name: service.answers for service in status.services} == {
        "serve": True,
        "ray": True,
        "mlflow": True,
    }


def test_a_service_that_has_nothing_deployed(client: Client, server: Server) -> None:
    server.answers = {"/-/routes": (503, b"Route table is not populated yet.")}
    status = client.status()
    assert status.pipelines == ()
    assert status.services[0].answers
    with pytest.raises(
        RequestError, match=r"flights: no such pipeline is served. Deploy it with `raypipe deploy FILE`"
    ):
        client.predict("flights", flight=1)


def test_status_of_nothing_is_no_error(
    workspace: Path, free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAYPIPE_MLFLOW_URL", nowhere)
    with Client(nowhere, dashboard=nowhere) as client:
        status = client.status()
    assert status.pipelines == ()
    assert not any(service.answers for service in status.services)


def test_nothing_answers(workspace: Path, free_port: Callable[[], int]) -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ServingError) as caught:
        client.predict("flights", flight=1)
    assert "nothing answers" in caught.value.what
    assert "raypipe up" in caught.value.cure


def test_the_settings_say_where(monkeypatch: pytest.MonkeyPatch, server: Server, workspace: Path) -> None:
    monkeypatch.setenv("RAYPIPE_SERVE_PORT", server.url.rpartition(":")[2])
    with Client() as client:
        assert client.predict("flights", flight=1).version == 3


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch, client: Client) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert client.status().pipelines == ("flights",)


def test_only_connecting_is_tried_again(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    import httpx

    tries: list[httpx.Request] = []
    send = httpx.HTTPTransport.handle_request

    def refuse_twice(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        tries.append(request)
        if len(tries) < ATTEMPTS:
            raise httpx.ConnectError("refused", request=request)
        return send(self, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refuse_twice)
    with Client(server.url) as client:
        answer = client.predict("flights", flight=1)
    assert {request.headers["x-request-id"] for request in tries} == {answer.request_id}
    assert len(tries) == ATTEMPTS

    server.answers["/flights/predict"] = (500, {"error": {"field": "server", "message": "failed to answer"}})
    asked = len(server.asked)
    with Client(server.url) as client, pytest.raises(ServingError, match="server: failed to answer"):
        client.predict("flights", flight=1)
    assert len(server.asked) == asked + 1


def test_a_slow_answer_is_not_waited_for(server: Server) -> None:
    let_go = threading.Event()

    def slow(asked: Asked) -> tuple[int, object]:
        let_go.wait(5)
        return 200, {}

    server.answers["/slow"] = slow
    transport = Transport(server.url, 0.1, "")
    with pytest.raises(ServingError, match=r"no answer within 0.1 s"):
        transport.send("GET", "/slow")
    let_go.set()
    transport.close()


@pytest.mark.parametrize(
    ("status", "kind"), [(400, RequestError), (413, RequestError), (429, ServingError), (503, ServingError)]
)
def test_a_refusal_that_is_no_document(client: Client, server: Server, status: int, kind: type[Exception]) -> None:
    server.answers["/flights/predict"] = (status, b"<html>no</html>")
    with pytest.raises(kind, match=f"HTTP {status}: <html>no</html>"):
        client.predict("flights", flight=1)


def test_another_program_on_the_port(client: Client, server: Server) -> None:
    server.answers["/flights/predict"] = (200, b"hello")
    with pytest.raises(ServingError, match="something unexpected"):
        client.predict("flights", flight=1)


def test_importing_the_client_is_light() -> None:
    code = "import sys; from raypipe import Client; print(*sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"ray", "torch", "mlflow", "pyiceberg", "lightgbm", "onnxruntime", "sqlalchemy"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ({"value": 12.5}, "12.5"),
        ({"label": "late", "probability": 0.6, "probabilities": {"late": 0.6, "early": 0.4}}, "late 60.0%"),
    ],
)
def test_numbers_and_classes_are_answered_to_one_and_to_many(client: Client, server: Server, told, shown) -> None:
    """As the service words them, see `raypipe.serving.answers`; and as `raypipe predict` tells them."""

    def predict(asked: Asked) -> tuple[int, object]:
        about = {"request_id": "r", "model": "flights"}
        how = {"version": 3, "arm": "champion", "features_as_of": "2013-07-03T00:00:00Z"}
        many = [told | how for _ in asked.body.get("rows", [])]
        return 200, about | ({"predictions": many} if many else told | how)

    server.answers["/flights/predict"] = predict
    one, *others = client.predict("flights", flight=1), *client.predict_many("flights", [{"flight": 1}] * 2)
    for answer in (one, *others):
        assert (answer.value, answer.label) == (told.get("value"), told.get("label"))
        assert answer.probability == told.get("probability") or math.isnan(answer.probability)
        assert answer.probabilities == told.get("probabilities", {})
        assert _told(answer) == shown
        assert msgspec.json.decode(msgspec.json.encode(answer)).items() >= told.items()
        assert ("probability" in msgspec.json.decode(msgspec.json.encode(answer))) == ("probability" in told)
