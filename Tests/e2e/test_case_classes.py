"""The classes of cases by which proxies are usually judged, under their usual ids, and what becomes of each.

A case of HTTP/1.1 is the bytes of a request, behind which another stands that must never be seen; one of HTTP/2 is the
fields of a request, or its frames. `REJECT` is an answer of 400 to 431, 501 or 505, the connection's end, or the end of
the stream; `BAD` is 400 alone; `NOBODY` is a host that no route names; else the case says what the application gets.
Behind each follows a good request.
"""

import contextlib
import re
from dataclasses import dataclass, field

import pytest
from support.clients import OverHTTP2
from support.echo import said_back
from support.gateway import Gateway
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, Fields, Stream, frame, literal, pseudo
from support.upstream import FakeUpstream
from support.wire import Message, read_all, responses

REJECT, BAD, NOBODY = "reject", "400", "404"


@dataclass
class Seen:
    """The application gets the request: these fields (`None`: not at all), this target, this body."""

    fields: dict[str, str | None] = field(default_factory=dict)
    target: str = "/public/x"
    body: bytes = b""
    method: str = "GET"

    def check(self, request: Message) -> None:
        assert (request.method, request.target, request.body) == (self.method, self.target, self.body)
        for name, value in self.fields.items():
            assert request.get(name) == value, name


HOST = b"Host: raw.demo.localhost\r\n"
SMUGGLED = b"GET /public/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(*lines: bytes, line: bytes = b"GET /public/x HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + b"".join(part + b"\r\n" for part in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"hello") -> bytes:
    return get(*lines, line=b"POST /public/x HTTP/1.1") + body


def numbered(prefix: str, cases: list) -> dict:
    return {f"{prefix}-{index:02}": case for index, case in enumerate(cases)}


HELLO_SEEN = Seen(body=b"hello", method="POST")

LENGTHS = {
    **numbered(
        "cl-bad",
        [
            (post(b"Content-Length: " + value), REJECT)
            for value in (
                *(b"+5", b"-5", b"0x5", b"5 5", b"5,5", b"5, 6", b"", b"five", b"5.0", b"5e0", b"5;", b"'5'", b'"5"'),
                *(b"\x0b5", b"\xd9\xa5", b"5\t6", b"5_0", b"18446744073709551616", b"18446744073709551621", b"9" * 40),
                *(b"5\x00", b"5\r", b"\x005", b"05h", b"-0", b"0b101", b"5,", b",5", b"5 ,5"),
            )
        ],
    ),
    "cl-two": (post(b"Content-Length: 5", b"Content-Length: 6"), REJECT),
    "cl-two-alike": (post(b"Content-Length: 5", b"Content-Length: 5"), REJECT),
    "cl-two-empty": (post(b"Content-Length: 5", b"Content-Length: "), REJECT),
    "cl-two-cases": (post(b"content-length: 5", b"CONTENT-LENGTH: 0"), REJECT),
    "cl-two-fold": (post(b"Content-Length: 5", b" 0"), REJECT),
    "cl-two-apart": (post(b"Content-Length: 0", b"A: b", b"Content-Length: 5"), REJECT),
    "cl-zeros": (post(b"Content-Length: 005"), HELLO_SEEN),
    "cl-blanks": (post(b"Content-Length:\t 5 \t"), HELLO_SEEN),
    "cl-zero": (post(b"Content-Length: 0", body=b""), Seen(method="POST")),
    "cl-get": (get(b"Content-Length: 5") + b"hello", Seen(body=b"hello")),
    "cl-alias": (get(b"Content_Length: 5"), Seen({"content_length": None, "content-length": None})),
    "cl-alias-dot": (get(b"Content.Length: 5"), Seen({"content.length": None, "content-length": None})),
}

