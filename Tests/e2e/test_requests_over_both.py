"""The rules for requests hold over either version: R01 to R12, R20 to R32, R40 to R49.

What can be said over HTTP/2 alone, such as a line's end within a value, is tried over HTTP/2. Whatever the verdict,
what goes upstream is read by the strict parser of these tests, and nothing that was smuggled is in it.
"""

import itertools
import json
import random
from collections.abc import Iterator

import pytest
from support import http2
from support.clients import VERSIONS, Client, OverHTTP2, client_of
from support.gateway import COOKIE, Gateway
from support.http2 import pseudo
from support.spellings import (
    CANARY,
    DJANGO_SECRET,
    FLASK_SECRET,
    FORWARDING,
    OTHER_HOSTS,
    assert_clean,
    batches,
    folded,
    hosts_that_are_ours,
    is_about_forwarding,
    of_managed_names,
    of_name,
    of_path,
    queries,
)
from support.upstream import FakeUpstream, answer_always

SMUGGLED = "\r\n\r\nGET /public/smuggled HTTP/1.1\r\nhost: raw.demo.localhost\r\n\r\n"


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, gateway: Gateway, raw_upstream: FakeUpstream) -> Iterator[Client]:
    with client_of(request.param, gateway) as client:
        yield client
    assert b"smuggled" not in raw_upstream.everything_received()


@pytest.fixture
def over_http2(gateway: Gateway, raw_upstream: FakeUpstream) -> Iterator[OverHTTP2]:
    with OverHTTP2(gateway) as client:
        yield client
        # The gateway is as it was, and so is the connection that it keeps upstream.
        assert client.ask("/public/good").body == b"ok"
    assert not raw_upstream.errors
    assert b"smuggled" not in raw_upstream.everything_received()


@pytest.fixture
def session(gateway: Gateway) -> str:
    """The value of a session cookie."""
    return gateway.as_user("user@example.com").cookies[COOKIE]


# Paths


def test_R01_the_query_takes_no_part(client: Client, raw_upstream: FakeUpstream):
    chosen = random.Random(1).sample(queries(1), 100)
    for path, query in itertools.product(("/admin", "/%61dmin/x"), chosen):
        assert client.ask(f"{path}?{query}").status == 401, f"{path}?{query}"
    assert not raw_upstream.requests
    for query in chosen:
        assert client.ask(f"/public/x?{query}").status == 200, query
    assert [request.target for request in raw_upstream.requests] == [f"/public/x?{query}" for query in chosen]


#: Targets that are refused with 400 over either version, because two servers could read them in two ways.
AMBIGUOUS = [
    # R02
    *("/public/x#", "/public/#/../admin/x", "/admin/x#/public/", "/#", "/public/x?a#b", "/admin/x?#"),
    # R04
    *("/..", "/../x", "/public/../../x", "/public/x/../../../public/x", "/./../x"),
    # R05
    *(f"/public/{dot}{parameter}/admin/x" for dot in ("..", ".", "%2e%2e", ".%2e") for parameter in (";", ";x=1")),
    *("/public/%2e%2e/admin/x", "/public/.%2e/admin/x", "/public/%2E/x"),
    # R06
    *(f"/public/x%{byte}y" for byte in ("00", "2f", "2F", "5c", "5C", "01", "0a", "0d", "0A", "0D", "1f", "7f")),
    *("/public/..%2fadmin/x", "/public/..%5cadmin/x", "/public/%2e%2e%2fadmin/x"),
    # Escapes that are none
    *("/public/%", "/public/%4", "/public/%zz", "/public/%4g", "/public/%%31", "/public/%u0041"),
    # R08
    *("/public/\\x", "/public\\..\\admin", "/public/x?a\\b"),
    # R09
    *("//admin/x", "///admin/x", "//public/x"),
    # R10
    *("/public/%C3%28", "/public/%ff", "/public/%c0%af", "/public/%ed%a0%80"),
    # Bytes that need encoding
    *("/public/\xe4", "/public/\xff", "/public/x?\x80", "/public/{x\x85}"),
    "/public" + "/x" * 64,
]


def test_R02_to_R10_a_target_of_two_readings_is_400(client: Client, raw_upstream: FakeUpstream):
    for target in AMBIGUOUS:
        assert client.ask(target).status == 400, target
        assert client.ask(target, method="POST", body=b"smuggled").status == 400, target
    assert not raw_upstream.requests


#: Targets that pass, and what the application gets.
NORMAL = {
    "/public/x": "/public/x",
    "/public/x?": "/public/x?",
    "/public/x%23y": "/public/x%23y",
    "/admin/../public/./x": "/public/x",
    "/public/a/b/../../x/.": "/public/x/",
    "/public/x;a=1/y;b": "/public/x;a=1/y;b",
    "/public/x%3By%3fz%25": "/public/x%3By%3Fz%25",
    "/public/%252e%252e/admin/x": "/public/%252e%252e/admin/x",
    "/public/x%252fy": "/public/x%252fy",
    "/p%75blic/%7e%41%c3%a4%3d": "/public/~A%C3%A4%3D",
    "/public//x": "/public//x",
    "/public" + "/x" * 63: "/public" + "/x" * 63,
    "/public/x?/../..//%zz": "/public/x?/../..//%zz",
    "/public/:x@y!$&'()*+,=": "/public/:x@y!$&'()*+,=",
}


