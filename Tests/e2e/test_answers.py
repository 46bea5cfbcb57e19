"""Each answer of the gateway's own, to a browser and to a program: status, form, members, fields, and nothing else."""

import contextlib
import fcntl
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from support.gateway import Gateway, route
from support.processes import free_port
from support.upstream import FakeUpstream, UpstreamConnection
from support.wire import Message, read_response, responses

CANARY = "canary-7f3a"
BROWSER = "Sec-Fetch-Mode: navigate\r\nAccept: text/html,application/xhtml+xml\r\n"
PROGRAM = "Accept: application/json\r\n"
REALM = 'Bearer realm="gateway"'


@dataclass
class Case:
    """One way to be answered, and what the answer says; `fields` are regular expressions, each a whole value."""

    status: int
    code: str
    request: str
    fields: dict[str, str] = field(default_factory=dict)
    credential: str = ""
    body: str = ""
    members: dict[str, object] = field(default_factory=dict)
    #: What a page tells besides the status.
    shown: tuple[str, ...] = ()


CASES = {
    "no credential": Case(401, "authentication_required", "GET /private/x", {"WWW-Authenticate": re.escape(REALM)}),
    "no credential for a form": Case(
        401, "authentication_required", "POST /private/x", {"WWW-Authenticate": re.escape(REALM)}, shown=("Sign in",)
    ),
    "a session that is none": Case(
        401,
        "authentication_required",
        "POST /private/x",
        {"WWW-Authenticate": re.escape(REALM), "Set-Cookie": "gateway_session=;.*"},
        credential=f"Cookie: gateway_session={CANARY:_<43}",
    ),
    "a token that is none": Case(
        401,
        "invalid_token",
        "GET /private/x",
        {"WWW-Authenticate": re.escape(f'{REALM}, error="invalid_token"')},
        credential=f"Authorization: Bearer {CANARY}",
    ),
    "a token that is none where none is needed": Case(
        401,
        "invalid_token",
        "GET /optional/x",
        {"WWW-Authenticate": re.escape(f'{REALM}, error="invalid_token"')},
        credential=f"Authorization: Bearer {CANARY}.{CANARY}.{CANARY}",
    ),
    "a scope is missing": Case(
        403,
        "insufficient_scope",
        "GET /scoped",
        {"WWW-Authenticate": re.escape(f'{REALM}, error="insufficient_scope", scope="reports:write"')},
        credential="USER",
        members={"missing_scopes": ["reports:write"], "missing_roles": []},
        shown=("reports:write",),
    ),
    "a role is missing": Case(
        403,
        "insufficient_scope",
        "GET /admin/x",
        {"WWW-Authenticate": re.escape(f'{REALM}, error="insufficient_scope"')},
        credential="USER",
        members={"missing_scopes": [], "missing_roles": ["admin"]},
        shown=("admin",),
    ),
    "no route": Case(404, "not_found", f"GET /nothing?{CANARY}"),
    "no rule for the method": Case(405, "method_not_allowed", "DELETE /scoped", {"Allow": "GET, HEAD"}),
    "a body over the cap": Case(413, "content_too_large", "POST /small", body="12345"),
    "a bad escape": Case(400, "bad_request", f"GET /public/%zz{CANARY}"),
    "over a limit": Case(
        429,
        "too_many_requests",
        "GET /limited",
        {"Retry-After": "[1-9][0-9]*", "RateLimit": '"one";r=0;t=[0-9]+', "RateLimit-Policy": '"one";q=1;w=3600.*'},
    ),
    "nobody listens": Case(502, "bad_gateway", "GET /dead"),
    "an answer that is none": Case(502, "bad_gateway", "GET /garbage"),
    "the store of a limit is away": Case(503, "service_unavailable", "GET /counted", {"Retry-After": "[1-9][0-9]*"}),
    "no answer in time": Case(504, "gateway_timeout", "GET /silent"),
}
#: Fields that an answer may have; whatever else comes is a surprise.
ALWAYS = {"content-type", "content-length", "date", "cache-control", "vary", "x-content-type-options", "x-request-id"}
OF_PAGES = {"content-security-policy", "referrer-policy"}


def sends_garbage(connection: UpstreamConnection) -> None:
    connection.read_request()
    connection.send(f"{CANARY} is no status line\r\n\r\n".encode())


