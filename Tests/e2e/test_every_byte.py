"""Each of the 256 bytes in each place of a request, over both versions: it passes as it is, or the request is refused.

What passes is said here from the grammar alone (RFC 9110 section 5, RFC 3986, RFC 9113 section 8.2) and from what this
gateway leaves out of it. What goes upstream is read by the strict parser of these tests.
"""

import string
from collections.abc import Callable, Iterator

import pytest
from support.clients import OverHTTP2, client_of
from support.gateway import Gateway
from support.http2 import Fields, pseudo
from support.upstream import FakeUpstream
from support.wire import responses

EVERY = [bytes((byte,)) for byte in range(256)]
TOKEN = (string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~").encode()
UNRESERVED = (string.ascii_letters + string.digits + "-._~").encode()
DIGITS = string.digits.encode()
#: In a value: blanks and what is visible, above 127 too.
VALUE = b"\t " + bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
#: In a target as it is written: visible ASCII, without what begins a fragment or an escape, and without `\`.
TARGET = bytes(byte for byte in range(0x21, 0x7F) if byte not in b"#%\\")
#: In a host; `:` begins a port, and behind it there must be one.
HOST = UNRESERVED + b"!$&'()*+;="

#: What reaches the application in this place, `None`: nothing does.
Expected = Callable[[bytes], str | None]


def text(part: bytes) -> str:
    return part.decode("latin-1")


def number(part: bytes) -> int:
    return int(part) if part in DIGITS else 0


@pytest.fixture(autouse=True)
def _clean(gateway: Gateway, raw_upstream: FakeUpstream) -> Iterator[None]:
    yield
    assert not raw_upstream.errors, "what went upstream is no HTTP"


def over_http1(gateway: Gateway, upstream: FakeUpstream, make: Callable[[bytes], bytes], expected: Expected, seen):
    for part in EVERY:
        upstream.requests.clear()
        received, closed = gateway.raw(make(part))
        answers = responses(received)
        wanted = expected(part)
        assert closed and len(answers) == 1, part
        if wanted is None:
            assert 400 <= answers[0].status < 500 or answers[0].status in (501, 505), part
            assert not upstream.requests, part
        else:
            assert answers[0].status == 200, part
            assert [seen(request) for request in upstream.requests] == [wanted], part


def lines(*more: bytes, line: bytes = b"GET /public/x HTTP/1.1", host: bytes = b"raw.demo.localhost") -> bytes:
    return b"\r\n".join([line, b"Host: " + host, b"Connection: close", *more, b"", b""])


HTTP1 = {
    "a method": (
        lambda part: lines(line=b"G" + part + b"T /public/x HTTP/1.1"),
        lambda part: text(b"G" + part + b"T") if part in TOKEN else None,
        lambda request: request.method,
    ),
    "a path": (
        lambda part: lines(line=b"GET /public/a" + part + b"c HTTP/1.1"),
        lambda part: text(b"/public/a" + part + b"c") if part in TARGET else None,
        lambda request: request.target,
    ),
    "a query": (
        lambda part: lines(line=b"GET /public/x?a" + part + b"c HTTP/1.1"),
        lambda part: text(b"/public/x?a" + part + b"c") if part in TARGET + b"%" else None,
        lambda request: request.target,
    ),
    "a name": (
        lambda part: lines(b"x" + part + b"y: c"),
        # A colon ends the name; a name with `_` is dropped.
        lambda part: {b":": "y: c", b"_": ""}.get(part, "c") if part in TOKEN + b":" else None,
        lambda request: "".join(value for name, value in request.fields if name.startswith("x") and len(name) < 4),
    ),
    "a value": (
        lambda part: lines(b"x: a" + part + b"c"),
        lambda part: text(b"a" + part + b"c") if part in VALUE else None,
        lambda request: request.get("x"),
    ),
    "the beginning of a value": (
        lambda part: lines(b"x: " + part + b"c"),
        lambda part: text(part + b"c").lstrip(" \t") if part in VALUE else None,
        lambda request: request.get("x"),
    ),
    "the end of a value": (
        lambda part: lines(b"x: a" + part),
        lambda part: text(b"a" + part).rstrip(" \t") if part in VALUE else None,
        lambda request: request.get("x"),
    ),
    "a value alone": (
        lambda part: lines(b"x:" + part),
        lambda part: text(part).strip(" \t") if part in VALUE else None,
        lambda request: request.get("x"),
    ),
    "the place before a field": (
        lambda part: lines(part + b"x: c"),
        lambda part: text(part) + "x" if part in TOKEN and part != b"_" else "" if part == b"_" else None,
        lambda request: "".join(name for name, value in request.fields if value == "c"),
    ),
    "the place behind the version": (
        lambda part: lines(line=b"GET /public/x HTTP/1.1" + part),
        lambda part: None,
        None,
    ),
    "the minor version": (
        lambda part: lines(line=b"GET /public/x HTTP/1." + part),
        lambda part: "/public/x" if part.isdigit() else None,
        lambda request: request.target,
    ),
    "the major version": (
        lambda part: lines(line=b"GET /public/x HTTP/" + part + b".1"),
        lambda part: "/public/x" if part == b"1" else None,
        lambda request: request.target,
    ),
    "the place before the method": (
        lambda part: lines(line=part + b"GET /public/x HTTP/1.1"),
        lambda part: text(part) + "GET" if part in TOKEN else None,
        lambda request: request.method,
    ),
    "a length": (
        lambda part: lines(b"Content-Length: 0" + part, line=b"POST /public/x HTTP/1.1") + b"b" * number(part),
        lambda part: str(number(part)) if part in b" \t" + DIGITS else None,
        lambda request: request.get("content-length"),
    ),
    "a length's beginning": (
        lambda part: (
            lines(b"Content-Length:" + part + b"0", line=b"POST /public/x HTTP/1.1") + b"b" * number(part) * 10
        ),
        lambda part: str(number(part) * 10) if part in b" \t" + DIGITS else None,
        lambda request: request.get("content-length"),
    ),
    "a coding": (
        lambda part: lines(b"Transfer-Encoding: chunked" + part, line=b"POST /public/x HTTP/1.1") + b"0\r\n\r\n",
        lambda part: "chunked" if part in b" \t" else None,
        lambda request: request.get("transfer-encoding"),
    ),
    "a connection option": (
        lambda part: lines(b"Connection: x" + part + b"y", b"x: 1", b"y: 2"),
        # What a comma parts are two names, and those fields stay here.
        lambda part: "" if part == b"," else "12" if part in TOKEN else None,
        lambda request: "".join(value for name, value in request.fields if name in ("x", "y")),
    ),
}


@pytest.mark.parametrize("place", HTTP1)
def test_9112_every_byte_in_a_place(gateway: Gateway, raw_upstream: FakeUpstream, place: str):
    over_http1(gateway, raw_upstream, *HTTP1[place])


def test_9112_every_byte_in_a_host(gateway: Gateway, raw_upstream: FakeUpstream):
    for part in EVERY:
        received, _ = gateway.raw(lines(host=b"a" + part + b"c.demo.localhost"))
        (answer,) = responses(received)
        assert answer.status == (404 if part in HOST else 400), part
    assert not raw_upstream.requests


def test_9112_every_byte_behind_a_chunks_size(gateway: Gateway, raw_upstream: FakeUpstream):
    for part in EVERY:
        raw_upstream.requests.clear()
        head = lines(b"Transfer-Encoding: chunked", line=b"POST /public/x HTTP/1.1")
        chunk = b"5" + part + b"\r\n" + b"hello" + b"0" * 0x60 + b"\r\n0\r\n\r\n"
        answers = responses(gateway.raw(head + chunk)[0])
        # No hexadecimal digit makes a size that the data has.
        assert [answer.status for answer in answers] in ([400], []), part
        assert not raw_upstream.requests, part


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_3986_every_escape_in_a_path(gateway: Gateway, raw_upstream: FakeUpstream, version: str):
    with client_of(version, gateway) as client:
        for byte in range(256):
            for spelled in (f"%{byte:02x}", f"%{byte:02X}"):
                raw_upstream.requests.clear()
                answer = client.ask(f"/public/a{spelled}c")
                if byte < 0x20 or byte in b"/\\\x7f" or byte > 0x7F:
                    assert answer.status == 400, spelled
                    assert not raw_upstream.requests, spelled
                    continue
                written = chr(byte) if byte in UNRESERVED else f"%{byte:02X}"
                assert answer.status == 200, spelled
                assert [request.target for request in raw_upstream.requests] == [f"/public/a{written}c"]


LOWER = bytes(byte for byte in TOKEN if byte not in string.ascii_uppercase.encode())


def with_pseudo(name: str, value: bytes) -> Fields:
    return [(key, value if key == name else old) for key, old in pseudo("/public/x")]


HTTP2 = {
    ":method": (
        lambda part: with_pseudo(":method", b"G" + part + b"T"),
        lambda part: text(b"G" + part + b"T") if part in TOKEN else None,
        lambda request: request.method,
    ),
    ":path": (
        lambda part: with_pseudo(":path", b"/public/a" + part + b"c"),
        lambda part: text(b"/public/a" + part + b"c") if part in TARGET else None,
        lambda request: request.target,
    ),
    ":path's beginning": (
        lambda part: with_pseudo(":path", part + b"x/../public/x"),
        lambda part: "/public/x" if part == b"/" else None,
        lambda request: request.target,
    ),
    ":path's end": (
        lambda part: with_pseudo(":path", b"/public/x?" + part),
        lambda part: text(b"/public/x?" + part) if part in TARGET + b"%" else None,
        lambda request: request.target,
    ),
    ":scheme": (lambda part: with_pseudo(":scheme", b"https" + part), lambda part: None, None),
    ":authority": (
        lambda part: with_pseudo(":authority", b"raw.demo.localhost" + part),
        lambda part: "raw.demo.localhost." if part == b"." else None,
        lambda request: request.get("host"),
    ),
    "a name": (
        lambda part: [*pseudo("/public/x"), (b"x" + part + b"y", b"c")],
        lambda part: ("" if part == b"_" else "c") if part in LOWER else None,
        lambda request: request.get("x-y") or "".join(value for _, value in request.fields if value == "c"),
    ),
    "a value": (
        lambda part: [*pseudo("/public/x"), (b"x", b"a" + part + b"c")],
        lambda part: text(b"a" + part + b"c") if part in VALUE else None,
        lambda request: request.get("x"),
    ),
    "a value's beginning": (
        lambda part: [*pseudo("/public/x"), (b"x", part + b"c")],
        lambda part: text(part + b"c") if part in VALUE and part not in b" \t" else None,
        lambda request: request.get("x"),
    ),
    "a value's end": (
        lambda part: [*pseudo("/public/x"), (b"x", b"a" + part)],
        lambda part: text(b"a" + part) if part in VALUE and part not in b" \t" else None,
        lambda request: request.get("x"),
    ),
    "a length": (
        lambda part: [*pseudo("/public/x"), (b"content-length", b"0" + part)],
        lambda part: "0" if part == b"0" else None,
        lambda request: request.get("content-length"),
    ),
    "te": (lambda part: [*pseudo("/public/x"), (b"te", b"trailers" + part)], lambda part: None, None),
    "a cookie": (
        lambda part: [*pseudo("/public/x"), (b"cookie", b"a=" + part + b"c"), (b"cookie", b"d")],
        lambda part: text(b"a=" + part + b"c; d") if part in VALUE else None,
        lambda request: request.get("cookie"),
    ),
}


@pytest.mark.parametrize("place", HTTP2)
def test_9113_every_byte_in_a_place(gateway: Gateway, raw_upstream: FakeUpstream, place: str):
    make, expected, seen = HTTP2[place]
    with OverHTTP2(gateway) as client:
        for part in EVERY:
            raw_upstream.requests.clear()
            answer = client.send(make(part))
            wanted = expected(part)
            if wanted is None:
                assert answer.is_refused, part
                assert not raw_upstream.requests, part
            else:
                assert answer.status == 200, part
                assert [seen(request) for request in raw_upstream.requests] == [wanted], part
        assert client.ask("/public/good").status == 200