def test_R02_to_R10_a_target_of_one_reading_passes_in_its_normal_form(client: Client, raw_upstream: FakeUpstream):
    for target, wanted in NORMAL.items():
        assert client.ask(target).status == 200, target
        assert raw_upstream.requests[-1].target == wanted


def test_R03_R04_R08_what_looks_like_the_open_path_is_judged_as_what_it_is(client: Client, raw_upstream: FakeUpstream):
    for target in ("/public/../admin/x", "/public/./../admin/./x", "/%61dmin/x", "/admin//x", "/admin/x%23/public/y"):
        assert client.ask(target).status == 401, target
    for target in ("/PUBLIC/x", "/Admin/x", "/%2561dmin/x"):
        assert client.ask(target).status == 404, target
    for name in ("X-Forwarded-Uri", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Forwarded-Path"):
        assert client.ask("/admin/x", [(name, "/public/x")]).status == 401
        assert client.ask("/public/x", [(name, "/admin/x")]).status == 200
    assert {request.target for request in raw_upstream.requests} == {"/public/x"}


@pytest.mark.parametrize("host", ["open", "opendjango"])
def test_R09_no_spelling_opens_what_the_real_applications_protect(client: Client, gateway: Gateway, host: str):
    paths = ("/reports", "/api/reports") if host == "open" else ("/invoices/", "/admin/login/")
    targets = sorted({spelling for path in paths for spelling in of_path(path)})
    answered = 0
    for target in random.Random(92).sample(targets, 400):
        answer = client.ask(target, host=f"{host}.demo.localhost")
        assert answer.status is not None, target
        assert FLASK_SECRET not in answer.body, target
        assert not DJANGO_SECRET.search(answer.body), target
        answered += answer.status not in (400, 401)
    assert answered > 20, "hardly any spelling reached the application"
    token = gateway.mint("sales@example.com", "invoices:read") if host == "opendjango" else gateway.mint()
    answer = client.ask(paths[0], [("Authorization", f"Bearer {token}")], host=f"{host}.demo.localhost")
    assert FLASK_SECRET in answer.body or DJANGO_SECRET.search(answer.body)


def test_R11_each_spelling_of_a_host_has_the_same_rules(client: Client, raw_upstream: FakeUpstream):
    for host in hosts_that_are_ours(11)[::6]:
        for path, status in (("/admin/x", 401), ("/public/x", 200), ("/nothing", 404)):
            assert client.ask(path, host=host).status == status, (host, path)
    assert {request.target for request in raw_upstream.requests} == {"/public/x"}


def test_R11_R49_a_host_that_only_looks_like_ours_has_none(client: Client, raw_upstream: FakeUpstream):
    for host in [*OTHER_HOSTS, "x" * 300, "raw.demo.localhost" + "x" * 10_000]:
        answer = client.ask("/public/x", host=host)
        assert answer.status in (400, 404) or answer.error == http2.PROTOCOL_ERROR, host
    assert not raw_upstream.requests


def test_R12_health_is_answered_on_the_admin_listener_alone(client: Client, raw_upstream: FakeUpstream):
    for path in ("/readyz", "/metrics", "/healthz", "/ping"):
        assert client.ask(path).status == 404
    for agent in ("kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"):
        assert client.ask("/admin/x", [("User-Agent", agent)]).status == 401
    assert not raw_upstream.requests


# Names


def forged(names: list[str]) -> list[tuple[str, str]]:
    return [(name, f"{CANARY}-{number}") for number, name in enumerate(names)]


def distinct(client: Client, names: list[str]) -> list[str]:
    """HTTP/2 knows one case."""
    return names if client.version == "HTTP/1.1" else sorted({name.lower() for name in names})


@pytest.mark.parametrize("path", ["/public/x", "/optional/x", "/private/x"])
def test_R20_to_R24_no_spelling_of_a_managed_name_reaches_an_application(
    client: Client, raw_upstream: FakeUpstream, session: str, path: str
):
    names = batches(distinct(client, of_managed_names(20))[::2])
    cookie = [] if path == "/public/x" else [("Cookie", f"{COOKIE}={session}")]
    for batch in names:
        assert client.ask(path, [*cookie, *forged(batch)]).status == 200
    requests = raw_upstream.wait_for_requests(len(names))
    for request in requests:
        assert_clean(request)
        assert request.get("X-Auth-User") == requests[0].get("X-Auth-User")
        assert (request.get("X-Auth-User") is None) == (path == "/public/x")
        assert request.get("X-Auth-Tenant") is None, "an absent claim leaves its field absent"


@pytest.mark.parametrize("host", ["flask", "django"])
def test_R20_no_spelling_signs_anybody_in_at_the_applications(client: Client, host: str):
    for batch in batches(distinct(client, of_managed_names(3))[::3]):
        answer = client.ask("/whoami", forged(batch), host=f"{host}.demo.localhost")
        assert answer.status == 200
        assert CANARY.encode() not in answer.body
        assert json.loads(answer.body)["user"] is None


def test_R22_no_spelling_of_a_managed_name_comes_as_a_trailer(client: Client, raw_upstream: FakeUpstream):
    names = batches(distinct(client, of_managed_names(22))[::4])
    for batch in names:
        answer = client.ask(
            "/public/x", [("Trailer", "X-Auth-User")], "POST", body=b"ok", trailers=[*forged(batch), ("note", "1")]
        )
        assert answer.status == 200
    for request in raw_upstream.wait_for_requests(len(names)):
        assert request.body == b"ok"
        assert_clean(request)


def test_R24_two_of_a_field_that_may_come_once_are_refused(client: Client, gateway: Gateway, raw_upstream):
    token = ("Authorization", f"Bearer {gateway.mint()}")
    for second in (token, ("Authorization", "Bearer x"), ("Authorization", "Basic eDp5"), ("authorization", "")):
        for fields in ([token, second], [second, token]):
            assert client.ask("/private/x", fields).status in (400, 401)
    assert not raw_upstream.requests


def test_R26_forwarding_fields_are_rebuilt_from_the_socket(client: Client, gateway: Gateway, raw_upstream):
    chance = random.Random(26)
    fields = [
        (spelling, value)
        for name, values in FORWARDING.items()
        for spelling in distinct(client, sorted(set(of_name(name, chance))))
        for value in values
    ]
    chance.shuffle(fields)
    messages = [[field] for field in fields[::20]] + [fields[at : at + 60] for at in range(0, len(fields), 60)]
    for message in messages:
        assert client.ask("/public/x", message).status == 200
    is_plain = client.version == "HTTP/1.1"
    scheme, port = ("http", gateway.plain_port) if is_plain else ("https", gateway.https_port)
    expected = {
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-proto": scheme,
        "x-forwarded-host": "raw.demo.localhost",
        "x-forwarded-port": str(port),
        "forwarded": f"for=127.0.0.1;proto={scheme}",
    }
    for request in raw_upstream.wait_for_requests(len(messages)):
        about = [(name.lower(), value) for name, value in request.fields if is_about_forwarding(name)]
        assert sorted(about) == sorted(expected.items())


@pytest.mark.parametrize("version", VERSIONS)
def test_R27_an_address_that_is_none_counts_as_untrusted(start_gateway, upstream: FakeUpstream, version: str):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["127.0.0.0/8", "10.0.0.0/8"]})
    chains = {
        "198.51.100.7": "198.51.100.7",
        "198.51.100.7, 10.1.2.3": "198.51.100.7",
        "203.0.113.1, 198.51.100.7": "198.51.100.7",
        "x": "127.0.0.1",
        "198.51.100.7, x": "127.0.0.1",
        "198.51.100.7, x, 10.1.2.3": "10.1.2.3",
        "::ffff:198.51.100.7": "198.51.100.7",
        "0x7f.1": "127.0.0.1",
        "": "127.0.0.1",
        ",": "127.0.0.1",
        "1.2.3.4%1": "127.0.0.1",
    }
    with client_of(version, own) as client:
        for chain, wanted in chains.items():
            assert client.ask("/public/x", [("X-Forwarded-For", chain)]).status == 200
            assert upstream.requests[-1].get("X-Forwarded-For") == wanted, chain


