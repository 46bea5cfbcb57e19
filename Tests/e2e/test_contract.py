"""The gateway of `examples/contract`: the paths, shapes, names and the cookie `session` that clients were promised."""

import itertools
import json
import re
import shutil
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import wire
from support.gateway import ACCOUNTS, binary, certificates, environment
from support.processes import ROOT, Program, free_port
from support.upstream import FakeUpstream

IAM, PORTAL = "iam.yourdomain.com", "portal.yourdomain.com"
LIFETIME_SECONDS = 8 * 3600
USER = "user@example.com"


class Contract:
    """The running gateway, spoken to by exact bytes: its hosts are names that only DNS would know."""

    def __init__(self, folder: Path, portal: FakeUpstream):
        self.port, self.admin_port = free_port(), free_port()
        self.folder = folder
        self.portal = portal
        self.addresses = itertools.cycle(range(1, 255))
        shutil.copy(ROOT / "examples/contract/gateway.yaml", folder)
        (folder / "tls").mkdir()
        for name in ("cert.pem", "key.pem"):
            shutil.copy(certificates() / name, folder / "tls")
        self.tls = ssl.create_default_context(cafile=str(certificates() / "ca.pem"))
        self.tls.check_hostname = False  # The certificate is that of the other tests' hosts.

    def start(self) -> Program:
        variables = environment(
            PORT=str(self.port),
            PORTAL_ADDRESS=f"127.0.0.1:{self.portal.port}",
            GATEWAY_ADMIN__ADDRESS=f"127.0.0.1:{self.admin_port}",
        )
        program = Program([binary(), "run", "--dev"], self.folder / "gateway.log", variables, cwd=self.folder)
        program.wait_until_it_listens(self.port)
        return program

    def ask(self, host: str, line: str, cookie: str | None = None, body: object = None) -> wire.Message:
        fields = [f"Host: {host}", "Connection: close", "Accept: application/json"]
        fields += [f"Cookie: session={cookie}"] if cookie is not None else []
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            fields += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
        head = "\r\n".join([f"{line} HTTP/1.1", *fields, "", ""]).encode()
        # Each from an address of its own: sign-in is limited by address, which is another test's business.
        with wire.connect(self.port, self.tls, host, source=f"127.2.0.{next(self.addresses)}") as peer:
            peer.sendall(head + data)
            received, _ = wire.read_all(peer)
        (answer,) = wire.responses(received, line.split()[0])
        return answer

    def sign_in(self, username: str = USER, password: str | None = None) -> wire.Message:
        body = {"username": username, "password": password or ACCOUNTS[username]}
        return self.ask(IAM, "POST /api/auth/login", body=body)


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contract]:
    with FakeUpstream() as portal:
        contract = Contract(tmp_path_factory.mktemp("contract"), portal)
        program = contract.start()
        yield contract
        assert program.stop() == 0
        assert not portal.errors


def session_of(answer: wire.Message) -> str:
    (line,) = answer.all("Set-Cookie")
    name, _, value = line.partition(";")[0].partition("=")
    assert name == "session"
    return value


@pytest.fixture(scope="module")
def signed_in(contract: Contract) -> wire.Message:
    return contract.sign_in()


def test_EP01_sign_in(contract: Contract, signed_in: wire.Message):
    assert (signed_in.status, signed_in.get("Content-Type")) == (200, "application/json")
    said = json.loads(signed_in.body)
    assert said.keys() == {"status", "user", "session_token", "expires_at"}
    assert said["status"] == "success"
    assert said["user"].keys() == {"user_id", "username", "display_name", "email", "roles"}
    assert type(said["user"]["user_id"]) is int
    assert (said["user"]["username"], said["user"]["email"], said["user"]["roles"]) == ("user", USER, ["user"])
    assert said["session_token"] == session_of(signed_in)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said["expires_at"])
    left = (datetime.fromisoformat(said["expires_at"]) - datetime.now(UTC)).total_seconds()
    assert LIFETIME_SECONDS - 60 < left <= LIFETIME_SECONDS + 1
    (cookie,) = signed_in.all("Set-Cookie")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/", "domain=yourdomain.com"} <= attributes


def test_EP01_by_name_is_the_same_account(contract: Contract, signed_in: wire.Message):
    answer = contract.ask(IAM, "POST /api/auth/login", body={"username": "pm", "password": ACCOUNTS["pm@example.com"]})
    assert answer.status == 200
    assert json.loads(answer.body)["user"]["email"] == "pm@example.com"


