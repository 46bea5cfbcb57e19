"""Fields that tell browsers to be strict: by route, over TLS or not, in the application's answers and in ours."""

import pytest
import requests
from support.gateway import Gateway, route
from support.upstream import FakeUpstream, answer_always
from support.wire import Message, read_response

ALL = {
    "hsts": "365d",
    "hsts_include_subdomains": True,
    "hsts_preload": True,
    "nosniff": True,
    "frame_options": "DENY",
    "referrer_policy": "same-origin",
    "content_security_policy": "default-src 'self'",
    "permissions_policy": "camera=(), geolocation=()",
}
HSTS = "max-age=31536000; includeSubDomains; preload"
SENT = {
    "Strict-Transport-Security": HSTS,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'",
    "Permissions-Policy": "camera=(), geolocation=()",
}
PLAIN = {name: value for name, value in SENT.items() if name != "Strict-Transport-Security"}
OWN = {name: SENT[name] for name in ("Strict-Transport-Security", "X-Frame-Options", "Permissions-Policy")}
ROUTES = [
    route("raw", "/**", public=True),
    route("raw", "/kept", public=True, security_headers={"frame_options": "SAMEORIGIN", "hsts": "1h"}),
    route(
        "raw",
        "/off",
        public=True,
        security_headers={
            "hsts": "off",
            "nosniff": False,
            "frame_options": "off",
            "referrer_policy": "off",
            "content_security_policy": "off",
            "permissions_policy": "off",
        },
    ),
    route("raw", "/replaced", public=True, security_headers={"existing": "replace"}),
    route("raw", "/private", require={"authenticated": True}),
    route("iam", "/auth/**", "identity", public=True),
]
#: What an application sends itself, in another case and with a value of its own; and one twice.
SPOKEN = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-frame-options: SAMEORIGIN\r\nSTRICT-TRANSPORT-SECURITY: max-age=1\r\n"
    b"Content-Security-Policy: default-src 'none'\r\nContent-Security-Policy: img-src *\r\nX-Frame-Option: no\r\n\r\nok"
)


@pytest.fixture
def strict(upstream: FakeUpstream, start_gateway) -> Gateway:
    return start_gateway(
        {
            "raw": upstream.port,
        },
        {"security_headers": ALL, "routes": ROUTES},
    )


def values(answer: requests.Response | Message) -> dict[str, str | None]:
    """Each of the fields once, or not at all."""
    found = {}
    for name in SENT:
        lines = answer.all(name) if isinstance(answer, Message) else answer.raw.headers.getlist(name)
        if lines:
            found[name] = lines[0] if len(lines) == 1 else lines
    return found


def ask_plain(gateway: Gateway, path: str, fields: bytes = b"", host: str = "raw") -> Message:
    with gateway.connect() as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}.demo.localhost\r\n".encode() + fields + b"\r\n")
        return read_response(peer)


def test_every_answer_of_the_application_has_them(strict: Gateway):
    assert values(strict.get("raw", "/x")) == SENT
    assert values(ask_plain(strict, "/x")) == PLAIN, "no HSTS without TLS (RFC 6797 section 7.2)"


def test_a_route_changes_and_switches_off(strict: Gateway):
    assert values(strict.get("raw", "/kept")) == {
        **SENT,
        "X-Frame-Options": "SAMEORIGIN",
        "Strict-Transport-Security": "max-age=3600; includeSubDomains; preload",
    }
    assert values(strict.get("raw", "/off")) == {}


def test_what_the_application_says_itself_is_kept_or_replaced(strict: Gateway, upstream: FakeUpstream):
    upstream.script = answer_always(SPOKEN)
    assert values(strict.get("raw", "/x")) == {
        **SENT,
        "X-Frame-Options": "SAMEORIGIN",
        "Strict-Transport-Security": "max-age=1",
        "Content-Security-Policy": ["default-src 'none'", "img-src *"],
    }
    replaced = strict.get("raw", "/replaced")
    assert values(replaced) == SENT
    assert replaced.headers["X-Frame-Option"] == "no", "another name is another field"
    assert values(strict.get("raw", "/off")).keys() == {
        "X-Frame-Options",
        "Strict-Transport-Security",
        "Content-Security-Policy",
    }


def test_answers_of_the_gateways_own_have_them_beside_their_own_policies(strict: Gateway, upstream: FakeUpstream):
    navigation = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
    answers = {
        "401": strict.get("raw", "/private"),
        "sign-in": strict.get("raw", "/private", headers=navigation),
        "the sign-in page": strict.get("iam", "/auth/login"),
        "400": strict.get("raw", "/a%00b"),
        "404 page": strict.client().get(strict.url("flask", "/x"), headers=navigation),
        "own path": strict.get("raw", "/.gateway/login"),
    }
    upstream.script = lambda connection: connection.read_head()
    answers["502"] = strict.get("raw", "/x")
    assert [answer.status_code for answer in answers.values()] == [401, 302, 200, 400, 404, 302, 502]
    for name, answer in answers.items():
        found = values(answer)
        assert found.items() >= OWN.items(), name
        # The page's own policy holds: with that of the applications its style would be lost.
        assert found.get("Content-Security-Policy", "").startswith(("", "default-src 'none'")), name
        assert not isinstance(found.get("X-Content-Type-Options"), list), name
    assert "nonce" in answers["the sign-in page"].headers["Content-Security-Policy"]
    assert answers["the sign-in page"].headers["Referrer-Policy"] == "no-referrer"


def test_a_redirect_to_https_says_nothing_of_hsts(strict: Gateway):
    answer = requests.get(
        f"http://127.0.0.1:{strict.redirect_port}/x?y", headers={"Host": "raw.demo.localhost"}, allow_redirects=False
    )
    assert answer.status_code == 308
    assert answer.headers["Location"] == strict.url("raw", "/x?y")
    assert values(answer) == {name: value for name, value in OWN.items() if name != "Strict-Transport-Security"}
    posted = requests.post(
        f"http://127.0.0.1:{strict.redirect_port}/x",
        b"1",
        headers={"Host": "raw.demo.localhost"},
        allow_redirects=False,
    )
    assert posted.status_code == 308, "the method stays, as a 301 would not let it"


def test_behind_a_trusted_proxy_its_word_counts(upstream: FakeUpstream, start_gateway):
    own = start_gateway(
        {"raw": upstream.port}, {"security_headers": ALL, "routes": ROUTES, "trusted_proxies": "127.0.0.1"}
    )
    assert values(ask_plain(own, "/x", b"X-Forwarded-Proto: https\r\n")) == SENT
    assert values(ask_plain(own, "/x")) == PLAIN
    assert values(ask_plain(own, "/x", b"X-Forwarded-Proto: http\r\n")) == PLAIN
