"""What RFC 9110 and 9112 want of whoever stands between two: Via, Max-Forwards, OPTIONS, Date, TE, the codings of 426.

Over either version, and what goes upstream is read by the strict parser of these tests.
"""

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest
from support.clients import VERSIONS, Client, OverHTTP2, client_of
from support.gateway import Gateway, route
from support.upstream import FakeUpstream, answer_always
from support.wire import responses

HTTP_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3]\d [A-Z][a-z]{2} \d{4} [0-2]\d(:[0-5]\d){2} GMT")
HEAD = "Host: raw.demo.localhost\r\nConnection: close\r\n"


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Client]:
    with client_of(request.param, gateway) as client:
        yield client


# 7.6.3: Via


def test_9110_7_6_3_each_request_says_which_way_it_came(client: Client, raw_upstream: FakeUpstream):
    received = "2.0" if client.version == "HTTP/2" else "1.1"
    assert client.ask("/public/x").status == 200
    assert raw_upstream.requests[-1].all("via") == [f"{received} auth-gateway"]
    assert client.ask("/public/x", [("Via", "1.0 fred, 1.1 p.example")]).status == 200
    assert raw_upstream.requests[-1].all("via") == ["1.0 fred, 1.1 p.example", f"{received} auth-gateway"]


# 9.3.7, 7.6.2: OPTIONS and Max-Forwards


@pytest.mark.parametrize("count", ["1", "2", "10", "007", "18446744073709551615"])
def test_9110_7_6_2_max_forwards_of_OPTIONS_is_counted_down(client: Client, raw_upstream: FakeUpstream, count: str):
    assert client.ask("/public/x", [("Max-Forwards", count)], method="OPTIONS").status == 200
    assert raw_upstream.requests[-1].all("max-forwards") == [str(int(count) - 1)]


@pytest.mark.parametrize("count", ["0", "00"])
def test_9110_7_6_2_none_left_is_answered_here(client: Client, raw_upstream: FakeUpstream, count: str):
    answer = client.ask("/public/x", [("Max-Forwards", count)], method="OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert "GET" in answer.get("allow").split(", ")
    assert answer.get("content-length") is None
    # Whoever may not ask the application learns nothing here either.
    assert client.ask("/private/x", [("Max-Forwards", "0")], method="OPTIONS").status == 401
    assert client.ask("/nothing", [("Max-Forwards", "0")], method="OPTIONS").status == 404
    assert not raw_upstream.requests


@pytest.mark.parametrize("count", ["", "-1", "+1", "x", "1.0", "0x1", "1, 2", "1 1", "18446744073709551616"])
def test_9110_7_6_2_a_count_that_is_none_is_refused(client: Client, raw_upstream: FakeUpstream, count: str):
    assert client.ask("/public/x", [("Max-Forwards", count)], method="OPTIONS").status == 400
    assert not raw_upstream.requests


@pytest.mark.parametrize("counts", ["5 5", "5 0", "0 5", "5 x"])
@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "GET"])
def test_9110_7_6_2_two_counts_are_none(client: Client, raw_upstream: FakeUpstream, method: str, counts: str):
    fields = [("Max-Forwards" if number else "max-forwards", count) for number, count in enumerate(counts.split())]
    assert client.ask("/public/x", fields, method=method).status == 400
    assert client.ask("/public/x", [fields[0], ("Accept", "*/*"), fields[1]], method=method).status == 400
    assert not raw_upstream.requests


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH"])
def test_9110_7_6_2_for_other_methods_it_means_nothing(client: Client, raw_upstream: FakeUpstream, method: str):
    assert client.ask("/public/x", [("Max-Forwards", "0")], method=method).status == 200
    assert raw_upstream.requests[-1].all("max-forwards") == ["0"]


def test_9110_9_3_7_OPTIONS_of_the_server_is_answered_here(client: Client, raw_upstream: FakeUpstream):
    for host in ("raw.demo.localhost", "nobody.demo.localhost"):
        answer = client.ask("*", method="OPTIONS", host=host)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.get("allow") == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
    for target in ("*x", "*?", "*/", "**"):
        assert client.ask(target, method="OPTIONS").status in (400, None)
    for method in ("GET", "POST", "options"):
        assert client.ask("*", method=method).status in (400, None)
    assert not raw_upstream.requests