def test_R28_on_preflights_errors_and_heads_too(client: Client, raw_upstream: FakeUpstream):
    preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "GET")]
    names = batches(distinct(client, of_managed_names(9)))[:6]
    for batch in names:
        assert client.ask("/preflight/x", [*preflight, *forged(batch)], "OPTIONS").status == 200
        assert client.ask("/public/x", forged(batch), "HEAD").status == 200
        assert client.ask("/nothing", forged(batch)).status == 404
    requests = raw_upstream.wait_for_requests(2 * len(names))
    assert {request.method for request in requests} == {"OPTIONS", "HEAD"}
    for request in requests:
        assert_clean(request)


def test_other_names_with_an_underscore_are_dropped(client: Client, raw_upstream: FakeUpstream):
    assert client.ask("/public/x", [("x_other", "1"), ("x-other", "2"), ("a_b-c", "3")]).status == 200
    kept = [(name, value) for name, value in raw_upstream.requests[-1].fields if value in "123"]
    assert kept == [("x-other", "2")]


def test_R31_no_link_is_made_of_what_a_client_says(client: Client, gateway: Gateway, raw_upstream: FakeUpstream):
    lies = [("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example"), ("X-Forwarded-Proto", "gopher")]
    answer = client.ask("/private/x", [*lies, ("Sec-Fetch-Mode", "navigate")])
    assert answer.status == 302
    assert answer.get("Location").startswith(f"https://iam.demo.localhost:{gateway.https_port}/auth/login?")
    assert "evil" not in answer.get("Location") and b"evil" not in answer.body


