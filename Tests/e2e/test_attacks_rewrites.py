"""What was decided is what the application serves: no field moves path, method or user afterwards (R03, R07)."""

import random
from collections.abc import Iterator

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
