"""Tokens signed with the right key and odd contents, and cookies in odd spellings: who is named is who proved it."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from urllib.parse import unquote

import pytest
from support.gateway import COOKIE, Gateway
from support.processes import wait_until
from support.upstream import FakeUpstream
from support.wire import responses

HOST = b"Host: raw.demo.localhost\r\nConnection: close\r\n"
SECRET = base64.b64encode(hashlib.sha384(b"a secret of these tests").digest()).decode()
NOW = int(time.time())
HEADER = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"iss": "https://other", "aud": "payroll", "sub": "alice", "iat": NOW, "exp": NOW + 3600}
#: Claims but for what a case adds, as text, to spell what `json` would not.
TEXT = '{"iss":"https://other","aud":"payroll","sub":"alice","iat":1'


def part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def text(value: object) -> bytes:
    return value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()


def token(header: object = HEADER, claims: object = CLAIMS, secret: bytes = SECRET.encode()) -> str:
    signed = f"{part(text(header))}.{part(text(claims))}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def without(*names: str) -> dict:
    return {name: value for name, value in CLAIMS.items() if name not in names}


REFUSED = {
    **{f"{name} {value!r}": token({**HEADER, name: value}) for name, value in [
        ("alg", "none"), ("alg", "None"), ("alg", "hs256"), ("alg", "HS512"), ("alg", "ES256"), ("alg", ["HS256"]),
        ("jku", "https://attacker.example"), ("x5u", "https://attacker.example"), ("x5c", ["x"]),
        ("jwk", {"kty": "oct"}),
        ("crit", ["exp"]), ("crit", []), ("b64", False), ("zip", "DEF"), ("enc", "A128GCM"), ("typ", "JWE"), ("typ", 1),
        ("kid", "k" * 200), ("kid", 1), ("kid", None),
    ]},
    **{f"no {name}": token(claims=without(name)) for name in ("iss", "aud", "exp", "sub", "iat")},
    **{f"{name} {value!r}": token(claims={**CLAIMS, name: value}) for name, value in [
        ("exp", NOW - 3600), ("exp", str(NOW + 60)), ("exp", None), ("exp", True), ("exp", [NOW + 60]), ("exp", -5),
        ("exp", 2**63), ("exp", 2**64 + NOW), ("nbf", NOW + 3600), ("nbf", "x"), ("nbf", None), ("iat", NOW + 36_000),
        ("iss", ["https://other"]), ("iss", "https://OTHER"), ("iss", "https://other/"), ("iss", "https://other\0"),
        ("aud", []), ("aud", {"payroll": 1}), ("aud", "payroll2"), ("aud", [["payroll"]]), ("aud", None),
        ("sub", ""), ("sub", 5), ("sub", None), ("sub", ["alice"]),
    ]},
    **{f"exp as {spelling}": token(claims=f'{TEXT},"exp":{spelling}}}')
       for spelling in ("1e300", "1e999", "NaN", "Infinity", "0x7fffffff", "9999999999e", "09999999999", "+9999999")},
    **{f"claims {end!r}": token(claims=f'{TEXT},"exp":9999999999{end}') for end in (
        "}x", ",}", ',"exp":9999999999}', ',"e\\u0078p":1}', ',"x":{"a":1,"a":2}}', ',"x":"\n"}', ',"x":"\\ud800"}',
        ',"x":' + "[" * 2000 + "]" * 2000 + "}", "", "}}")},
    "claims with a byte order mark": token(claims="\ufeff" + json.dumps(CLAIMS)),
    "claims in bad UTF-8": token(claims=text(CLAIMS).replace(b"alice", b"\xff")),
    "claims in an array": token(claims=[CLAIMS]),
    "a header with alg twice": token('{"alg":"none","alg":"HS256"}'),
    "an empty secret": token(secret=b""),
    "the decoded secret": token(secret=base64.b64decode(SECRET)),
    "no signature": token().rpartition(".")[0] + ".",
    "two parts": token().rpartition(".")[0],
    "five parts": token() + ".a.b",
    "padding": token() + "=",
    "the other alphabet": token().replace("-", "+").replace("_", "/").ljust(9) + "+/",
    "a space inside": token()[:20] + " " + token()[20:],
    "two tokens": f"{token()}, {token()}",
    "dots": "..",
    "nothing": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def other(raw_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that trusts another issuer by a shared secret."""
    issuer = {"issuer": "https://other", "audience": "payroll", "prefix": "other:", "keys": {"secret": SECRET}}
    folder = tmp_path_factory.mktemp("other")
    with Gateway(folder, {"raw": raw_upstream.port}, {"authentication": {"jwt": [issuer]}}) as gateway:
        yield gateway


