"""Keys: none, bad, ended, of another scope, too often; the same over HTTP and gRPC."""

import asyncio
import base64
import time
from pathlib import Path

import grpc
import httpx
import pytest

from raypipe.cli.main import main
from raypipe.clock import ManualClock
from raypipe.errors import RequestError, ServingError, SettingsError
from raypipe.serving import access as module
from raypipe.serving.access import Guard, Keyring
from raypipe.serving.app import App
from raypipe.serving.engine import Engine
from raypipe.serving.meter import Meter
from tests.serving.grpc_caller import QUESTION, over_grpc
from tests.serving.test_parse import GOOD


@pytest.fixture
def ring(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Keyring:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    return Keyring(tmp_path / "serving", clock)


@pytest.fixture
def guard(ring: Keyring, clock: ManualClock) -> Guard:
    return Guard(ring, clock, required=False)


def status(guard: Guard, token: str, scope: module.Scope = "predict", scheme: str = "Bearer ") -> int:
    try:
        guard.check((scheme + token).encode("latin-1", "replace"), scope)
    except RequestError as error:
        return 500 if len(token) > 9 and token in str(error) else error.status
    return 200


def test_the_first_key_closes_the_door_and_required_is_closed_from_the_start(
    ring: Keyring, guard: Guard, clock: ManualClock
) -> None:
    assert status(guard, "") == 200
    assert status(Guard(ring, clock, required=True), "") == 401
    token = ring.add("airline")
    assert (status(guard, ""), status(guard, token)) == (401, 200)
    ring.revoke(token.split("_")[1])
    assert (status(guard, token), status(guard, "")) == (401, 401)
    ring.path.unlink()
    assert status(guard, "") == 401, "a file that is gone opens nothing"


def test_what_is_no_key_is_refused(ring: Keyring, guard: Guard) -> None:
    token = ring.add("airline")
    _, id_, secret = token.split("_", 2)
    wrong = ["", "rp_", token[:-1], token + "x", f"rp_{id_}_", f"rp_00000000_{secret}", f"xx_{id_}_{secret}", "é" * 99]
    assert {status(guard, one) for one in wrong} == {401}
    assert status(guard, token, scheme="Token ") == 401
    basic = base64.b64encode(f"{id_}:{secret}".encode()).decode()
    assert status(guard, basic, scheme="Basic ") == 200
    assert {status(guard, one, scheme="Basic ") for one in ("x", "é", basic[:-8])} == {401}


def test_scopes_rates_and_ends(
    ring: Keyring, guard: Guard, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, boss = ring.add("reader", ("feedback",)), ring.add("boss", ("admin",))
    assert (status(guard, reader), status(guard, reader, "feedback")) == (403, 200)
    assert [status(guard, boss, scope) for scope in module.SCOPES] == [200] * 3
    now = time.monotonic() + 1
    monkeypatch.setattr("time.monotonic", lambda: now)
    slow = ring.add("slow", rate=2)
    assert [status(guard, slow) for _ in range(4)] == [200, 200, 429, 429]
    now += 0.5
    assert [status(guard, slow) for _ in range(2)] == [200, 429]
    ring.revoke(slow.split("_")[1], at=clock.now() + 10)
    now += 10
    assert status(guard, slow) == 200
    clock.advance(10)
    assert status(guard, slow) == 401


def test_only_hashes_are_kept_for_their_owner_alone(ring: Keyring) -> None:
    token = ring.add("airline")
    assert token.split("_", 2)[2] not in ring.path.read_text()
    assert ring.path.stat().st_mode & 0o077 == 0
    for make in (lambda: ring.add("x", ("root",)), lambda: ring.add("x", rate=-1), lambda: ring.revoke("none")):  # type: ignore[arg-type]
        with pytest.raises(SettingsError):
            make()
    ring.path.write_text("{")
    with pytest.raises(ServingError, match="cannot be read"):
        ring.all()


def test_the_same_over_http_and_grpc(engine: Engine, meter: Meter, ring: Keyring, guard: Guard) -> None:
    app = App("late", meter, guard=guard)
    app.hold(engine)
    good, other = ring.add("airline"), ring.add("labels", ("feedback",))

    def asked(path: str, token: str, method: str = "POST") -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
                return await http.request(method, path, json=GOOD, headers={"Authorization": f"Bearer {token}"})

        return asyncio.run(ask())

    def grpc_code(token: str) -> grpc.StatusCode | None:
        answer = over_grpc(app, meter, "ModelInfer", metadata=(("authorization", f"Bearer {token}"),), **QUESTION)
        return answer.code() if isinstance(answer, grpc.aio.AioRpcError) else None

    for token, expected, code in (
        ("", 401, grpc.StatusCode.UNAUTHENTICATED),
        ("rp_x_y", 401, grpc.StatusCode.UNAUTHENTICATED),
        (other, 403, grpc.StatusCode.PERMISSION_DENIED),
        (good, 200, None),
    ):
        assert asked("/late/predict", token).status_code == expected
        assert grpc_code(token) is code
        for path in ("/late", "/late/docs", "/late/openapi.json", "/late/v2", "/late/v2/models/late", "/late/version"):
            assert asked(path, token, "GET").status_code == expected
    assert "Bearer" in asked("/late/predict", "").headers["www-authenticate"]
    for path in ("/late/health", "/late/ping", "/late/v2/health/live", "/late/v2/health/ready"):
        assert asked(path, "", "GET").status_code == 200


def test_commands(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "add", "airline", "--scope", "predict", "--rate", "5", "--for", "90d"]) == 0
    token = capsys.readouterr().out.splitlines()[0]
    assert main(["keys", "list"]) == 0
    shown = capsys.readouterr().out
    assert "airline" in shown
    assert token.split("_", 2)[2] not in shown
    assert main(["keys", "revoke", token.split("_")[1], "--after", "1d"]) == 0
    assert "(airline) ends at" in capsys.readouterr().out
    assert main(["keys", "add", "x", "--for", "soon"]) == 2