def test_R32_the_log_is_one_event_a_line_whatever_is_asked(client: Client, gateway: Gateway):
    nasty = '"},\n{"event":"forged"}\\u000a\x80\xff\u2028'.replace("\n", "\t").encode("utf-8").decode("latin-1")
    path = "/public/" + "".join(f"%{byte:02x}" for byte in b'"},{"event":"forged"}')
    fields = [(name, nasty) for name in ("User-Agent", "Referer", "X-Request-Id", "Traceparent", "X-Forwarded-For")]
    assert client.ask(path + "?%0a%0d", fields).status == 200
    assert client.ask("/nothing" + path, fields).status == 404
    assert not [event for event in gateway.events() if event.get("event") == "forged"]


# Framing (R40, R41)

BODY = b"hello"
#: A length, and whether it says five, something else, or nothing.
LENGTHS = {
    "5": 5,
    "05": 5,
    "000000005": 5,
    "0": 0,
    "4": 4,
    "6": 6,
    "50": 50,
    "999999": 999_999,
    "999999999999999999": 10**18 - 1,
    **dict.fromkeys(("18446744073709551616", "18446744073709551621", "5" * 40, "+5", "-5", "-0", "0x5", "5.0", "5e0")),
    **dict.fromkeys(("", "5,5", "5, 5", "5;5", "5 5", "five", "0b101", "\xb2", "5_0", "'5'", '"5"', "(5)", "5h", "h5")),
}


@pytest.mark.parametrize("length", LENGTHS)
def test_R40_R41_a_length_is_a_number_and_tells_the_truth(over_http2: OverHTTP2, raw_upstream, length: str):
    fields = [*pseudo("/public/x", "POST"), ("content-length", length)]
    said = LENGTHS[length]
    for size in (0, 4, 5, 6, 50):
        raw_upstream.requests.clear()
        body = BODY * 10
        for sent in (over_http2.send(fields, body[:size]), over_http2.send(fields) if size == 0 else None):
            if sent is None:
                continue
            if said == size:
                assert sent.status == 200
            else:
                assert sent.error == http2.PROTOCOL_ERROR or sent.status == 413
        assert {request.body for request in raw_upstream.requests} <= {body[:size]}
        assert bool(raw_upstream.requests) == (said == size)


@pytest.mark.parametrize("first, second", [("5", "5"), ("5", "6"), ("6", "5"), ("5", "+5"), ("5", ""), ("", "5")])
def test_R40_two_lengths_are_refused_even_if_alike(client: Client, raw_upstream, first: str, second: str):
    for body in (b"hello", b"hello!"):
        answer = client.ask("/public/x", [("Content-Length", first), ("Content-Length", second)], "POST", body=body)
        assert answer.status == 400 or answer.error == http2.PROTOCOL_ERROR
    assert not raw_upstream.requests


#: Fields of the connection: over HTTP/1.1 they stay here or are refused, over HTTP/2 they make a request malformed.
HOP_BY_HOP = {
    "connection": ["close", "keep-alive", "x-auth-user", "host", "", "upgrade", "te, close"],
    "keep-alive": ["5", "timeout=5", ""],
    "proxy-connection": ["close", "keep-alive", ""],
    "transfer-encoding": ["chunked", "identity", "gzip, chunked", "", "xchunked", "trailers"],
    "upgrade": ["h2c", "websocket", "TLS/1.0", ""],
    "te": ["gzip", "trailers, gzip", "trailers;q=1", "", "chunked", "deflate;q=0.5, trailers"],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in HOP_BY_HOP.items() for value in values])
def test_R25_R41_fields_of_the_connection_make_a_request_malformed(
    over_http2: OverHTTP2, raw_upstream: FakeUpstream, name: str, value: str
):
    for body in (None, b"smuggled"):
        answer = over_http2.send([*pseudo("/public/x", "POST"), (name, value)], body)
        assert (answer.status, answer.error) == (None, http2.PROTOCOL_ERROR)
        trailing = over_http2.send(pseudo("/public/x", "POST"), b"body", trailers=[(name, value)])
        assert trailing.error == http2.PROTOCOL_ERROR or trailing.status == 200 and name == "te"
    assert {request.method for request in raw_upstream.requests} <= {"POST"}
    assert all(not request.trailers and request.body == b"body" for request in raw_upstream.requests)


def test_te_trailers_is_lawful_and_stays_here(client: Client, raw_upstream: FakeUpstream):
    assert client.ask("/public/x", [("TE", "trailers")]).status == 200
    assert raw_upstream.requests[-1].get("te") is None