def test_9112_3_2_4_a_url_without_a_path_is_the_server_for_OPTIONS_alone(gateway: Gateway, raw_upstream: FakeUpstream):
    def ask(line: str) -> int:
        return responses(gateway.raw(f"{line} HTTP/1.1\r\n{HEAD}\r\n".encode())[0])[0].status

    assert ask("OPTIONS http://raw.demo.localhost") == 204
    assert ask("OPTIONS http://raw.demo.localhost:80") == 204
    # Neither a path nor a query may be there; `/` has no route here.
    assert ask("OPTIONS http://raw.demo.localhost/") == 404
    assert ask("OPTIONS http://raw.demo.localhost?x") == 404
    assert ask("OPTIONS http://raw.demo.localhost?") == 404
    assert ask("GET http://raw.demo.localhost") == 404
    assert not raw_upstream.requests


def test_9110_9_3_8_TRACE_is_refused_with_what_is_not(client: Client, raw_upstream: FakeUpstream):
    """It would show an application's identity fields to whoever asks."""
    for fields in ([], [("Max-Forwards", "0")], [("Max-Forwards", "5")]):
        answer = client.ask("/public/x", fields, method="TRACE")
        assert answer.status == 405
        allowed = answer.get("allow").split(", ")
        assert "GET" in allowed and "TRACE" not in allowed
    assert not raw_upstream.requests


# 6.6.1: Date


@pytest.mark.parametrize("version", VERSIONS)
def test_9110_6_6_1_an_answer_without_a_date_gets_one(start_gateway, upstream: FakeUpstream, version: str):
    own = start_gateway({"raw": upstream.port})
    for status, fields in (("200 OK", "Content-Length: 0"), ("204 x", "A: b"), ("404 x", "Transfer-Encoding: chunked")):
        end = "0\r\n\r\n" if "chunked" in fields else ""
        upstream.script = answer_always(f"HTTP/1.1 {status}\r\n{fields}\r\nConnection: close\r\n\r\n{end}".encode())
        with client_of(version, own) as client:
            said = client.ask("/public/x").get("date")
        assert HTTP_DATE.fullmatch(said)
        assert parsedate_to_datetime(said)