def ask(gateway: Gateway, fields: bytes, path: bytes = b"/private/x") -> int:
    received, _ = gateway.raw(b"GET " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    return responses(received)[0].status


@pytest.mark.parametrize("path", [b"/private/x", b"/optional/x"])
def test_R80_R85_a_token_that_is_not_wholly_right_is_401(other: Gateway, raw_upstream: FakeUpstream, path: bytes):
    raw_upstream.forget()
    assert ask(other, b"Authorization: Bearer " + token().encode() + b"\r\n", path) == 200
    for case, credential in REFUSED.items():
        assert ask(other, b"Authorization: Bearer " + credential.encode() + b"\r\n", path) == 401, case
    assert len(raw_upstream.requests) == 1


def hard_values() -> list[str]:
    """Each control and separator at the beginning, inside and at the end of a name, and what would end its line."""
    codes = [*range(0x00, 0x30), *range(0x3A, 0x41), *range(0x5B, 0x61), *range(0x7B, 0xA1)]
    codes += [0xAD, 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0x1F600]
    values = {text for code in codes for text in (f"{chr(code)}b", f"a{chr(code)}b", f"a{chr(code)}")}
    values |= {
        "a\r\nX-Auth-Roles: admin",
        "a\n\nadmin",
        "%0d%0aX-Auth-Roles: admin",
        "%",
        "%61dmin",
        "\u560d\u560a",
        "\u010a",
    }
    return sorted(values)


def test_R30_no_claim_breaks_out_of_its_field(other: Gateway, raw_upstream: FakeUpstream):
    """Encoded first, so that the application can have back exactly what the issuer said, and nothing else."""
    raw_upstream.forget()
    values = hard_values()
    assert len(values) > 300
    for value in values:
        claims = {**CLAIMS, "sub": value, "email": value, "name": value, "tenant_id": value}
        claims |= {"roles": [value], "groups": [value, "admin,x"]}
        assert ask(other, b"Authorization: Bearer " + token(claims=claims).encode() + b"\r\n") == 200, repr(value)
    assert not raw_upstream.errors
    for value, request in zip(values, raw_upstream.requests, strict=True):
        about = {name: line for name, line in request.fields if name.startswith("X-Auth-")}
        assert len(about) == len([name for name, _ in request.fields if name.lower().startswith("x-auth-")])
        assert all(0x20 <= ord(byte) < 0x7F for line in about.values() for byte in line), repr(value)
        for name in ("User", "Subject"):
            assert unquote(about[f"X-Auth-{name}"]) == f"other:{value}"
        for name in ("Name", "Email", "Tenant"):
            assert unquote(about.get(f"X-Auth-{name}", "")) == value, f"{name} {value!r}"
        assert [unquote(item) for item in about["X-Auth-Groups"].split(",")] == [value, "admin,x"]
        roles = [unquote(item) for item in about.get("X-Auth-Roles", "").split(",") if item]
        assert roles in ([], [value]), "a role is left out or it is itself"


@pytest.mark.parametrize("breaker", ["\u2028", "\u2029", "\u0085", "\u009b", "\x7f"])
def test_R32_no_claim_breaks_a_line_of_the_log(other: Gateway, breaker: str):
    claims = {**CLAIMS, "sub": f"mallory{breaker}{{forged}}"}
    assert ask(other, b"Authorization: Bearer " + token(claims=claims).encode() + b"\r\n") == 200
    wait_until(lambda: "{forged}" in other.log(), "the exchange is logged")
    assert breaker not in other.log()


def test_R63_R70_a_session_cookie_counts_once_and_whole(gateway: Gateway, raw_upstream: FakeUpstream):
    mine = gateway.as_user("user@example.com").cookies[COOKIE]
    boss = gateway.as_user("admin@example.com").cookies[COOKIE]
    assert ask(gateway, f"Cookie: {COOKIE}={mine}\r\n".encode()) == 200
    assert raw_upstream.requests[0].get("x-auth-user") == "user"
    raw_upstream.forget()
    for value in (
        f"{COOKIE}={mine}; {COOKIE}={boss}",
        f"{COOKIE}={boss}; {COOKIE}={mine}",
        f"{COOKIE}={mine}; {COOKIE}={mine}",
        f"{COOKIE}={mine}\r\nCookie: {COOKIE}={boss}",
        f"{COOKIE}={mine}; {COOKIE}=",
        f'{COOKIE}="{mine}"; {COOKIE}={boss}',
        f"{COOKIE.upper()}={boss}",
        f"__Secure-{COOKIE}={boss}",
        f"__Host-{COOKIE}={boss}",
        f"={COOKIE}={boss}",
        f"a=b,{COOKIE}={boss}",
        f"{COOKIE.replace('_', '%5f')}={boss}",
        f"{COOKIE}={boss[:-1]}",
        f"{COOKIE}={boss}x",
        f"{COOKIE}={boss}=",
        f"{COOKIE}={boss}%00",
        f"{COOKIE}={boss.swapcase()}",
        f"session={boss}",
        f"{COOKIE}",
    ):
        assert ask(gateway, f"Cookie: {value}\r\n".encode()) == 401, value
        assert ask(gateway, f"Cookie: {value}\r\n".encode(), b"/optional/x") == 200, value
    assert not [request for request in raw_upstream.requests if request.all("x-auth-user")]


def test_each_request_of_a_connection_has_its_own_subject(gateway: Gateway, raw_upstream: FakeUpstream):
    cookies = {name: gateway.as_user(f"{name}@example.com").cookies[COOKIE] for name in ("user", "admin")}
    order = ["admin", None, "user", None, "admin", "user", None] * 5
    data = b""
    for name in order:
        fields = f"Cookie: {COOKIE}={cookies[name]}\r\n" if name else ""
        data += f"GET /optional/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n{fields}\r\n".encode()
    received, _ = gateway.raw(data + b"GET /public/end HTTP/1.1\r\n" + HOST + b"\r\n")
    assert [answer.status for answer in responses(received)] == [200] * (len(order) + 1)
    assert [request.get("x-auth-user") for request in raw_upstream.requests[:-1]] == order


def test_the_ids_of_a_client_stay_outside(gateway: Gateway, raw_upstream: FakeUpstream):
    forged = ("X-Request-Id", "X.Request.Id", "x-request-ID", "TRACEPARENT", "trace.parent", "traceparent")
    for count in (1, 2):
        fields = "".join(f"{name}: 00-evil\r\n" for name in forged) * count
        assert ask(gateway, fields.encode(), b"/public/x") == 200
    for request in raw_upstream.requests:
        assert "00-evil" not in [value for _, value in request.fields]
        assert request.get("x-request-id")
        assert request.get("traceparent")


def test_R60_only_hosts_of_the_routes_are_returned_to(gateway: Gateway):
    with gateway.client() as client:
        here = gateway.url("raw", "/private/x")
        assert here in client.get(gateway.url("iam", "/auth/login"), params={"rd": here}).text
        for elsewhere in ("https://unrouted.demo.localhost/", "https://raw.demo.localhost:1/x"):
            page = client.get(gateway.url("iam", "/auth/login"), params={"rd": elsewhere}).text
            assert elsewhere not in page


def test_a_sandboxed_page_signs_nobody_out(gateway: Gateway):
    client = gateway.sign_in("legal@example.com", "127.0.0.77")
    client.post(gateway.url("iam", "/api/auth/logout"), headers={"Origin": "null"})
    assert client.get(gateway.url("iam", "/api/auth/verify")).json()["authenticated"] is True
