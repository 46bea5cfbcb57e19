"""Credentials and sign-in bodies that are too long, too deep, too many or no text: refused, and quickly."""

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Iterator

import pytest
from support.gateway import COOKIE, Gateway
from support.resources import MIB, Resources
from support.upstream import FakeUpstream
from support.wire import Message, responses
from test_attacks_credentials import CLAIMS, SECRET, TEXT, token

HOST = b"Host: raw.demo.localhost\r\nConnection: close\r\n"
HEAD_BYTES_MAX = 16 * 1024
TOKEN_BYTES_MAX = 16 * 1024


@pytest.fixture(scope="module")
def roomy(raw_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that takes heads of 60 KiB, and tokens of an issuer whose secret we have."""
    issuer = {"issuer": "https://other", "audience": "payroll", "prefix": "other:", "keys": {"secret": SECRET}}
    endpoint = {"endpoints": [f"127.0.0.1:{raw_upstream.port}"], "keep_alive": {"timeout": "0s"}}
    changes = {"authentication": {"jwt": [issuer]}, "workers": 1, "upstreams": {"raw": endpoint}}
    gateway = Gateway(tmp_path_factory.mktemp("roomy"), {"raw": raw_upstream.port}, changes)
    gateway.configuration["authentication"]["session"] = {"cookie_name": COOKIE}
    for listener in gateway.configuration["listeners"]:
        listener["head_bytes_max"] = "60KiB"
    gateway.write()
    with gateway:
        yield gateway


def ask(gateway: Gateway, fields: bytes, path: bytes = b"/private/x") -> Message:
    received, closed = gateway.raw(b"GET " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    assert closed
    return responses(received)[0]


def ask_with_token(gateway: Gateway, credential: str | bytes) -> int:
    value = credential.encode() if isinstance(credential, str) else credential
    return ask(gateway, b"Authorization: Bearer " + value + b"\r\n").status


@pytest.mark.parametrize("field", [b"Authorization: Bearer ", b"Cookie: a=", b"Cookie: " + COOKIE.encode() + b"="])
def test_a_credential_fills_the_head_and_not_a_byte_more(gateway: Gateway, raw_upstream: FakeUpstream, field: bytes):
    rest = len(b"GET /private/x HTTP/1.1\r\n" + HOST + field + b"\r\n\r\n")
    assert ask(gateway, field + b"x" * (HEAD_BYTES_MAX - rest) + b"\r\n").status == 401
    assert ask(gateway, field + b"x" * (HEAD_BYTES_MAX - rest + 1) + b"\r\n").status == 431
    assert ask(gateway, field + b"x" * 1_000_000 + b"\r\n").status == 431
    assert not raw_upstream.requests


def padded(length: int) -> str:
    """A good token of this length, or up to three bytes more."""
    size = length
    while size:
        made = token(claims={**CLAIMS, "x": "y" * size})
        if len(made) <= length + 3:
            return made if len(made) >= length else token(claims={**CLAIMS, "x": "y" * (size + 1)})
        size -= max(1, (len(made) - length) // 2)
    raise AssertionError("no token is as short as that")


def test_a_token_may_have_16_kibibytes_and_no_more(roomy: Gateway, raw_upstream: FakeUpstream):
    raw_upstream.forget()
    longest = next(made for made in map(padded, range(TOKEN_BYTES_MAX - 3, 0, -1)) if len(made) <= TOKEN_BYTES_MAX)
    assert ask_with_token(roomy, longest) == 200
    too_long = padded(TOKEN_BYTES_MAX + 1)
    assert ask_with_token(roomy, too_long) == 401
    assert ask_with_token(roomy, padded(50_000)) == 401
    assert len(raw_upstream.requests) == 1


MALFORMED = {
    "deep lists": ',"x":' + "[" * 5000 + "]" * 5000 + "}",
    "deep objects": ',"x":' + '{"a":' * 1500 + "1" + "}" * 1500 + "}",
    "lists that do not end": ',"x":' + "[" * 11_000,
    "an end too many": ',"x":[' + "]" * 5000 + "}",
    "the same name a thousand times": "".join(',"x":1' for _ in range(1000)) + "}",
    "exp again": ',"exp":9999999999}',
    "exp again, escaped": ',"\\u0065xp":9999999999}',
    "a number that does not end": ',"x":' + "1" * 11_000,
    "half an escape": ',"x":"\\u12"}',
    "a string that does not end": ',"x":"' + "y" * 9000,
    "NUL": ',"x":"\0"}',
}


@pytest.mark.parametrize("case", MALFORMED)
def test_claims_that_are_malformed_are_401(roomy: Gateway, raw_upstream: FakeUpstream, case: str):
    raw_upstream.forget()
    assert ask_with_token(roomy, token(claims=f'{TEXT},"exp":9999999999,"x":[1]}}')) == 200, "the other side"
    raw_upstream.forget()
    assert ask_with_token(roomy, token(claims=f'{TEXT},"exp":9999999999{MALFORMED[case]}')) == 401
    header = '{"alg":"HS256","typ":"JWT"' + MALFORMED[case].replace('"exp":9999999999', '"alg":"HS256"')
    assert ask_with_token(roomy, token(header=header.replace("\\u0065xp", "\\u0061lg"))) == 401
    assert not raw_upstream.requests


@pytest.mark.parametrize("number", ["1e999999999", "-1e999999999", "1" * 5000, "9" * 400 + ".5", "1e400", "-1e400"])
def test_a_time_that_no_clock_shows_is_401(roomy: Gateway, number: str):
    assert ask_with_token(roomy, token(claims=f'{TEXT},"exp":{number}}}')) == 401
    assert ask_with_token(roomy, token(claims=f'{TEXT},"exp":9999999999,"nbf":{number}}}')) == 401


@pytest.mark.parametrize("number", ["1e999999999", "1" * 5000, "0." + "1" * 5000, "1e-999999999", "-0"])
def test_a_number_that_nobody_asks_for_does_no_harm(roomy: Gateway, number: str):
    assert ask_with_token(roomy, token(claims=f'{TEXT},"exp":9999999999,"x":{number}}}')) in (200, 401)


def test_many_claims_and_long_lists_stay_within_bounds(roomy: Gateway, raw_upstream: FakeUpstream):
    raw_upstream.forget()
    resources = Resources(roomy)
    began = time.monotonic()
    for more in (
        {f"c{number}": number for number in range(900)},
        {"aud": [*(f"a{number}" for number in range(1200)), "payroll"]},
        {"roles": [f"r{number}" for number in range(1200)]},
        {"groups": ["g" * 9000]},
        {"name": "ü" * 1500},
        {"roles": [""] * 2000},
    ):
        made = token(claims={**CLAIMS, **more})
        assert len(made) <= TOKEN_BYTES_MAX
        assert ask_with_token(roomy, made) in (200, 401)
    assert time.monotonic() - began < 2
    for request in raw_upstream.requests:
        assert request.get("x-auth-user") == "other:alice"
        assert sum(len(name) + len(value) for name, value in request.fields) < 32_768, "no head that upstreams refuse"
    assert resources.memory_growth < 8 * MIB


def test_bytes_that_no_credential_has(roomy: Gateway, raw_upstream: FakeUpstream):
    raw_upstream.forget()
    good = token().encode()
    for byte in range(256):
        expected = 400 if byte < 0x20 and byte != 0x09 or byte == 0x7F else 401
        inside = good[:20] + bytes([byte]) + good[20:]
        if byte not in b"\r\n":
            assert ask_with_token(roomy, inside) == expected, byte
            cookie = COOKIE.encode() + b"=" + secrets.token_urlsafe(32).encode()[:-1] + bytes([byte])
            assert ask(roomy, b"Cookie: " + cookie + b"\r\n").status == expected, byte
    assert not raw_upstream.requests


def test_10000_cookies_hide_nothing_and_take_no_time(gateway: Gateway, roomy: Gateway, raw_upstream: FakeUpstream):
    listener = {**gateway.configuration["listeners"][1]}
    assert "head_bytes_max" not in listener, "elsewhere there is no room for so many"
    assert ask(gateway, b"Cookie: " + b"a=;" * 10_000 + b"\r\n").status == 431
    raw_upstream.forget()
    mine = COOKIE.encode() + b"=" + secrets.token_urlsafe(32).encode()
    resources = Resources(roomy)
    began = time.monotonic()
    for value in (
        b"a=;" * 10_000 + mine,
        mine + b";a=" * 10_000,
        b";" * 50_000,
        b"=" * 50_000,
        b"a=b; " * 10_000,
        b"; ".join([mine] * 700),
        b"a=" + b'"' * 50_000,
    ):
        assert ask(roomy, b"Cookie: " + value + b"\r\n").status == 401, value[:40]
        answer = ask(roomy, b"Cookie: " + value + b"\r\n", b"/optional/x")
        assert answer.status == 200, value[:40]
    assert time.monotonic() - began < 3
    for request in raw_upstream.requests:
        assert not request.all("x-auth-user")
        assert COOKIE not in "".join(request.all("cookie"))
    assert resources.memory_growth < 8 * MIB


LOGIN = '{"username":"user@example.com","password":"x"'
BODIES: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "no JSON": (b"username=x&password=y", 400),
    "half of it": (LOGIN.encode(), 400),
    "more behind it": (LOGIN.encode() + b"}}", 400),
    "a list": (b"[]", 400),
    "no password": (b'{"username":"x"}', 400),
    "a number as a password": (b'{"username":"x","password":1}', 400),
    "a name twice": ((LOGIN + ',"username":"admin@example.com"}').encode(), 400),
    "a name twice, escaped": ((LOGIN + ',"user\\u006eame":"admin@example.com"}').encode(), 400),
    "bytes that are not UTF-8": (b'{"username":"\xff","password":"x"}', 400),
    "NUL": (b'{"username":"a\0","password":"x"}', 400),
    "half a surrogate": (b'{"username":"\\ud800","password":"x"}', 400),
    "deep lists": (b'{"username":' + b"[" * 8000 + b"]" * 8000 + b"}", 400),
    "deep objects": (b'{"a":' * 3000, 400),
    "a large number": ((LOGIN + ',"x":' + "1" * 9000).encode(), 400),
    "a long password": (json.dumps({"username": "nobody@example.com", "password": "x" * 10_000}).encode(), 401),
    "a long name": (json.dumps({"username": "x" * 10_000, "password": "x"}).encode(), 401),
    "17 KiB": (LOGIN.encode() + b" " * 17 * 1024 + b"}", 413),
    "a megabyte": (b"[" * MIB, 413),
}


@pytest.mark.parametrize("chunked", [False, True], ids=["by length", "in chunks"])
def test_a_sign_in_that_is_none_is_refused_and_says_nothing(gateway: Gateway, chunked: bool):
    for number, (case, (body, status)) in enumerate(BODIES.items()):
        head = b"POST /api/auth/login HTTP/1.1\r\nHost: iam.demo.localhost\r\nContent-Type: application/json\r\n"
        framed = b"Content-Length: %d\r\n\r\n" % len(body) + body
        if chunked:
            last = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n"
            framed = b"Transfer-Encoding: chunked\r\n\r\n" + last
        # From an address of its own: attempts are counted by address.
        with gateway.connect(source=f"127.7.{int(chunked)}.{number + 1}") as peer:
            received = exchange(peer, head + b"Connection: close\r\n" + framed)
        answer = responses(received, "POST")[0]
        assert answer.status == status, (case, answer)
        assert not answer.all("set-cookie"), case
        assert not [word for word in (b"Swift", b".swift", b"JSONError", b"offset") if word in answer.body], case


def exchange(peer: socket.socket, data: bytes) -> bytes:
    received = b""
    # Refused before the end was read: the answer is still to be had.
    with contextlib.suppress(ConnectionError):
        peer.sendall(data)
    with contextlib.suppress(ConnectionResetError):
        while block := peer.recv(65536):
            received += block
    return received