@pytest.mark.parametrize("name", ["proxy-authorization", "proxy-authenticate", "http2-settings", "trailer"])
def test_other_fields_of_the_connection_stay_here(client: Client, raw_upstream: FakeUpstream, name: str):
    answer = client.ask("/public/x", [(name, "x-note")], "POST", body=b"x")
    assert answer.status == 200 or client.version == "HTTP/2" and answer.error == http2.PROTOCOL_ERROR
    for request in raw_upstream.requests:
        assert request.get(name) is None


# Bytes that could become syntax (R30, R41)

PIECES = {
    "CR": "\r",
    "LF": "\n",
    "NUL": "\0",
    "a line": "\r\nx-smuggled: 1",
    "a line by LF": "\nx-smuggled: 1",
    "a line by CR": "\rx-smuggled: 1",
    "a request": SMUGGLED,
    "a request and its beginning": SMUGGLED + "x: ",
    "a version": " HTTP/1.1\r\nx-smuggled: 1\r\nx: ",
    "a space": " ",
    "a tab": "\t",
    "a vertical tab": "\x0b",
    "a form feed": "\x0c",
    "a bell": "\x07",
    "DEL": "\x7f",
    "next line": "\x85",
    "a hard space": "\xa0",
    "obs-text": "\xff",
    "LF of two bytes": "\u010a".encode("utf-8").decode("latin-1"),
    "an overlong LF": "\xc0\x8a",
    "a colon": ":",
    "a colon and a space": ": ",
    "a fold": "\r\n folded",
}
PLACES = (":method", ":scheme", ":authority", ":path", "a name", "a value", "cookie", "a second cookie", "host")
LAWFUL = {":method": "POST", ":scheme": "https", ":authority": "raw.demo.localhost", ":path": "/public/x"}


def spoiled(place: str, piece: str, where: str) -> list[tuple[str, str]]:
    """A request with this piece before, within or behind one of its parts."""

    def mixed(text: str) -> str:
        half = len(text) // 2
        return {"before": piece + text, "within": text[:half] + piece + text[half:], "behind": text + piece}[where]

    fields = [(name, mixed(value) if name == place else value) for name, value in LAWFUL.items()]
    match place:
        case "a name":
            fields.append((mixed("x-name"), "value"))
        case "a value":
            fields.append(("x-name", mixed("value")))
        case "cookie":
            fields.append(("cookie", mixed("a=b")))
        case "a second cookie":
            fields += [("cookie", "a=b"), ("x-name", "value"), ("cookie", mixed("c=d"))]
        case "host":
            fields.append(("host", mixed("raw.demo.localhost")))
    return fields


def may_pass(place: str, piece: str, where: str) -> bool:
    """Whether the grammar of the place has room for the piece (RFC 9110 sections 5.1, 5.5, 9.1; RFC 3986)."""
    if place in ("a value", "cookie", "a second cookie"):
        has_control = any(ord(byte) < 0x20 and byte != "\t" or byte == "\x7f" for byte in piece)
        blank_at_end = where == "before" and piece[0] in " \t" or where == "behind" and piece[-1] in " \t"
        return not has_control and not blank_at_end
    return place == ":path" and piece == ":" and where != "before"


@pytest.mark.parametrize("huffman", [False, True], ids=["plain", "huffman"])
@pytest.mark.parametrize("place", PLACES)
def test_R30_R41_no_byte_becomes_syntax(over_http2: OverHTTP2, raw_upstream: FakeUpstream, place: str, huffman: bool):
    for (name, piece), where in itertools.product(PIECES.items(), ("before", "within", "behind")):
        for body in (None, b"body"):
            raw_upstream.requests.clear()
            answer = over_http2.send(spoiled(place, piece, where), body, huffman=huffman)
            if may_pass(place, piece, where):
                assert answer.status in (200, 404), (name, where)
            else:
                assert answer.status in (400, 404) or answer.error == http2.PROTOCOL_ERROR, (name, where)
            if any(byte in piece for byte in "\r\n\0"):
                assert answer.status is None, (name, where)
            for request in raw_upstream.requests:
                assert request.method == "POST" and request.body == (body or b"")
                assert request.target.startswith("/public/")
                assert request.get("x-smuggled") is None
                assert request.get("host") == "raw.demo.localhost"


def test_R41_a_field_value_passes_as_it_is(client: Client, raw_upstream: FakeUpstream):
    """Whatever is no control byte: 0x20 within, 0x21 to 0x7E, 0x80 to 0xFF, and the tab."""
    value = "a \t" + "".join(chr(byte) for byte in [*range(0x21, 0x7F), *range(0x80, 0x100)])
    assert client.ask("/public/x", [("x-note", value)]).status == 200
    assert raw_upstream.requests[-1].get("x-note") == value