def test_EP01_refused(contract: Contract):
    for username, password in (("sales@example.com", "wrong"), ("nobody@example.com", "wrong")):
        answer = contract.sign_in(username, password)
        assert answer.status == 401
        assert json.loads(answer.body) == {"status": "error", "message": "Invalid credentials"}
        assert not answer.all("Set-Cookie")


def test_EP02_verify(contract: Contract, signed_in: wire.Message):
    user = json.loads(signed_in.body)["user"]
    answer = contract.ask(IAM, "GET /api/auth/verify", session_of(signed_in))
    assert answer.status == 200
    assert json.loads(answer.body) == {
        "authenticated": True,
        "user": {name: user[name] for name in ("user_id", "username", "roles")},
    }


@pytest.mark.parametrize("cookie", [None, "", "x", "A" * 43])
def test_EP02_nobody_is_signed_in(contract: Contract, cookie: str | None):
    answer = contract.ask(IAM, "GET /api/auth/verify", cookie)
    assert (answer.status, json.loads(answer.body)) == (200, {"authenticated": False})


def test_the_session_opens_the_portal_and_stays_here(contract: Contract, signed_in: wire.Message):
    contract.portal.forget()
    cookie = session_of(signed_in)
    assert contract.ask(PORTAL, "GET /x", cookie).status == 200
    request = contract.portal.requests[0]
    assert (request.get("X-Auth-User"), request.get("X-Auth-Roles")) == ("user", "user")
    assert request.get("Cookie") is None
    assert cookie.encode() not in contract.portal.everything_received()


def test_EP16_a_protected_route_by_the_scopes_of_a_role(contract: Contract, signed_in: wire.Message):
    contract.portal.forget()
    assert contract.ask(PORTAL, "GET /api/v1/schemas").status == 401
    assert contract.ask(PORTAL, "GET /api/v1/schemas", session_of(signed_in)).status == 403
    assert not contract.portal.requests
    admin = session_of(contract.sign_in("admin@example.com"))
    assert contract.ask(PORTAL, "GET /api/v1/schemas", admin).status == 200, "api:*:read holds api:schemas:read"


def test_no_other_name_is_the_cookie(contract: Contract, signed_in: wire.Message):
    cookie = session_of(signed_in)
    for name in ("Session", "SESSION", "session_token", "gateway_session", "__Host-gateway_session", "__Host-session"):
        head = f"GET /x HTTP/1.1\r\nHost: {PORTAL}\r\nConnection: close\r\nCookie: {name}={cookie}\r\n\r\n".encode()
        received, _ = wire.raw(contract.port, head, contract.tls, PORTAL)
        assert wire.responses(received)[0].status == 401, name


def test_EP03_sign_out(contract: Contract):
    cookie = session_of(contract.sign_in("legal@example.com"))
    # On enough connections for every worker to remember it.
    assert {contract.ask(PORTAL, "GET /x", cookie).status for _ in range(20)} == {200}
    answer = contract.ask(IAM, "POST /api/auth/logout", cookie)
    assert answer.status == 200
    assert json.loads(answer.body) == {"status": "success", "message": "Logged out"}
    (cleared,) = answer.all("Set-Cookie")
    assert cleared.startswith("session=;") and "max-age=0" in cleared.lower()
    assert {contract.ask(PORTAL, "GET /x", cookie).status for _ in range(20)} == {401}
    assert json.loads(contract.ask(IAM, "GET /api/auth/verify", cookie).body) == {"authenticated": False}


def test_EP09_health(contract: Contract):
    answer = contract.ask(IAM, "GET /healthz")
    said = json.loads(answer.body)
    assert answer.status == 200
    assert said.keys() == {"status", "service", "database", "version"}
    assert (said["status"], said["service"], said["database"]) == ("ok", "IAM", "connected")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", said["version"])


def test_EP14_keys(contract: Contract):
    answer = contract.ask(IAM, "GET /.well-known/jwks.json")
    assert answer.status == 200
    keys = json.loads(answer.body)["keys"]
    assert keys
    for key in keys:
        assert (key["kty"], key["crv"], key["alg"], key["use"]) == ("EC", "P-256", "ES256", "sig")
        assert key["kid"] and key["x"] and key["y"]
        assert not {"d", "k", "p", "q"} & key.keys(), "a private part is published"


def test_the_limits_of_the_contract_hold_for_the_api_alone(contract: Contract):
    policies = contract.ask(IAM, "GET /api/auth/verify").all("RateLimit-Policy")
    counts = {int(re.search(r";q=(\d+)", policy)[1]) for policy in policies}
    assert counts == {200, 50}
    assert not contract.ask(IAM, "GET /healthz").all("RateLimit-Policy")
