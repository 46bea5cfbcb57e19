"""What was decided is what the application serves: no field moves path, method or user afterwards (R03, R07)."""

import random
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from support.gateway import Gateway
from support.spellings import MANAGED, folded, of_name
from support.upstream import FakeUpstream
from support.wire import raw, responses

#: Fields by which common frameworks, servers and middlewares take another path, prefix, method or proxy.
MOVERS = (
    "SCRIPT_NAME",
    "PATH_INFO",
    "Script-Name",
    "Path-Info",
    "X-Script-Name",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "Proxy",
)


@pytest.fixture(scope="module", params=["drop", "pass"])
def underscores(
    request, flask_port: int, raw_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway before the real Flask, by what it does with underscores in names."""
    gateway = Gateway(tmp_path_factory.mktemp(request.param), {"flask": flask_port, "raw": raw_upstream.port})
    for listener in gateway.configuration["listeners"][:2]:
        listener["underscore_headers"] = request.param
    gateway.write()
    with gateway:
        yield gateway


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script_Name", "script_name", "PATH_INFO", "Path_Info"])
def test_R07_the_server_of_the_real_flask_is_not_told_another_path(underscores: Gateway, name: str):
    for target, value in (("/x/reports", "/x"), ("/x", "/reports"), ("/reports/../x/reports", "/x"), ("/x", "/x")):
        head = f"GET {target} HTTP/1.1\r\nHost: open.demo.localhost\r\nConnection: close\r\n{name}: {value}\r\n\r\n"
        received, _ = underscores.raw(head.encode())
        assert responses(received)[0].status in (401, 404), (target, value)


@pytest.mark.parametrize("name", MOVERS)
def test_no_spelling_of_a_field_that_moves_the_request_passes(
    underscores: Gateway, raw_upstream: FakeUpstream, name: str
):
    raw_upstream.forget()
    chance = random.Random(2026)
    names = sorted({spelling for spelling in of_name(name.replace("_", "-"), chance) if spelling.isascii()} | {name})
    for start in range(0, len(names), 40):
        fields = "".join(f"{spelling}: /moved\r\n" for spelling in names[start : start + 40])
        head = f"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n{fields}\r\n"
        received, _ = underscores.raw(head.encode())
        assert responses(received)[0].status in (200, 400)
    passed = {field for request in raw_upstream.requests for field, value in request.fields if value == "/moved"}
    assert not passed


def test_R20_with_underscores_let_through_no_managed_name_is(underscores: Gateway, raw_upstream: FakeUpstream):
    raw_upstream.forget()
    chance = random.Random(2027)
    names = sorted({spelling for name in MANAGED for spelling in of_name(name, chance)})
    for start in range(0, len(names), 60):
        fields = "".join(f"{spelling}: forged\r\n" for spelling in names[start : start + 60])
        head = f"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n{fields}\r\n"
        received, _ = underscores.raw(head.encode())
        assert responses(received)[0].status == 200
    managed = {folded(name) for name in MANAGED}
    assert not {
        field
        for request in raw_upstream.requests
        for field, value in request.fields
        if value == "forged" and folded(field) in managed
    }


EVIL = "evil.example"
#: What a client may say about the host, the scheme and the way back, by field.
ELSEWHERE = {
    "X-Forwarded-Host": (EVIL, f"raw.demo.localhost,{EVIL}", f"{EVIL}:443"),
    "X-Forwarded-Proto": ("javascript", f"https://{EVIL}"),
    "X-Forwarded-Port": ("1", f"1@{EVIL}"),
    "X-Forwarded-Prefix": (f"//{EVIL}", f"https://{EVIL}"),
    "X-Forwarded-Uri": (f"//{EVIL}/",),
    "X-Original-Host": (EVIL,),
    "X-Original-URL": (f"https://{EVIL}/",),
    "X-Host": (EVIL,),
    "Forwarded": (f"host={EVIL};proto=javascript", f'for=127.0.0.1;host="{EVIL}"'),
    "Referer": (f"https://{EVIL}/",),
    "X-Rewrite-URL": (f"https://{EVIL}/",),
    "X-Auth-Redirect": (f"https://{EVIL}/",),
}
#: Requests whose answers hold an absolute URL: to sign in, to come back, to change to TLS.
LINKING = {
    "sent to sign in": ("raw", "GET", "/private/x", "Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"),
    "told where to sign in": ("raw", "GET", "/private/x", "Accept: application/json\r\n"),
    "a page with a link": ("raw", "POST", "/private/x", "Sec-Fetch-Mode: navigate\r\n"),
    "our own path": ("raw", "GET", "/.gateway/login", ""),
    "the sign-in page": ("iam", "GET", "/auth/login?rd=/x", "Accept: text/html\r\n"),
    "the sign-out page": ("iam", "GET", "/auth/logout", "Accept: text/html\r\n"),
    "the plain redirect": ("raw", "GET", "/x", ""),
}


@pytest.mark.parametrize("case", LINKING)
def test_R31_no_field_of_a_request_is_in_a_link(underscores: Gateway, case: str):
    host, method, target, more = LINKING[case]
    port = underscores.redirect_port if case == "the plain redirect" else underscores.plain_port
    chance = random.Random(31)
    fields = [
        f"{spelling}: {value}\r\n"
        for name, values in ELSEWHERE.items()
        for spelling in sorted(set(of_name(name, chance)))[::4]
        for value in values
    ]
    assert len(fields) > 200
    answers = []
    for at in range(0, len(fields), 40):
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}.demo.localhost\r\n{more}Connection: close\r\n"
        received, _ = raw(port, (head + "".join(fields[at : at + 40]) + "\r\n").encode())
        assert EVIL.encode() not in received and b"javascript" not in received, received
        answers.append(responses(received, method)[0])
    received, _ = raw(port, (head + "\r\n").encode())
    unforged = responses(received, method)[0]
    # The same answer as without them, but for what is new each time.
    for answer in answers:
        assert (answer.status, answer.get("Location")) == (unforged.status, unforged.get("Location"))


@pytest.mark.parametrize("port", ["", ":1", ":80", ":443", ":65535"])
def test_R31_the_way_back_is_a_place_of_ours(underscores: Gateway, port: str):
    for listener_port in (underscores.plain_port, underscores.redirect_port):
        for host in ("raw.demo.localhost", "RAW.demo.localhost", "raw.demo.localhost."):
            head = f"GET /private/x HTTP/1.1\r\nHost: {host}{port}\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n"
            answer = responses(raw(listener_port, f"{head}\r\n".encode())[0])[0]
            location = urlsplit(answer.get("Location"))
            assert location.hostname in ("iam.demo.localhost", "raw.demo.localhost")
            assert location.port == underscores.https_port
            for back in parse_qs(location.query).get("rd", []):
                assert urlsplit(back).hostname == "raw.demo.localhost"
                assert urlsplit(back).port == underscores.plain_port


def test_R31_the_plain_redirect_leads_to_hosts_of_the_routes_alone(underscores: Gateway):
    for host, target, status in (
        ("raw.demo.localhost", "/x?y", 308),
        ("evil.example", "/", 404),
        ("raw.demo.localhost", "http://evil.example/", 404),
        ("raw.demo.localhost@evil.example", "/", 400),
        ("raw.demo.localhost", "//evil.example/", 400),
        ("raw.demo.localhost", "/..//evil.example/", 400),
        ("raw.demo.localhost", "/\\evil.example/", 400),
        ("raw.demo.localhost.evil.example", "/", 404),
    ):
        head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = responses(raw(underscores.redirect_port, head.encode())[0])[0]
        assert answer.status == status, (host, target)
        location = answer.get("location") or "https://raw.demo.localhost:"
        assert location.startswith("https://raw.demo.localhost:")