def test_R40_names_and_values_of_every_length_are_read_whole_or_refused(client: Client, raw_upstream: FakeUpstream):
    """Around the sizes at which a length wraps, a table ends, a buffer grows."""
    for size in (1, 126, 127, 128, 255, 256, 257, 4095, 4096, 8191, 16_000, 16_384, 32_767, 32_768, 65_535, 65_536):
        for fields in ([("n" * size, "v")], [("n", "v" * size)]):
            raw_upstream.requests.clear()
            answer = client.ask("/public/x", [*fields, ("x-behind", "1")])
            if answer.status == 200:
                request = raw_upstream.requests[-1]
                assert [field for field in request.fields if field[0][0] == "n"] == fields
                assert request.get("x-behind") == "1"
                assert size < 16_384
            else:
                assert answer.status == 431 or size > 60_000 and answer.error == http2.ENHANCE_YOUR_CALM, size
                assert size >= 16_000 and not raw_upstream.requests


#: Around the `:path` of a request (RFC 9113 section 8.3.1): malformed, or 400, and never sent upstream.
PATHS = [
    *("", " ", "*", "x", "public/x", "?x", "#x", "http://raw.demo.localhost/public/x", "https://evil.example/public/x"),
    *("//evil.example/public/x", "/public/x HTTP/1.1", "/public/x y", "/public/x ", " /public/x", "\t/public/x"),
    *("/public/x\r\n", "/public/x\n", "/public/x\0", "/public/x#frag", "raw.demo.localhost/public/x", "\\public\\x"),
    *("/public/x\t", "/public/x\x7f", "*/public/x", "/public/x\xa0", "%2fpublic/x", "./public/x", "../public/x", ";/x"),
    *("raw.demo.localhost:443", ":443/public/x", "@raw.demo.localhost/public/x", "/public/x\rHTTP/1.1"),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_R41_a_path_begins_with_a_slash_and_has_no_blank(over_http2: OverHTTP2, raw_upstream, path: str, method: str):
    answer = over_http2.send(pseudo(path, method))
    is_lawful = path == "*" and method == "OPTIONS"
    assert answer.error == http2.PROTOCOL_ERROR or answer.status == 400 or is_lawful and answer.status in (204, 404)
    assert not raw_upstream.requests


SCHEMES = {
    **dict.fromkeys(("https", "http", "HTTPS", "Http"), {200}),
    **dict.fromkeys(("ftp", "ws", "wss", "h2", "file", "a", "x-y.z+1", "javascript", "https+unix"), {400}),
    **dict.fromkeys(("", "1http", "https://", "https:", "ht tp", " https", "https ", "ht\0tp", "ht\ttp", "+a"), {None}),
    **dict.fromkeys(("https\r\nx-smuggled: 1", "ht@tp", "ht/tp", "\xe4", "https://evil.example/smuggled?"), {None}),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_R41_a_scheme_is_http_or_https(over_http2: OverHTTP2, raw_upstream: FakeUpstream, scheme: str):
    fields = [(name, scheme if name == ":scheme" else value) for name, value in pseudo("/public/x")]
    answer = over_http2.send(fields)
    assert answer.status in SCHEMES[scheme]
    assert answer.error == (http2.PROTOCOL_ERROR if answer.status is None else None)
    for request in raw_upstream.requests:
        assert request.target == "/public/x"
        assert request.get("x-forwarded-proto") == "https", "the socket says so"


OURS = "raw.demo.localhost"
#: `:authority`, Host, and whether they name one host (R49): a request of two hosts is malformed.
HOSTS = [
    (OURS, OURS, True),
    (OURS, OURS.upper(), True),
    (OURS, OURS + ".", True),
    (OURS, OURS + ":443", True),
    (OURS + ":443", OURS, True),
    (OURS + ":8443", OURS + ":8443", True),
    (OURS + ":8443", OURS, False),
    (OURS, OURS + ":80", False),
    (OURS, OURS + ":8443", False),
    (OURS, "iam.demo.localhost", False),
    (OURS, "flask.demo.localhost", False),
    ("flask.demo.localhost", OURS, False),
    (OURS, "", False),
    (OURS, "evil.example", False),
    (OURS, OURS + ".evil.example", False),
    (OURS, "evil." + OURS, False),
    (OURS, "u@" + OURS, False),
    (OURS, OURS + ", " + OURS, False),
    (OURS, OURS + "/", False),
    (OURS, OURS + "..", False),
    (OURS, OURS + " ", False),
    (OURS, " " + OURS, False),
    (OURS, OURS + "\0", False),
    (OURS, OURS + ":", False),
    (OURS, OURS + ":65536", False),
    (OURS, OURS + "%2e", False),
    ("u@" + OURS, "u@" + OURS, False),
    (None, OURS, True),
    (None, OURS + ":443", True),
    (None, OURS.upper() + ".", True),
    (None, "", False),
    (None, "u@" + OURS, False),
    (None, OURS + "/", False),
    (None, OURS + "\t", False),
    (None, None, False),
    ("", OURS, False),
    ("", None, False),
]


@pytest.mark.parametrize("authority, host, agree", HOSTS)
def test_R49_authority_and_host_name_one_host(
    over_http2: OverHTTP2, raw_upstream: FakeUpstream, authority: str | None, host: str | None, agree: bool
):
    fields = [(name, value) for name, value in pseudo("/public/x") if name != ":authority"]
    if authority is not None:
        fields.append((":authority", authority))
    if host is not None:
        fields.append(("host", host))
    answer = over_http2.send(fields)
    if not agree:
        assert answer.error == http2.PROTOCOL_ERROR or answer.status == 400
        assert not raw_upstream.requests
        return
    assert answer.status == 200
    request = raw_upstream.requests[-1]
    assert request.get("host") == (authority or host)
    assert request.get("x-forwarded-host").lower().rstrip(".").startswith(OURS)


def test_R49_two_hosts_are_refused(over_http2: OverHTTP2, raw_upstream: FakeUpstream):
    without = [(name, value) for name, value in pseudo("/public/x") if name != ":authority"]
    for beginning in (pseudo("/public/x"), without):
        for hosts in ((OURS, OURS), (OURS, "evil.example"), ("evil.example", OURS), (OURS, "")):
            answer = over_http2.send([*beginning, *(("host", host) for host in hosts)])
            assert answer.error == http2.PROTOCOL_ERROR, hosts
    assert not raw_upstream.requests


# Cookies


def cookies(client: Client, crumbs: list[str]) -> list[tuple[str, str]]:
    """Over HTTP/1.1 there is one field; crumbs are of HTTP/2."""
    joined = [("Cookie", "; ".join(crumbs))]
    return joined if client.version == "HTTP/1.1" else [("cookie", crumb) for crumb in crumbs]


def test_the_session_cookie_stays_here_and_the_others_pass(client: Client, raw_upstream: FakeUpstream, session: str):
    own = f"{COOKIE}={session}"
    for crumbs, wanted in (
        ([own], None),
        (["a=1", own, "b=2"], "a=1; b=2"),
        ([own, "a=1"], "a=1"),
        (["a=1", own], "a=1"),
        (["a=1; " + own + "; b=2", "c=3"], "a=1; b=2; c=3"),
        (["session=mine", own, "__Host-gateway_session=x", "__Secure-gateway_session=y"], "session=mine"),
    ):
        assert client.ask("/private/x", cookies(client, crumbs)).status == 200, crumbs
        assert raw_upstream.requests[-1].get("cookie") == wanted
    assert session.encode() not in raw_upstream.everything_received()


def test_a_session_that_comes_twice_is_none(client: Client, raw_upstream: FakeUpstream, session: str):
    own = f"{COOKIE}={session}"
    for crumbs in (
        [own, own],
        [own, f"{COOKIE}=x"],
        [f"{COOKIE}=x", own],
        [f"{COOKIE}=", own],
        [f"{own}; {own}"],
        [f"{COOKIE} ={session}", own],
        [own, "a=1", own],
        ["a=1; " + own, own + "; b=2"],
    ):
        assert client.ask("/private/x", cookies(client, crumbs)).status == 401, crumbs
        assert client.ask("/optional/x", cookies(client, crumbs)).status == 200
        request = raw_upstream.requests[-1]
        assert request.get("x-auth-user") is None
        assert COOKIE not in (request.get("cookie") or "")
    assert session.encode() not in raw_upstream.everything_received()


def test_a_session_cookie_in_pieces_is_none(client: Client, raw_upstream: FakeUpstream, session: str):
    half = len(session) // 2
    for crumbs in (
        [f"{COOKIE}={session[:half]}", session[half:]],
        [COOKIE, f"={session}"],
        [f"{COOKIE}=", session],
        ["gateway_", f"session={session}"],
        [f"{COOKIE}={session[:-1]}"],
        [f"{COOKIE}={session}x"],
        [f'{COOKIE}="{session}"', "a=1"],
        [f"x{COOKIE}={session}"],
        [f"{COOKIE.upper()}={session}"],
        [f"a={COOKIE}={session}"],
    ):
        answer = client.ask("/private/x", cookies(client, crumbs))
        assert answer.status == 401 or '"' in crumbs[0] and answer.status == 200, crumbs


def test_several_cookie_fields_become_one(gateway: Gateway, raw_upstream: FakeUpstream, session: str):
    """WSGI joins fields of one name with commas, which part no cookies."""
    own = f"{COOKIE}={session}"
    for values, wanted in (
        (["a=1", "b=2"], "a=1; b=2"),
        (["a=1; b=2", "c=3", "d=4"], "a=1; b=2; c=3; d=4"),
        (["", "a=1"], "a=1"),
        (["a=1", ";"], "a=1"),
        (["", ""], None),
        (["a=1", own, "b=2"], "a=1; b=2"),
        ([own, "a=1; b=2"], "a=1; b=2"),
        (["x", "y"], "x; y"),
    ):
        with client_of("HTTP/1.1", gateway) as client:
            assert client.ask("/public/x", [("Cookie", value) for value in values]).status == 200
        assert raw_upstream.requests[-1].get("cookie") == wanted, values


def test_crumbs_of_every_shape_become_one_lawful_field(over_http2: OverHTTP2, raw_upstream: FakeUpstream):
    for crumbs in (
        [""],
        ["", ""],
        ["", "a=1"],
        ["a=1", ""],
        ["a=1;", "b=2"],
        ["a=1; ", "b=2"][:1],
        [";", "a=1"],
        ["a=1", ";;;", "b=2"],
        ["a"],
        ["=", "=="],
        ["a=1,b=2"],
        ["a=1"] * 60,
        ["a=" + "x" * 200] * 50,
    ):
        raw_upstream.requests.clear()
        answer = over_http2.send([*pseudo("/public/x"), *(("cookie", crumb) for crumb in crumbs)])
        assert answer.status == 200 or answer.error == http2.PROTOCOL_ERROR and crumbs[0].endswith(" ")
        for request in raw_upstream.requests:
            assert len(request.all("cookie")) <= 1


# Caps (R44)


def test_R44_the_fields_of_a_head_are_counted(client: Client, raw_upstream: FakeUpstream):
    # Host is the first of 100 over HTTP/1.1; Connection is another that this client sends.
    most = 98 if client.version == "HTTP/1.1" else 99
    assert client.ask("/public/x", [("x-note", "1")] * most).status == 200
    assert client.ask("/public/x", [("x-note", "1")] * 101).status == 431
    assert client.ask("/public/x", [("x-note", "1")] * 5000).status == 431
    assert len(raw_upstream.requests) == 1


def test_R44_cookies_are_counted_one_by_one(over_http2: OverHTTP2, raw_upstream: FakeUpstream):
    for count, status in ((99, 200), (102, 431), (2000, 431)):
        answer = over_http2.send([*pseudo("/public/x"), *([("cookie", "a=1")] * count)])
        assert answer.status == status, count
    assert len(raw_upstream.requests) == 1


def test_R44_the_bytes_of_a_head_are_counted(client: Client, raw_upstream: FakeUpstream):
    for size, statuses in ((14_000, {200}), (17_000, {431}), (50_000, {431})):
        assert client.ask("/public/x", [("x-note", "v" * size)]).status in statuses
        assert client.ask("/public/" + "x" * size).status in {200 if size < 16_000 else 414, 431}
    assert len(raw_upstream.requests) == 2


def test_R44_an_entry_of_the_table_counts_each_time(over_http2: OverHTTP2, raw_upstream: FakeUpstream):
    """A small section that means a large one."""
    fields = [*pseudo("/public/x"), *([("x-large", "v" * 3000)] * 90)]
    answer = over_http2.send(fields)
    assert answer.status == 431
    assert not raw_upstream.requests


# Answers of an upstream, over either version


@pytest.mark.parametrize("version", VERSIONS)
def test_R30_an_upstream_cannot_split_an_answer(start_gateway, upstream: FakeUpstream, version: str):
    own = start_gateway({"raw": upstream.port})
    for field in (b"X: a\rb", b"X: a\nb", b"X: a\0b", b"X\0: a", b"X : a", b": a", b"X\x7f: a", b"\xe4: a", b"X: \x7f"):
        upstream.script = answer_always(b"HTTP/1.1 200 OK\r\n" + field + b"\r\nContent-Length: 0\r\n\r\n")
        with client_of(version, own) as client:
            assert client.ask("/public/x").status == 502, field


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upstream_cannot_set_the_session_cookie(start_gateway, upstream: FakeUpstream, version: str):
    names = (b"gateway_session", b"__Host-gateway_session", b"__Secure-gateway_session", b"other")
    fields = b"".join(b"Set-Cookie: " + name + b"=planted; Path=/\r\n" for name in names)
    upstream.script = answer_always(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")
    with client_of(version, start_gateway({"raw": upstream.port})) as client:
        assert client.ask("/public/x").all("set-cookie") == ["other=planted; Path=/"]


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_of_the_upstreams_connection_stay_here(start_gateway, upstream: FakeUpstream, version: str):
    fields = b"Connection: x-private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
    fields += b"Upgrade: h2c\r\nX-Name: kept\r\nX-MIXED-Case: Kept\r\n"
    upstream.script = answer_always(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 2\r\n\r\nok")
    with client_of(version, start_gateway({"raw": upstream.port})) as client:
        answer = client.ask("/public/x")
    assert (answer.status, answer.body) == (200, b"ok")
    assert {name.lower() for name, _ in answer.fields} & {
        "x-private",
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "transfer-encoding",
    } == set()
    assert (answer.get("x-name"), answer.get("x-mixed-case")) == ("kept", "Kept")
    if version == "HTTP/2":
        assert answer.get("connection") is None


def test_names_of_the_tables_are_what_they_are_called():
    """The tables above test nothing if a spelling of theirs is no other spelling."""
    assert len({folded(name) for name in of_managed_names(20)}) < len(of_managed_names(20)) / 10