CODINGS = {
    "te-cl": (post(CHUNKED[:-2], b"Content-Length: 5", body=HELLO), REJECT),
    "te-cl-zero": (post(CHUNKED[:-2], b"Content-Length: 0", body=HELLO), REJECT),
    "cl-te": (post(b"Content-Length: 15", CHUNKED[:-2], body=HELLO), REJECT),
    **numbered(
        "te-te",
        [
            (post(b"Content-Length: 15", coding, body=HELLO), REJECT)
            for coding in (
                *(b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b"Transfer-Encoding: \x0bchunked"),
                *(b"Transfer-Encoding: xchunked", b" Transfer-Encoding: chunked"),
                *(b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: chunked, identity"),
                *(b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip, chunked"),
                *(b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1", b"Transfer-Encoding: "),
                *(b"Transfer-Encoding: cow", b"Transfer-Encoding: chunk", b"Transfer-Encoding: chunked\x00"),
                *(b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
                *(b"Transfer-Encoding: identity", b"X: y\rTransfer-Encoding: chunked", b"X: y\nTransfer-Encoding: a"),
                *(
                    b"Transfer-Encoding: chunked\r",
                    b"Transfer-Encoding\x00: chunked",
                    b"Transfer-Encoding: \xffchunked",
                ),
            )
        ],
    ),
    **numbered(
        "te-bad",
        [
            (post(coding, body=HELLO), REJECT)
            for coding in (
                *(b"Transfer-Encoding: xchunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, gzip"),
                *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: "),
                *(CHUNKED + CHUNKED[:-2], b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;a=b"),
                *(b"Transfer-Encoding: identity", b"Transfer-Encoding: chun ked", b"Transfer-Encoding: \x0cchunked"),
            )
        ],
    ),
    "te-old": (get(CHUNKED[:-2], line=b"POST /public/x HTTP/1.0") + HELLO, REJECT),
    "te-case": (post(b"transfer-ENCODING: ChUnKeD", body=HELLO), HELLO_SEEN),
    "te-no-blank": (post(b"Transfer-Encoding:chunked", body=HELLO), HELLO_SEEN),
    "te-alias": (post(b"Content-Length: 5", b"Transfer_Encoding: chunked"), HELLO_SEEN),
    "te-alias-dot": (post(b"Content-Length: 5", b"Transfer.Encoding: chunked"), HELLO_SEEN),
    "te-get": (get(CHUNKED[:-2]) + HELLO, Seen(body=b"hello")),
}


def chunks(body: bytes, verdict) -> tuple:
    return post(CHUNKED[:-2], body=body), verdict


CHUNKS = {
    **numbered(
        "chunk",
        [
            chunks(body, REJECT)
            for body in (
                *(b"0x5\r\nhello\r\n0\r\n\r\n", b"+5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
                *(b" 5\r\nhello\r\n0\r\n\r\n", b"g\r\nhello\r\n0\r\n\r\n", b"\r\nhello\r\n0\r\n\r\n"),
                *(b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n"),
                *(b"4\r\nhello\r\n0\r\n\r\n", b"6\r\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
                *(b"5;a=\x00\r\nhello\r\n0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n", b"5,5\r\nhello\r\n0\r\n\r\n"),
                *(b"5\r\nhello0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
                *(b"5\x00\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\n\n", b"5\r\nhello\r\n0\r\n\n"),
                *(b"5 5\r\nhello\r\n0\r\n\r\n", b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n", b"5\x0b\r\nhello\r\n0\r\n\r\n"),
                *(b"5\r\nhello\r\n-0\r\n\r\n", b"5\r\nhello\r\n00x\r\n\r\n", b"5.0\r\nhello\r\n0\r\n\r\n"),
                *(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n", b"5;\r\r\nhello\r\n0\r\n\r\n"),
            )
        ],
    ),
    **numbered(
        "chunk-trailer",
        [
            chunks(b"5\r\nhello\r\n0\r\n" + trailer + b"\r\n\r\n", REJECT)
            for trailer in (
                b"abc",
                b"A : b",
                b"A: b\r\n c",
                b": b",
                b"A: \x00",
                b"A: b\rC: d",
                b"A\x00: b",
                b"A: b\nC: d",
            )
        ],
    ),
    "chunk-zeros": chunks(b"0005\r\nhello\r\n000\r\n\r\n", HELLO_SEEN),
    "chunk-case": chunks(b"A\r\nhellohello\r\n0\r\n\r\n", Seen(body=b"hellohello", method="POST")),
    "chunk-extension": chunks(b'5;a="b;c";d\r\nhello\r\n0;e\r\n\r\n', HELLO_SEEN),
    "chunk-trailer-dropped": chunks(b"5\r\nhello\r\n0\r\nX-Auth-User: root\r\n\r\n", HELLO_SEEN),
    "chunk-trailer-length": chunks(b"5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n", HELLO_SEEN),
    "chunk-empty": chunks(b"0\r\n\r\n", Seen(method="POST")),
}

BLANKS = {
    "sp-colon": (get(b"A : b"), BAD),
    "sp-colon-tab": (get(b"A\t: b"), BAD),
    "sp-colon-length": (post(b"Content-Length : 5"), BAD),
    "sp-colon-host": (get(host=b"Host : raw.demo.localhost\r\n"), BAD),
    "sp-first": (get(host=b" " + HOST), BAD),
    "sp-fold": (get(b"A: b", b" c"), BAD),
    "sp-fold-tab": (get(b"A: b", b"\tc"), BAD),
    "sp-fold-empty": (get(b"A: b", b" "), BAD),
    "sp-line-double": (get(line=b"GET  /public/x HTTP/1.1"), BAD),
    "sp-line-double-behind": (get(line=b"GET /public/x  HTTP/1.1"), BAD),
    "sp-line-tab": (get(line=b"GET\t/public/x HTTP/1.1"), BAD),
    "sp-line-tab-behind": (get(line=b"GET /public/x\tHTTP/1.1"), BAD),
    "sp-line-before": (get(line=b" GET /public/x HTTP/1.1"), BAD),
    "sp-line-behind": (get(line=b"GET /public/x HTTP/1.1 "), BAD),
    "sp-target": (get(line=b"GET /public/x y HTTP/1.1"), BAD),
    "sp-name": (get(b"A B: c"), BAD),
    "sp-value": (get(b"A: \t b c\t "), Seen({"a": "b c"})),
    "sp-none": (get(b"A:b"), Seen({"a": "b"})),
}

NAMES = {
    "name-nul": (get(b"A\x00B: c"), REJECT),
    "name-empty": (get(b": c"), REJECT),
    "name-no-colon": (get(b"abc"), REJECT),
    "name-high": (get(b"\xc3\xa4: c"), REJECT),
    "name-cr": (get(b"A\rB: c"), REJECT),
    "name-lf": (get(b"A\nB: c"), REJECT),
    "name-del": (get(b"A\x7f: c"), REJECT),
    "name-bell": (get(b"A\x07: c"), REJECT),
    **{f"name-{ord(mark):02x}": (get(b"A" + mark.encode() + b"B: c"), REJECT) for mark in '"(),/;<=>?@[\\]{}'},
    "name-long": (get(b"A" * 65_537 + b": c"), REJECT),
    "name-many": (get(*[b"A: b"] * 1000), REJECT),
    "name-marks": (get(b"A!#$%&'*+-.^`|~9: c"), Seen({"A!#$%&'*+-.^`|~9": "c"})),
    "name-underscore": (get(b"A_B: c"), Seen({"a_b": None})),
    "name-managed": (get(b"X-Auth-User: root", b"x_auth.user: root"), Seen({"x-auth-user": None, "x_auth.user": None})),
}

VALUES = {
    "value-nul": (get(b"A: b\x00c"), REJECT),
    "value-cr": (get(b"A: b\rc"), REJECT),
    "value-lf": (get(b"A: b\nc"), REJECT),
    "value-cr-end": (get(b"A: b\r"), REJECT),
    "value-line": (get(b"A: b\nHost: c"), REJECT),
    **{f"value-{byte:02x}": (get(b"A: b" + bytes((byte,)) + b"c"), REJECT) for byte in (1, 8, 0x0B, 0x0C, 0x1B, 0x7F)},
    "value-long": (get(b"A: " + b"b" * 70_000), REJECT),
    "value-high": (get(b"A: b\x80\xff"), Seen({"a": "b\x80\xff"})),
    "value-empty": (get(b"A:"), Seen({"a": ""})),
    "value-tab": (get(b"A: b\tc"), Seen({"a": "b\tc"})),
    "value-colon": (get(b"A: b: c"), Seen({"a": "b: c"})),
}

LINES = {
    **numbered(
        "line",
        [
            (made, REJECT)
            for made in (
                b"GET /public/x HTTP/1.1\n" + HOST + b"\r\n",
                get(line=b"GET /public/x http/1.1"),
                get(line=b"GET /public/x HTTP/1.10"),
                get(line=b"GET /public/x HTTP/2.0"),
                get(line=b"GET /public/x HTTP/0.9"),
                b"GET /public/x\r\n",
                get(line=b"GET /public/x"),
                get(line=b"GET HTTP/1.1"),
                get(line=b"GET /public/x HTTP/1.1 x"),
                get(line=b"GET /public/x HTTP/1,1"),
                get(line=b"GET /public/x HTTP/ 1.1"),
                get(line=b"GET /public/x HTTPS/1.1"),
                get(line=b"GET /public/x HTTP/1.1\x0b"),
                get(line=b"GET /public/x HTTP/3.1"),
                get(line=b"GET /public/x HTTP/01.1"),
                get(line=b"GET /public/x HTTP/1"),
                get(line=b"GET /public/x HTTP/1."),
                get(line=b"GET /public/x HTTP/-1.1"),
                get(line=b"GET /public/x HTTP/1.1\r"),
                get(line=b"GET\x00 /public/x HTTP/1.1"),
                get(line=b"GE(T /public/x HTTP/1.1"),
                get(line=b"GET: /public/x HTTP/1.1"),
                get(line=b"/public/x HTTP/1.1"),
                get(line=b""),
                b"\n" + get(),
                b"\r\n\r\n" + get(),
                b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(100),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                get(line=b"G\xc3\x8bT /public/x HTTP/1.1"),
                get(line=b"GET /public/" + b"x" * 70_000 + b" HTTP/1.1"),
                get(line=b"X" * 70_000 + b" /public/x HTTP/1.1"),
            )
        ],
    ),
    "line-empty-before": (b"\r\n" + get(), Seen()),
    "line-method": (get(line=b"PURGE!#$ /public/x HTTP/1.1"), Seen(method="PURGE!#$")),
    "line-method-small": (get(line=b"get /public/x HTTP/1.1"), Seen(method="get")),
}

EVIL = b"Host: evil.example\r\n"
HOSTS = {
    "host-none": (get(host=b""), REJECT),
    "host-two": (get(host=HOST + EVIL), REJECT),
    "host-two-evil": (get(host=EVIL + HOST), REJECT),
    "host-two-alike": (get(host=HOST + HOST), REJECT),
    "host-two-empty": (get(host=HOST + b"Host:\r\n"), REJECT),
    "host-old-two": (get(host=HOST + EVIL, line=b"GET /public/x HTTP/1.0"), REJECT),
    "host-empty": (get(host=b"Host:\r\n"), REJECT),
    **{
        f"host-{name}": (get(host=b"Host: " + value + b"\r\n"), REJECT)
        for name, value in {
            "user": b"x@raw.demo.localhost",
            "password": b"x:y@raw.demo.localhost",
            "path": b"raw.demo.localhost/x",
            "query": b"raw.demo.localhost?x",
            "fragment": b"raw.demo.localhost#x",
            "space": b"raw.demo localhost",
            "list": b"raw.demo.localhost, evil.example",
            "list-bare": b"raw.demo.localhost,evil.example",
            "nul": b"raw.demo.localhost\x00",
            "port": b"raw.demo.localhost:x",
            "port-empty": b"raw.demo.localhost:",
            "port-large": b"raw.demo.localhost:65536",
            "port-sign": b"raw.demo.localhost:+80",
            "port-two": b"raw.demo.localhost:80:80",
            "scheme": b"http://raw.demo.localhost",
            "escape": b"raw.demo.localhost%00",
            "high": b"r\xe4w.demo.localhost",
            "bracket": b"[raw.demo.localhost]",
            "bracket-open": b"[::1",
            "backslash": b"raw.demo.localhost\\",
            "long": b"x" * 5000,
        }.items()
    },
    "host-fold": (get(host=b"Host:\r\n raw.demo.localhost\r\n"), REJECT),
    "host-absolute-wins": (
        get(host=EVIL, line=b"GET http://raw.demo.localhost/public/x HTTP/1.1"),
        Seen({"host": "raw.demo.localhost", "x-forwarded-host": "raw.demo.localhost"}),
    ),
    "host-absolute-loses": (get(line=b"GET http://evil.example/public/x HTTP/1.1"), NOBODY),
    "host-dots": (get(host=b"Host: raw.demo.localhost..\r\n"), NOBODY),
    "host-list-dot": (get(host=b"Host: raw.demo.localhost.evil.example\r\n"), NOBODY),
    "host-prefix": (get(host=b"Host: xraw.demo.localhost\r\n"), NOBODY),
    "host-absolute-none": (get(host=b"", line=b"GET http://raw.demo.localhost/public/x HTTP/1.1"), REJECT),
    "host-absolute-two": (get(host=HOST + HOST, line=b"GET http://raw.demo.localhost/public/x HTTP/1.1"), REJECT),
    "host-absolute-bad": (get(host=b"Host: a b\r\n", line=b"GET http://raw.demo.localhost/public/x HTTP/1.1"), REJECT),
    "host-absolute-user": (get(line=b"GET http://x@raw.demo.localhost/public/x HTTP/1.1"), REJECT),
    "host-absolute-scheme": (get(line=b"GET ftp://raw.demo.localhost/public/x HTTP/1.1"), REJECT),
    "host-absolute-empty": (get(line=b"GET http:///public/x HTTP/1.1"), REJECT),
    "host-authority": (get(line=b"GET raw.demo.localhost:80 HTTP/1.1"), REJECT),
    "host-case": (get(host=b"Host: RAW.Demo.LocalHost\r\n"), Seen()),
    "host-dot": (get(host=b"Host: raw.demo.localhost.\r\n"), Seen()),
    "host-port-good": (get(host=b"Host: raw.demo.localhost:80\r\n"), Seen({"host": "raw.demo.localhost:80"})),
    "host-alias": (get(b"X_Host: evil.example"), Seen({"x_host": None})),
}

HOPS = {
    "hop-connection": (get(b"Connection: x-private", b"X-Private: 1"), Seen({"x-private": None, "connection": None})),
    "hop-connection-case": (get(b"connection: X-PRIVATE", b"x-private: 1"), Seen({"x-private": None})),
    "hop-connection-list": (
        get(b"Connection: ,a ,, b,", b"A: 1", b"B: 2", b"C: 3"),
        Seen({"a": None, "b": None, "c": "3"}),
    ),
    "hop-connection-two": (get(b"Connection: a", b"Connection: b", b"A: 1", b"B: 2"), Seen({"a": None, "b": None})),
    **{
        f"hop-connection-{name}": (get(b"Connection: " + name.encode()), BAD)
        for name in ("host", "content-length", "transfer-encoding", "cookie", "authorization", "HOST")
    },
    "hop-connection-forwarded": (get(b"Connection: x-forwarded-for"), Seen({"x-forwarded-for": "127.0.0.1"})),
    "hop-connection-quoted": (get(b'Connection: "x"'), REJECT),
    "hop-connection-blank": (get(b"Connection: a b"), REJECT),
    "hop-keep-alive": (get(b"Keep-Alive: timeout=5"), Seen({"keep-alive": None})),
    "hop-proxy-connection": (get(b"Proxy-Connection: keep-alive"), Seen({"proxy-connection": None})),
    "hop-te": (get(b"TE: gzip, trailers"), Seen({"te": None})),
    "hop-trailer": (get(b"Trailer: x-auth-user"), Seen({"trailer": None})),
    "hop-proxy-authorization": (get(b"Proxy-Authorization: Basic eA=="), Seen({"proxy-authorization": None})),
    "hop-upgrade": (get(b"Connection: Upgrade", b"Upgrade: x"), Seen({"upgrade": None, "connection": None})),
    "hop-upgrade-h2c": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        Seen({"upgrade": None, "connection": None, "http2-settings": None}),
    ),
    "hop-upgrade-h2c-alone": (
        get(b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        Seen({"upgrade": None, "http2-settings": None}),
    ),
    "hop-connect": (get(line=b"CONNECT raw.demo.localhost:80 HTTP/1.1"), REJECT),
    "hop-max-forwards": (get(b"Max-Forwards: 0"), Seen({"max-forwards": "0"})),
    "hop-via": (get(), Seen({"via": "1.1 auth-gateway"})),
    "hop-via-old": (get(b"Connection: keep-alive", line=b"GET /public/x HTTP/1.0"), Seen({"via": "1.0 auth-gateway"})),
    "hop-expect-other": (get(b"Expect: 200-ok"), REJECT),
}


def target(path: bytes) -> bytes:
    return get(line=b"GET " + path + b" HTTP/1.1")


PATHS = {
    **numbered(
        "path",
        [
            (target(path), verdict)
            for path, verdict in (
                (b"/public/../../x", BAD),
                (b"/..", BAD),
                (b"/public/..%2fadmin", BAD),
                (b"/public/%2e%2e/admin", BAD),
                (b"/public/..;/admin", BAD),
                (b"/public/..\\admin", BAD),
                (b"/public/x%00", BAD),
                (b"/public/x%2fy", BAD),
                (b"/public/x%5cy", BAD),
                (b"//public/x", BAD),
                (b"/public/x%0d%0aX-Smuggled:%201", BAD),
                (b"/public/x%0aX-Smuggled:%201", BAD),
                (b"/public/x%zz", BAD),
                (b"/public/x%4", BAD),
                (b"/public/x#y", BAD),
                (b"/public/x\x7f", BAD),
                (b"/public/x\xe4", BAD),
                (b"/public/x\x00", REJECT),
                (b"/public/%c0%ae%c0%ae/admin", BAD),
                (b"/public/%u002e%u002e/admin", BAD),
                (b"/admin/../public/x", Seen()),
                (b"/./public/./x", Seen()),
                (b"/public/%78", Seen()),
                (b"/public/x?y=%0d%0a", Seen(target="/public/x?y=%0d%0a")),
                (b"/public/x%23y", Seen(target="/public/x%23y")),
                (b"/public/x%252e", Seen(target="/public/x%252e")),
                (b"/public/x;y=1", Seen(target="/public/x;y=1")),
                (b"/public//x", Seen(target="/public//x")),
                (b"public/x", BAD),
                (b"*", BAD),
                (b"?x", BAD),
            )
        ],
    ),
}

HTTP1 = {**LENGTHS, **CODINGS, **CHUNKS, **BLANKS, **NAMES, **VALUES, **LINES, **HOSTS, **HOPS, **PATHS}


LAST = get(b"Connection: close", line=b"GET /public/last HTTP/1.1")


def is_rejection(status: int) -> bool:
    return 400 <= status <= 431 or status in (501, 505)


@pytest.mark.parametrize("case", HTTP1)
def test_a_request_over_http1(echo_gateway: Gateway, echo_upstream: FakeUpstream, case: str):
    data, verdict = HTTP1[case]
    is_lawful = isinstance(verdict, Seen) or verdict == NOBODY
    with echo_gateway.connect() as peer:
        with contextlib.suppress(OSError):
            peer.sendall(data + (LAST if is_lawful else SMUGGLED))
        received, closed = read_all(peer, 5)
    answers = responses(received)
    assert closed, "the connection stays open"
    if is_lawful:
        assert [answer.status for answer in answers] == [404 if verdict == NOBODY else 200, 200]
        assert answers[1].body == said_back("GET", "/public/last")
        if verdict != NOBODY:
            verdict.check(echo_upstream.requests.pop(0))
        assert [request.target for request in echo_upstream.requests] == ["/public/last"]
    else:
        assert [answer.status == 400 if verdict == BAD else is_rejection(answer.status) for answer in answers] in (
            [True],
            [] if verdict == REJECT else [True],
        )
        # Of a body that turns out to be bad the beginning may have gone on, never the end.
        assert not echo_upstream.requests
    good, _ = echo_gateway.raw(LAST)
    assert responses(good)[0].body == said_back("GET", "/public/last")


# HTTP/2


def with_pseudo(name: str, value: str | None) -> Fields:
    """The good request with one pseudo field replaced, or taken out."""
    return [
        (key, value if key == name else old) for key, old in pseudo("/public/x") if key != name or value is not None
    ]


def and_field(*more: tuple[str, str], method: str = "GET") -> Fields:
    return [*pseudo("/public/x", method), *more]


def with_body(*parts: bytes, length: str | None = None) -> bytes:
    """The frames of a request with these parts for its body, the last of which ends it."""
    fields = and_field(*([("content-length", length)] if length is not None else []), method="POST")
    data = frame(HEADERS, END_HEADERS, 1, literal(fields))
    for index, part in enumerate(parts):
        data += frame(DATA, END_STREAM if index == len(parts) - 1 else 0, 1, part)
    return data


def with_trailers(fields: Fields, ends: bool = True) -> bytes:
    head = frame(HEADERS, END_HEADERS, 1, literal(and_field(method="POST"))) + frame(DATA, 0, 1, b"hello")
    return head + frame(HEADERS, END_HEADERS | (END_STREAM if ends else 0), 1, literal(fields))


HTTP2: dict[str, tuple[Fields | bytes, str | Seen]] = {
    "h2-good": (and_field(("x", "y")), Seen({"x": "y"})),
    "h2-via": (and_field(), Seen({"via": "2.0 auth-gateway"})),
    "h2-cookie-split": (and_field(("cookie", "a=1"), ("cookie", "b=2")), Seen({"cookie": "a=1; b=2"})),
    "h2-cookie-apart": (and_field(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")), Seen({"cookie": "a=1; b=2"})),
    "h2-cookie-one": (and_field(("cookie", "a=1; b=2")), Seen({"cookie": "a=1; b=2"})),
    "h2-cookie-crlf": (and_field(("cookie", "a=1"), ("cookie", "b\r\nx: y")), REJECT),
    "h2-cl-short": (with_body(b"hello!", length="5"), REJECT),
    "h2-cl-short-parts": (with_body(b"hel", b"lo", b"!", length="5"), REJECT),
    "h2-cl-short-zero": (with_body(b"!", length="0"), REJECT),
    "h2-cl-short-smuggled": (with_body(b"hello" + SMUGGLED, length="5"), REJECT),
    "h2-cl-short-later": (with_body(b"hello", SMUGGLED, length="5"), REJECT),
    "h2-cl-long": (with_body(b"hell", length="5"), REJECT),
    "h2-cl-long-empty": (with_body(b"", length="5"), REJECT),
    "h2-cl-long-none": (and_field(("content-length", "5")), REJECT),
    "h2-cl-right": (with_body(b"hello", length="5"), Seen({"content-length": "5"}, body=b"hello", method="POST")),
    "h2-cl-right-parts": (with_body(b"hel", b"lo", b"", length="5"), HELLO_SEEN),
    "h2-cl-none": (with_body(b"hello"), Seen({"content-length": None}, body=b"hello", method="POST")),
    "h2-cl-zero": (and_field(("content-length", "0")), Seen()),
    **{
        f"h2-cl-bad-{index:02}": (with_body(b"hello", length=value), REJECT)
        for index, value in enumerate(
            ("+5", "-5", "0x5", "5,5", "5, 5", "", "five", "5.0", "5 5", "18446744073709551621")
        )
    },
    "h2-cl-two": (and_field(("content-length", "0"), ("content-length", "5")), REJECT),
    "h2-cl-two-alike": (and_field(("content-length", "0"), ("content-length", "0")), REJECT),
    "h2-te": (and_field(("te", "gzip")), REJECT),
    "h2-te-trailers": (and_field(("te", "trailers")), Seen({"te": None})),
    "h2-te-chunked": (
        frame(HEADERS, END_HEADERS, 1, literal(and_field(("transfer-encoding", "chunked"), method="POST")))
        + frame(DATA, END_STREAM, 1, b"0\r\n\r\n" + SMUGGLED),
        REJECT,
    ),
    "h2-te-identity": (and_field(("transfer-encoding", "identity")), REJECT),
    "h2-connection": (and_field(("connection", "close")), REJECT),
    "h2-connection-name": (and_field(("connection", "x"), ("x", "y")), REJECT),
    "h2-keep-alive": (and_field(("keep-alive", "5")), REJECT),
    "h2-proxy-connection": (and_field(("proxy-connection", "close")), REJECT),
    "h2-upgrade": (and_field(("upgrade", "websocket")), REJECT),
    "h2-upgrade-h2c": (and_field(("upgrade", "h2c"), ("http2-settings", "AAMAAABk")), REJECT),
    **{
        f"h2-val-{index}": (and_field(("x", value)), REJECT)
        for index, value in enumerate(
            (
                *("a\r\nb: c", "a\nb: c", "a\rb", "a\0b", "a\r\n\r\n" + SMUGGLED.decode(), "\r\n", " a", "a ", "\ta"),
                *("a\t", "a\x01b", "a\x0bb", "a\x7fb", "a\r\n b"),
            )
        )
    },
    "h2-val-high": (and_field(("x", "\x80\xff")), Seen({"x": "\x80\xff"})),
    "h2-val-empty": (and_field(("x", "")), Seen({"x": ""})),
    "h2-name-upper": (and_field(("X-Upper", "y")), REJECT),
    "h2-name-upper-one": (and_field(("x-Upper", "y")), REJECT),
    "h2-name-empty": (and_field(("", "y")), REJECT),
    "h2-name-colon": (and_field(("x:y", "z")), REJECT),
    "h2-name-colon-behind": (and_field(("x:", "z")), REJECT),
    "h2-name-space": (and_field(("x y", "z")), REJECT),
    "h2-name-crlf": (and_field(("x: y\r\nz", "z")), REJECT),
    "h2-name-lf": (and_field(("x\ny", "z")), REJECT),
    "h2-name-nul": (and_field(("x\0", "z")), REJECT),
    "h2-name-high": (and_field(("x\xe4", "z")), REJECT),
    "h2-name-request": (and_field(("x\r\n\r\n" + SMUGGLED.decode().lower() + "y", "z")), REJECT),
    "h2-name-underscore": (and_field(("x_y", "z")), Seen({"x_y": None})),
    "h2-name-managed": (and_field(("x-auth-user", "root"), ("x_auth_user", "root")), Seen({"x-auth-user": None})),
    "h2-pseudo-nopath": (with_pseudo(":path", None), REJECT),
    "h2-pseudo-nomethod": (with_pseudo(":method", None), REJECT),
    "h2-pseudo-noscheme": (with_pseudo(":scheme", None), REJECT),
    "h2-pseudo-noauthority": (with_pseudo(":authority", None), REJECT),
    "h2-pseudo-none": ([("x", "y")], REJECT),
    "h2-pseudo-late": ([*with_pseudo(":path", None), ("x", "y"), (":path", "/public/x")], REJECT),
    "h2-pseudo-unknown": ([(":x", "y"), *pseudo("/public/x")], REJECT),
    "h2-pseudo-status": ([(":status", "200"), *pseudo("/public/x")], REJECT),
    **{f"h2-pseudo-two{name}": (and_field((name, value)), REJECT) for name, value in pseudo("/public/x")},
    **{f"h2-pseudo-empty{name}": (with_pseudo(name, ""), REJECT) for name, _ in pseudo("/public/x")},
    "h2-pseudo-upper": ([*with_pseudo(":path", None), (":Path", "/public/x")], REJECT),
    "h2-method-space": (with_pseudo(":method", "GET /smuggled HTTP/1.1\r\n\r\nGET"), REJECT),
    "h2-method-crlf": (with_pseudo(":method", "GET\r\nx: y"), REJECT),
    "h2-method-other": (with_pseudo(":method", "PURGE"), Seen(method="PURGE")),
    "h2-method-connect": (with_pseudo(":method", "CONNECT"), REJECT),
    "h2-method-connect-plain": ([(":method", "CONNECT"), (":authority", "raw.demo.localhost:443")], REJECT),
    "h2-path-space": (with_pseudo(":path", "/public/x y"), REJECT),
    "h2-path-space-version": (with_pseudo(":path", "/public/x HTTP/1.1\r\nx-smuggled: 1\r\nx:"), REJECT),
    "h2-path-crlf": (with_pseudo(":path", "/public/x\r\n\r\n" + SMUGGLED.decode()), REJECT),
    "h2-path-lf": (with_pseudo(":path", "/public/x\ny"), REJECT),
    "h2-path-tab": (with_pseudo(":path", "/public/x\ty"), REJECT),
    "h2-path-nul": (with_pseudo(":path", "/public/x\0"), REJECT),
    "h2-path-fragment": (with_pseudo(":path", "/public/x#y"), REJECT),
    "h2-path-high": (with_pseudo(":path", "/public/\xe4"), REJECT),
    "h2-path-absolute": (with_pseudo(":path", "https://raw.demo.localhost/public/x"), REJECT),
    "h2-path-asterisk": (with_pseudo(":path", "*"), REJECT),
    "h2-path-relative": (with_pseudo(":path", "public/x"), REJECT),
    "h2-path-query": (with_pseudo(":path", "?x"), REJECT),
    "h2-path-root": (with_pseudo(":path", "/public/../../x"), REJECT),
    "h2-path-dots": (with_pseudo(":path", "/admin/../public/x"), Seen()),
    "h2-path-encoded-crlf": (with_pseudo(":path", "/public/x%0d%0ay"), REJECT),
    "h2-path-encoded-slash": (with_pseudo(":path", "/public/x%2fy"), REJECT),
    "h2-scheme-http": (with_pseudo(":scheme", "http"), Seen({"x-forwarded-proto": "https"})),
    "h2-scheme-other": (with_pseudo(":scheme", "ftp"), REJECT),
    "h2-scheme-url": (with_pseudo(":scheme", "https://evil.example/?"), REJECT),
    "h2-scheme-crlf": (with_pseudo(":scheme", "https\r\nx: y"), REJECT),
    "h2-authority-user": (with_pseudo(":authority", "x@raw.demo.localhost"), REJECT),
    "h2-authority-space": (with_pseudo(":authority", "raw.demo.localhost x"), REJECT),
    "h2-authority-crlf": (with_pseudo(":authority", "raw.demo.localhost\r\nx: y"), REJECT),
    "h2-authority-path": (with_pseudo(":authority", "raw.demo.localhost/x"), REJECT),
    "h2-authority-list": (with_pseudo(":authority", "raw.demo.localhost,evil.example"), REJECT),
    "h2-authority-port": (with_pseudo(":authority", "raw.demo.localhost:99999"), REJECT),
    "h2-authority-long": (with_pseudo(":authority", "x" * 5000), REJECT),
    "h2-host-same": (and_field(("host", "raw.demo.localhost")), Seen({"host": "raw.demo.localhost"})),
    "h2-host-case": (and_field(("host", "RAW.demo.localhost")), Seen({"host": "raw.demo.localhost"})),
    "h2-host-alone": ([*with_pseudo(":authority", None), ("host", "raw.demo.localhost")], Seen()),
    "h2-host-other": (and_field(("host", "evil.example")), REJECT),
    "h2-host-two": (and_field(("host", "raw.demo.localhost"), ("host", "raw.demo.localhost")), REJECT),
    "h2-host-empty": (and_field(("host", "")), REJECT),
    "h2-fields-many": (and_field(*[("x", "y")] * 500), REJECT),
    "h2-fields-large": (and_field(("x", "y" * 40_000)), REJECT),
    "h2-trailers": (with_trailers([("x-auth-user", "root")]), HELLO_SEEN),
    "h2-trailers-pseudo": (with_trailers([(":path", "/smuggled")]), REJECT),
    "h2-trailers-open": (with_trailers([("x", "y")], ends=False), REJECT),
    "h2-trailers-crlf": (with_trailers([("x", "y\r\nz: 1")]), REJECT),
    "h2-trailers-upper": (with_trailers([("X", "y")]), REJECT),
    "h2-trailers-te": (with_trailers([("transfer-encoding", "chunked")]), REJECT),
}


@pytest.mark.parametrize("case", HTTP2)
def test_a_request_over_http2(echo_gateway: Gateway, echo_upstream: FakeUpstream, case: str):
    made, verdict = HTTP2[case]
    with OverHTTP2(echo_gateway) as client:
        connection = client.connection
        stream = connection.streams[1] = Stream()
        connection.next_stream = 3
        # Head and body in one write: what is wrong with the body must be seen however early it comes.
        connection.send(made if isinstance(made, bytes) else connection.head(1, literal(made), ends=True))
        connection.until(lambda: stream.is_over or connection.is_closed, "the request is answered")
        if isinstance(verdict, Seen):
            assert stream.status == 200 and stream.is_ended
            verdict.check(echo_upstream.requests[0])
            assert len(echo_upstream.requests) == 1
        else:
            assert stream.status is None or is_rejection(stream.status)
            assert not echo_upstream.requests
        assert not connection.is_closed, "only the stream is at fault"
        assert client.ask("/public/good").body == said_back("GET", "/public/good")


def test_there_are_cases_of_every_class():
    classes = {re.match(r"[a-z0-9]+", name)[0] for name in (*HTTP1, *HTTP2)}
    assert classes == {"cl", "te", "chunk", "sp", "name", "value", "line", "host", "hop", "path", "h2"}
    assert len(HTTP1) + len(HTTP2) > 300