def keeps_silent(connection: UpstreamConnection) -> None:
    if connection.read_request():
        connection.peer.recv(1)


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway at which each case can be had, with the token of somebody who may little."""
    with FakeUpstream() as upstream, FakeUpstream(sends_garbage) as garbage, FakeUpstream(keeps_silent) as silent:
        changes = {
            "redis": {"url": f"redis://127.0.0.1:{free_port()}/0"},
            "limits": {
                "one": {"rate": "1/hour", "key": "route", "store": "memory"},
                "away": {"rate": "1/hour", "store": "redis", "on_store_error": "deny"},
            },
        }
        gateway = Gateway(tmp_path_factory.mktemp("answering"), {"raw": upstream.port}, changes)
        ports = {"garbage": garbage.port, "silent": silent.port, "dead": free_port()}
        gateway.configuration["upstreams"] |= {
            name: {"endpoints": [f"127.0.0.1:{port}"], "first_byte_timeout": "100ms"} for name, port in ports.items()
        }
        scoped = [{"methods": ["GET"], "require": {"scopes": ["reports:write"]}}]
        gateway.configuration["routes"] += [
            *(route("raw", f"/{name}", name, public=True) for name in ports),
            route("raw", "/scoped", rules=scoped),
            route("raw", "/small", public=True, body_bytes_max="4"),
            route("raw", "/limited", public=True, limit="one"),
            route("raw", "/counted", public=True, limit="away"),
        ]
        gateway.write()
        with gateway:
            gateway.token = gateway.mint()
            ask(gateway, "GET /limited", PROGRAM)
            yield gateway


def ask(gateway: Gateway, line: str, fields: str, body: str = "") -> Message:
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    head = f"{line} HTTP/1.1\r\nHost: raw.demo.localhost\r\n{fields}{length}Connection: close\r\n\r\n"
    received, closed = gateway.raw((head + body).encode(), plain=False)
    assert closed
    (answer,) = responses(received, line.split()[0])
    return answer


@pytest.mark.parametrize("asker", ["browser", "program"])
@pytest.mark.parametrize("name", CASES)
def test_an_answer_of_our_own(answering: Gateway, name: str, asker: str):
    case = CASES[name]
    credential = case.credential.replace("USER", f"Authorization: Bearer {answering.token}")
    fields = (BROWSER if asker == "browser" else PROGRAM) + (f"{credential}\r\n" if credential else "")
    answer = ask(answering, case.request, fields, case.body)
    if case.code == "authentication_required" and asker == "browser" and case.request.startswith("GET"):
        led_to_the_sign_in_page(answering, answer)
        return
    assert answer.status == case.status, answer.body
    for field_name, pattern in case.fields.items():
        assert re.fullmatch(pattern, answer.get(field_name)), f"{field_name}: {answer.get(field_name)}"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("X-Content-Type-Options") == "nosniff"
    assert re.fullmatch("[0-9a-f]{32}", answer.get("X-Request-Id"))
    expected = ALWAYS | {name.lower() for name in case.fields} | {"connection"}
    (a_page if asker == "browser" else a_document)(answer, case)
    expected |= OF_PAGES if asker == "browser" else set()
    assert {name.lower() for name, _ in answer.fields} <= expected
    tells_nothing(answering, answer)


def led_to_the_sign_in_page(gateway: Gateway, answer: Message) -> None:
    assert answer.status == 302
    assert answer.body == b""
    location = urlsplit(answer.get("Location"))
    assert f"{location.scheme}://{location.netloc}{location.path}" == gateway.url("iam", "/auth/login")
    assert parse_qs(location.query) == {"rd": [gateway.url("raw", "/private/x")]}
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("WWW-Authenticate") is None, "a browser would ask for a password of its own"


def a_document(answer: Message, case: Case) -> None:
    assert answer.get("Content-Type") == "application/json"
    said = json.loads(answer.body)
    members = {"error", "message", "request_id", *case.members}
    members |= {"login_url"} if case.status == 401 else set()
    assert said.keys() == members
    assert said["error"] == case.code
    assert said["message"].endswith((".", "!")) and len(said["message"]) < 100
    assert said["request_id"] == answer.get("X-Request-Id")
    assert {name: said[name] for name in case.members} == case.members


def a_page(answer: Message, case: Case) -> None:
    assert answer.get("Content-Type") == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in answer.get("Content-Security-Policy").split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", policy["style-src"])
    assert "script-src" not in policy
    assert answer.get("Referrer-Policy") == "no-referrer"
    page = answer.body.decode()
    assert page.startswith("<!doctype html>")
    assert f"<title>{case.status} " in page
    assert answer.get("X-Request-Id") in page
    assert not re.search(r"<(script|img|iframe|form|link|object)|\son\w+=", page, re.IGNORECASE)
    assert all(text in page for text in case.shown)


def tells_nothing(gateway: Gateway, answer: Message) -> None:
    """Neither what was sent, nor what stands behind."""
    ports = [of["endpoints"][0].rpartition(":")[2] for of in gateway.configuration["upstreams"].values()]
    secret = [CANARY, gateway.token, "redis", str(gateway.folder), "AuthGateway", "127.0.0.1", *ports]
    text = "\n".join([*(f"{name}: {value}" for name, value in answer.fields), answer.body.decode()])
    # The port of the sign-in page is ours, and may hold the digits of another.
    text = text.replace(gateway.url("iam"), "")
    text = re.sub("[0-9a-f]{32}", "", text)
    assert not [word for word in secret if word in text], text
    assert answer.get("Server") is None
    assert answer.get("Location") is None


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].request.startswith("GET")])
def test_head_gets_the_same_fields_and_no_body(answering: Gateway, name: str):
    case = CASES[name]
    credential = case.credential.replace("USER", f"Authorization: Bearer {answering.token}")
    line = case.request.replace("GET", "HEAD")
    answer = ask(answering, line, PROGRAM + (f"{credential}\r\n" if credential else ""))
    assert answer.status == case.status
    assert answer.get("Content-Type") == "application/json"
    for field_name in case.fields:
        assert answer.get(field_name)


@pytest.mark.parametrize(
    ("line", "fields", "is_navigation"),
    [
        ("GET", "Sec-Fetch-Mode: navigate\r\n", True),
        ("GET", "Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", False),
        ("GET", "Sec-Fetch-Mode: no-cors\r\nAccept: text/html\r\n", False),
        ("GET", "Accept: text/html\r\n", True),
        ("GET", "Accept: application/xml, text/html;q=0.9\r\n", True),
        ("GET", "Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n", False),
        ("GET", "Accept: */*\r\n", False),
        ("GET", "", False),
        ("POST", "Accept: text/html\r\n", False),
        ("POST", "Sec-Fetch-Mode: navigate\r\n", True),
    ],
)
def test_who_is_a_browser_that_navigates(answering: Gateway, line: str, fields: str, is_navigation: bool):
    answer = ask(answering, f"{line} /nothing", fields)
    assert answer.get("Content-Type").startswith("text/html") == is_navigation


# The store of sessions is busy

#: The bytes of SQLite's shared-memory file that stand for its readers (walindex.html, section 2.3.2).
READERS_FIRST, READERS_COUNT = 123, 5
LOOK_UPS_MAX = 256


@contextlib.contextmanager
def readers_wait(database: Path) -> Iterator[None]:
    """Holds each place for a reader, as a program does that recovers the database: whoever reads waits."""
    with Path(f"{database}-shm").open("r+b") as shared:
        fcntl.lockf(shared, fcntl.LOCK_EX, READERS_COUNT, READERS_FIRST)
        try:
            yield
        finally:
            fcntl.lockf(shared, fcntl.LOCK_UN, READERS_COUNT, READERS_FIRST)


def test_more_look_ups_of_sessions_than_may_wait_are_503(upstream: FakeUpstream, start_gateway: Callable[..., Gateway]):
    """256 of a worker wait for the store; the next one is told at once, and neither signed out nor sent to sign in."""
    own = start_gateway({"raw": upstream.port}, {"workers": 1})
    real = own.sign_in("user@example.com").cookies["gateway_session"]

    def request(cookie: str, fields: str = "") -> bytes:
        head = (
            f"GET /private/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nCookie: gateway_session={cookie}\r\n{fields}\r\n"
        )
        return head.encode()

    with contextlib.ExitStack() as stack:
        with readers_wait(own.folder / "gateway.db"):
            waiting = [stack.enter_context(own.connect()) for _ in range(LOOK_UPS_MAX)]
            for number, peer in enumerate(waiting):
                peer.sendall(request(real if number == 0 else secrets.token_urlsafe(32)))
            with own.connect() as first:
                # Until all of them have been read, this one would be the last that may wait.
                while _misses(own) < LOOK_UPS_MAX:
                    pass
                for fields in ("", BROWSER):
                    first.sendall(request(real, fields))
                    answer = read_response(first)
                    assert answer.status == 503
                    assert int(answer.get("Retry-After")) >= 1
                    assert (answer.get("Set-Cookie"), answer.get("Location")) == (None, None)
                first.sendall(b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n")
                assert read_response(first).status == 200, "what needs no session goes on"
        statuses = [read_response(peer, timeout=20).status for peer in waiting]
    assert statuses == [200] + [401] * (LOOK_UPS_MAX - 1), "who waited got an answer"
    reasons = [event.get("reason") for event in own.events()]
    assert reasons.count("session_store_overload") == 2
    received, _ = own.raw(request(real, "Connection: close\r\n"))
    assert responses(received)[0].status == 200


def _misses(gateway: Gateway) -> float:
    return gateway.metrics()['auth_cache_lookups_total{cache="session",outcome="miss"}']