@pytest.mark.parametrize("version", VERSIONS)
def test_9110_6_6_1_a_date_stays_as_it_is(start_gateway, upstream: FakeUpstream, version: str):
    own = start_gateway({"raw": upstream.port})
    for date in ("Sun, 06 Nov 1994 08:49:37 GMT", "yesterday", ""):
        upstream.script = answer_always(
            f"HTTP/1.1 103 x\r\nLink: </a>\r\n\r\nHTTP/1.1 200 x\r\nDate: {date}\r\nContent-Length: 0\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        with client_of(version, own) as client:
            assert client.ask("/public/x").get("date") == date


# 15.5.22: 426


def upgrade_required(fields: str, start_gateway, upstream: FakeUpstream) -> Gateway:
    upstream.script = answer_always(f"HTTP/1.1 426 x\r\n{fields}Content-Length: 2\r\n\r\nno".encode())
    return start_gateway({"raw": upstream.port})


@pytest.mark.parametrize("closes", [True, False])
def test_9110_15_5_22_426_says_to_what(start_gateway, upstream: FakeUpstream, closes: bool):
    own = upgrade_required("Connection: Upgrade\r\nUpgrade: websocket\r\n", start_gateway, upstream)
    option = "Connection: close\r\n" if closes else ""
    request = f"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n{option}\r\n"
    last = f"GET /nothing HTTP/1.1\r\n{HEAD}\r\n"
    answer, *others = responses(own.raw((request + ("" if closes else last)).encode())[0])
    assert (answer.status, answer.body, answer.get("upgrade")) == (426, b"no", "websocket")
    assert answer.all("connection") == (["upgrade", "close"] if closes else ["upgrade"])
    assert [other.status for other in others] == ([] if closes else [404])


@pytest.mark.parametrize("offer", ["h2c", "TLS/1.2", "websocket, h2c"])
def test_426_offers_nothing_that_would_not_pass(start_gateway, upstream: FakeUpstream, offer: str):
    own = upgrade_required(f"Connection: Upgrade\r\nUpgrade: {offer}\r\n", start_gateway, upstream)
    (answer,) = responses(own.raw(f"GET /public/x HTTP/1.1\r\n{HEAD}\r\n".encode())[0])
    assert (answer.status, answer.get("upgrade"), answer.all("connection")) == (426, None, ["close"])


def test_9113_8_2_2_over_http2_426_has_no_upgrade(start_gateway, upstream: FakeUpstream):
    own = upgrade_required("Connection: Upgrade\r\nUpgrade: websocket\r\n", start_gateway, upstream)
    with OverHTTP2(own) as client:
        answer = client.ask("/public/x")
    assert (answer.status, answer.body) == (426, b"no")
    assert not {name for name, _ in answer.fields} & {"upgrade", "connection"}


# 6.5.1, 10.1.4: trailers of an answer


@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        ("TE: trailers\r\nConnection: TE\r\n", True),
        ("TE: trailers\r\n", True),
        ("TE: gzip, Trailers\r\n", True),
        ("TE: gzip\r\nTE: trailers\r\n", True),
        ("", False),
        ("TE:\r\n", False),
        ("TE: gzip, deflate;q=0.5\r\n", False),
        ("TE: xtrailers, trailersx, trailer\r\n", False),
        ("Trailer: trailers\r\n", False),
    ],
)
def test_9110_10_1_4_trailers_go_to_whoever_takes_them(start_gateway, upstream: FakeUpstream, lines: str, passes: bool):
    upstream.script = answer_always(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\n\r\n"
    )
    routes = [route("raw", "/public/**", public=True, trailers={"response": ["Server-Timing"]})]
    own = start_gateway({"raw": upstream.port}, {"routes": routes})
    (answer,) = responses(own.raw(f"GET /public/x HTTP/1.1\r\n{HEAD}{lines}\r\n".encode())[0])
    assert (answer.status, answer.body) == (200, b"ok")
    assert answer.trailers == ([("Server-Timing", "a")] if passes else [])
    assert upstream.requests[-1].get("te") is None


# 9112 3: the length of a request line


def test_9112_3_a_request_line_of_8000_bytes_is_taken(client: Client, raw_upstream: FakeUpstream):
    target = "/public/x?" + "y" * (8000 - len("GET /public/x? HTTP/1.1"))
    assert client.ask(target).status == 200
    assert raw_upstream.requests[-1].target == target


# 7.4: https without TLS


def test_9110_7_4_an_https_url_without_tls_is_misdirected(gateway: Gateway, raw_upstream: FakeUpstream):
    def ask(target: str, method: str = "GET", plain: bool = True) -> int:
        request = f"{method} {target} HTTP/1.1\r\n{HEAD}\r\n".encode()
        return responses(gateway.raw(request, plain=plain)[0])[0].status

    for scheme in ("https", "HTTPS", "httpS"):
        assert ask(f"{scheme}://raw.demo.localhost/public/x") == 421
        assert ask(f"{scheme}://raw.demo.localhost/admin/x", "POST") == 421
    assert not raw_upstream.requests
    assert ask("https://raw.demo.localhost/public/x", plain=False) == 200
    assert ask("http://raw.demo.localhost/public/x") == 200
    assert ask("http://raw.demo.localhost/public/x", plain=False) == 200


def test_9110_7_4_behind_a_trusted_proxy_it_is_what_that_says(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["127.0.0.1"]})
    for said, status in (("https", 200), ("http", 421)):
        request = f"GET https://raw.demo.localhost/public/x HTTP/1.1\r\nX-Forwarded-Proto: {said}\r\n{HEAD}\r\n"
        assert responses(own.raw(request.encode())[0])[0].status == status


# 10.1.1: expectations of HTTP/1.0


def test_9110_10_1_1_an_expectation_of_http_1_0_is_none(gateway: Gateway, raw_upstream: FakeUpstream):
    for version, seen in (("1.0", None), ("1.1", "100-continue")):
        request = f"POST /public/x HTTP/{version}\r\n{HEAD}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"
        assert [answer.status for answer in responses(gateway.raw(request.encode())[0])] == [200]
        assert raw_upstream.requests[-1].get("expect") == seen
        assert raw_upstream.requests[-1].body == b"hello"
