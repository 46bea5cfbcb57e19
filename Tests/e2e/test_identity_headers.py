"""Nobody but the gateway says who a user is: R20 to R28, over generated spellings of every managed name."""

import base64
import ipaddress
import itertools
import random
import re
from collections.abc import Iterator

import pytest
from support.gateway import ACCOUNTS, Gateway
from support.processes import wait_until
from support.spellings import (
    CANARY,
    FORWARDING,
    assert_clean,
    batches,
    folded,
    is_about_forwarding,
    of_managed_names,
    of_name,
)
from support.upstream import FakeUpstream
from support.wire import raw, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"


def forged(names: list[str]) -> bytes:
    return b"".join(f"{name}: {CANARY}-{number}\r\n".encode() for number, name in enumerate(names))


def session_field(gateway: Gateway) -> bytes:
    cookies = gateway.as_user("user@example.com").cookies
    return f"Cookie: gateway_session={cookies['gateway_session']}\r\n".encode()


def test_R20_R21_no_spelling_of_a_managed_name_reaches_a_public_route(gateway: Gateway, raw_upstream: FakeUpstream):
    names = of_managed_names()
    assert len(names) > 1_500
    for batch in batches(names):
        received, _ = gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + forged(batch) + b"Connection: close\r\n\r\n")
        assert responses(received)[0].status == 200, received[:300]
    for request in raw_upstream.wait_for_requests(len(batches(names))):
        assert_clean(request)
        assert not [name for name, _ in request.fields if folded(name).startswith("x-auth-")]


@pytest.mark.parametrize("path", ["/private/x", "/optional/x"])
def test_R20_R23_no_spelling_changes_who_is_signed_in(gateway: Gateway, raw_upstream: FakeUpstream, path: str):
    head = f"GET {path} HTTP/1.1\r\n".encode() + HOST + session_field(gateway)
    names = batches(of_managed_names(7))
    for batch in names:
        received, _ = gateway.raw(head + forged(batch) + b"Connection: close\r\n\r\n")
        assert responses(received)[0].status == 200
    requests = raw_upstream.wait_for_requests(len(names))
    for request in requests:
        assert_clean(request)
        assert request.get("X-Auth-User") == requests[0].get("X-Auth-User") is not None
        # The directory knows no tenant of this user: an absent claim leaves its field absent.
        assert request.get("X-Auth-Tenant") is None


@pytest.mark.parametrize("host", ["flask", "django"])
def test_R20_no_spelling_signs_anybody_in_at_the_applications(gateway: Gateway, host: str):
    for batch in batches(of_managed_names(3)):
        data = f"GET /whoami HTTP/1.1\r\nHost: {host}.demo.localhost\r\n".encode() + forged(batch)
        received, _ = gateway.raw(data + b"Connection: close\r\n\r\n")
        answer = responses(received)[0]
        assert answer.status == 200
        assert CANARY.encode() not in answer.body
        assert b'"user": null' in answer.body or b'"user":null' in answer.body


def test_R24_a_name_sent_twice_is_no_way_in(gateway: Gateway, raw_upstream: FakeUpstream):
    data = b"GET /public/x HTTP/1.1\r\n" + HOST + forged(["X-Auth-User", "x-auth-user", "X-AUTH-USER"])
    assert responses(gateway.raw(data + b"Connection: close\r\n\r\n")[0])[0].status == 200
    assert_clean(raw_upstream.wait_for_requests(1)[0])


def test_R24_two_credentials_of_one_kind_are_refused(gateway: Gateway, raw_upstream: FakeUpstream):
    token = f"Authorization: Bearer {gateway.mint()}\r\n".encode()
    for second in (token, b"Authorization: Bearer x\r\n", b"Authorization: Basic eDp5\r\n"):
        for fields in (token + second, second + token):
            received, _ = gateway.raw(b"GET /private/x HTTP/1.1\r\n" + HOST + fields + b"Connection: close\r\n\r\n")
            assert responses(received)[0].status in (400, 401)
    assert not raw_upstream.requests


def test_R25_connection_cannot_take_the_gateways_own_fields_away(gateway: Gateway, raw_upstream: FakeUpstream):
    named = ["X-Auth-User", "x-auth-user", "X-AUTH-USER, X-Auth-Roles, X-Auth-Subject", "close, x-forwarded-for"]
    for names in named:
        head = b"GET /private/x HTTP/1.1\r\n" + HOST + session_field(gateway)
        gateway.raw(head + f"Connection: {names}\r\nConnection: close\r\n\r\n".encode())
    for request in raw_upstream.wait_for_requests(len(named)):
        assert request.get("X-Auth-User")
        assert request.get("X-Auth-Roles") == "user"
        assert request.get("X-Forwarded-For") == "127.0.0.1"


def test_hop_by_hop_fields_stay_here(gateway: Gateway, raw_upstream: FakeUpstream):
    fields = b"Connection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\n"
    gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + fields + b"Proxy-Authorization: Basic eA==\r\n\r\n")
    request = raw_upstream.wait_for_requests(1)[0]
    for name in ("X-Private", "Keep-Alive", "Proxy-Connection", "TE", "Proxy-Authorization", "Upgrade"):
        assert request.get(name) is None, name


def test_R22_no_spelling_of_a_managed_name_comes_as_a_trailer(gateway: Gateway, raw_upstream: FakeUpstream):
    names = batches(of_managed_names(5))
    for batch in names:
        head = b"POST /public/x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n"
        head += b"Trailer: X-Auth-User\r\n\r\n"
        received, _ = gateway.raw(head + b"2\r\nok\r\n0\r\n" + forged(batch) + b"\r\n")
        assert responses(received)[0].status == 200
    for request in raw_upstream.wait_for_requests(len(names)):
        assert request.body == b"ok"
        assert_clean(request)


@pytest.mark.parametrize("plain", [True, False], ids=["http", "https"])
def test_R26_forwarding_fields_are_rebuilt_from_the_socket(gateway: Gateway, raw_upstream: FakeUpstream, plain: bool):
    chance = random.Random(26)
    lines = [
        f"{spelling}: {value}\r\n".encode()
        for name, values in FORWARDING.items()
        for spelling in sorted(set(of_name(name, chance)))
        for value in values
    ]
    assert len(lines) > 1_000
    chance.shuffle(lines)
    # One of them alone, and many together in every order.
    messages = [[line] for line in lines[::8]] + [lines[at : at + 60] for at in range(0, len(lines), 60)]
    for fields in messages:
        received, _ = gateway.raw(
            b"GET /public/x HTTP/1.1\r\n" + HOST + b"".join(fields) + b"Connection: close\r\n\r\n", plain=plain
        )
        assert responses(received)[0].status == 200
    scheme, port = ("http", gateway.plain_port) if plain else ("https", gateway.https_port)
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


def test_R28_on_preflights_errors_and_upgrades_too(gateway: Gateway, raw_upstream: FakeUpstream):
    preflight = b"Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n"
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
    cases = [
        (b"OPTIONS /preflight/x", preflight + b"Connection: close\r\n"),
        (b"GET /public/x", upgrade),
        (b"GET /nothing", b"Connection: close\r\n"),
        (b"HEAD /public/x", b"Connection: close\r\n"),
    ]
    for (start, fields), batch in itertools.product(cases, batches(of_managed_names(9))[:10]):
        with gateway.connect() as peer:
            peer.sendall(start + b" HTTP/1.1\r\n" + HOST + fields + forged(batch) + b"\r\n")
            assert read_response(peer, start.split()[0].decode()).status in (200, 404)
    requests = raw_upstream.wait_for_requests(30)
    assert {request.method for request in requests} == {"OPTIONS", "GET", "HEAD"}
    for request in requests:
        assert_clean(request)


def test_other_names_with_an_underscore_are_dropped(gateway: Gateway, raw_upstream: FakeUpstream):
    fields = b"X_Other: 1\r\nX-Other: 2\r\nA_B-C: 3\r\nConnection: close\r\n"
    gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + fields + b"\r\n")
    request = raw_upstream.wait_for_requests(1)[0]
    assert [(name, value) for name, value in request.fields if value in "123"] == [("X-Other", "2")]


def test_the_session_cookie_stays_here_and_the_others_pass(gateway: Gateway, raw_upstream: FakeUpstream):
    secret = gateway.as_user("user@example.com").cookies["gateway_session"]
    field = f"Cookie: a=1; gateway_session={secret}; session=mine; __Host-gateway_session=x\r\n".encode()
    gateway.raw(b"GET /private/x HTTP/1.1\r\n" + HOST + field + b"Connection: close\r\n\r\n")
    request = raw_upstream.wait_for_requests(1)[0]
    cookies = {pair.split("=")[0].strip() for pair in (request.get("Cookie") or "").split(";")}
    assert cookies == {"a", "session"}
    assert secret.encode() not in raw_upstream.everything_received()


def test_an_upstream_cannot_set_the_session_cookie(gateway: Gateway, upstream: FakeUpstream, start_gateway):
    def answer(connection):
        while connection.read_request():
            cookies = b"".join(
                b"Set-Cookie: " + name + b"=planted; Path=/\r\n"
                for name in (b"gateway_session", b"__Host-gateway_session", b"__Secure-gateway_session", b"other")
            )
            connection.send(b"HTTP/1.1 200 OK\r\n" + cookies + b"Content-Length: 0\r\n\r\n")

    upstream.script = answer
    own = start_gateway({"raw": upstream.port})
    received, _ = own.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert responses(received)[0].all("Set-Cookie") == ["other=planted; Path=/"]


TRUSTED = ("127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48")
#: An entry of X-Forwarded-For: an address, in brackets if it has a port and is of IPv6, which may have a port.
ENTRY = re.compile(
    r"[ \t]*(?:\[(?P<six>[0-9A-Fa-f:.]+)\](?::\d{1,5})?"
    r"|(?P<four>[0-9.]+)(?::\d{1,5})?|(?P<bare>[0-9A-Fa-f:.]+))[ \t]*"
)


def address_of(entry: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What an entry means by RFC 7239 and RFC 4291, slowly; None where it means nothing."""
    match = ENTRY.fullmatch(entry)
    if not match:
        return None
    try:
        if match["four"]:
            return ipaddress.IPv4Address(match["four"])
        address = ipaddress.IPv6Address(match["six"] or match["bare"])
    except ValueError:
        return None
    return address.ipv4_mapped or address


def client_by(values: list[str]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """From the right, the first that is no trusted proxy; what is no address ends the walk at the one before it."""
    client = ipaddress.ip_address("127.0.0.1")
    for entry in reversed(",".join(values).split(",")):
        address = address_of(entry)
        if address is None:
            return client
        client = address
        networks = (ipaddress.ip_network(network) for network in TRUSTED)
        if not any(address.version == network.version and address in network for network in networks):
            return client
    return client


def forwarded_for(seed: int, count: int) -> Iterator[list[str]]:
    """Lines of X-Forwarded-For: sound chains, and chains with mistakes in them."""
    chance = random.Random(seed)
    sound = ["198.51.100.7", "10.1.2.3", "127.0.0.9", "2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:80", "10.1.2.3:99"]
    sound += ["::ffff:198.51.100.7", "::ffff:10.0.0.1", "2001:db8:ffff::1", "198.51.100.7:65535", "2001:DB8::A", "::1"]
    bytes_in = '0123456789abcdefABCDEFxg.:[]%/-_ \t;"=,'
    for _ in range(count):
        lines = []
        for _ in range(chance.choice((1, 1, 1, 2))):
            entries = chance.choices(sound, k=chance.randint(0, 4))
            for _ in range(chance.choice((0, 0, 1, 2))):
                text = chance.choice(entries or ["x"])
                place = chance.randint(0, len(text))
                text = text[:place] + chance.choice(bytes_in) + text[place + chance.choice((0, 1)) :]
                entries.insert(chance.randint(0, len(entries)), text)
            lines.append(chance.choice((",", ", ", " ,\t")).join(entries).strip(" \t"))
        yield lines


def test_R27_who_a_client_is_by_trusted_proxies_alone(upstream: FakeUpstream, start_gateway):
    """Against a slow reading of the same rule; an address that is none never counts."""
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": list(TRUSTED)})
    chains = list(forwarded_for(27, 1_500))
    for lines in chains:
        fields = "".join(f"X-Forwarded-For: {line}\r\n" for line in lines).encode()
        own.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + fields + b"Connection: close\r\n\r\n")
    seen = [request.get("X-Forwarded-For") for request in upstream.wait_for_requests(len(chains))]
    assert len(set(seen)) > 10
    for lines, said in zip(chains, seen, strict=True):
        assert ipaddress.ip_address(said) == client_by(lines), f"{lines} became {said}"


def test_R27_an_address_that_is_none_counts_as_untrusted(upstream: FakeUpstream, start_gateway):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": list(TRUSTED)})
    bad = (
        "x",
        "198.51.100.7:abc",
        "1.2.3",
        "::ffff:999.1.1.1",
        "198.51.100.7\t5",
        "",
        "0x7f.1",
        "010.0.0.1",
        "1.2.3.4%1",
    )
    for value in bad:
        head = b"GET /public/x HTTP/1.1\r\n" + HOST + f"X-Forwarded-For: {value}\r\n".encode()
        own.raw(head + b"Connection: close\r\n\r\n")
    seen = [request.get("X-Forwarded-For") for request in upstream.wait_for_requests(len(bad))]
    assert seen == ["127.0.0.1"] * len(bad)


def test_R27_nobody_is_believed_who_is_not_named(upstream: FakeUpstream, start_gateway):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["10.0.0.0/8", "::1"]})
    chains = list(forwarded_for(28, 200))
    for lines in chains:
        fields = "".join(f"X-Forwarded-For: {line}\r\n" for line in lines).encode()
        own.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + fields + b"Connection: close\r\n\r\n")
    assert {request.get("X-Forwarded-For") for request in upstream.wait_for_requests(len(chains))} == {"127.0.0.1"}


FORWARDED_ORIGINS = [
    # What a peer says, and what the application is told: scheme, host, port.
    ({"Proto": ["https"]}, ("https", "raw.demo.localhost", "443")),
    ({"Proto": ["HTTPS"], "Port": ["8443"]}, ("https", "raw.demo.localhost", "8443")),
    ({"Proto": ["https"], "Host": ["shop.example"]}, ("https", "shop.example", "443")),
    ({"Proto": ["https"], "Host": ["shop.example:444"]}, ("https", "shop.example:444", "444")),
    ({"Proto": ["https"], "Host": ["[2001:db8::1]:444"], "Port": ["1"]}, ("https", "[2001:db8::1]:444", "1")),
    ({"Proto": ["http"]}, ("http", "raw.demo.localhost", "80")),
    ({"Host": ["shop.example"]}, ("http", "shop.example", None)),
    ({"Port": ["65535"]}, ("http", "raw.demo.localhost", "65535")),
    ({"Proto": ["nonsense"], "Port": ["81"], "Host": ["shop.example"]}, ("http", "shop.example", "81")),
    # Not one sound value in one line: as if it had not come.
    *(
        ({"Proto": values}, ("http", "raw.demo.localhost", None))
        for values in (
            ["https", "https"],
            ["https", "http"],
            ["https, http"],
            ["httpss"],
            ["https " * 2],
            [""],
            ["wss"],
            ["https\t;"],
        )
    ),
    *(
        ({"Port": values}, ("http", "raw.demo.localhost", None))
        for values in (["0"], ["65536"], ["-1"], ["+80"], ["80", "80"], ["80,81"], [""], ["0x50"], ["8 0"])
    ),
    *(
        ({"Host": values}, ("http", "raw.demo.localhost", None))
        for values in (["a", "a"], ["a, b"], ["a/b"], ["a:99999"], ["a@b"], [""], ["a b"], ["[::1"], ["a\\b"])
    ),
]


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "untrusted"])
def test_R26_scheme_host_and_port_come_from_the_socket_or_a_trusted_peer(
    start_gateway, upstream: FakeUpstream, trusted: bool
):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["127.0.0.1" if trusted else "192.0.2.1"]})
    for fields, _ in FORWARDED_ORIGINS:
        lines = "".join(f"X-Forwarded-{name}: {value}\r\n" for name, values in fields.items() for value in values)
        received, _ = own.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + lines.encode() + b"Connection: close\r\n\r\n")
        assert responses(received)[0].status == 200, lines
    seen = upstream.wait_for_requests(len(FORWARDED_ORIGINS))
    untold = ("http", "raw.demo.localhost", str(own.plain_port))
    for request, (fields, told) in zip(seen, FORWARDED_ORIGINS, strict=True):
        expected = tuple(value or default for value, default in zip(told, untold, strict=True)) if trusted else untold
        assert tuple(request.get(f"X-Forwarded-{name}") for name in ("Proto", "Host", "Port")) == expected, fields
        assert request.get("Forwarded").endswith(f"proto={expected[0]}")
        # Where the request goes is not the peer's to say.
        assert request.get("Host") == "raw.demo.localhost"


def test_a_trusted_peer_that_speaks_https_is_not_sent_there_again(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["127.0.0.1"]})
    head = b"GET /public/x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n"
    for field, status in ((b"X-Forwarded-Proto: https\r\n", 200), (b"", 308), (b"X-Forwarded-Proto: http\r\n", 308)):
        received, _ = raw(own.redirect_port, head + field + b"\r\n")
        assert responses(received)[0].status == status


def test_the_port_that_clients_see_may_be_another(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port})
    own.configuration["listeners"][1]["public_port"] = 80
    own.reload()
    head = b"GET %s HTTP/1.1\r\n" + HOST + b"Sec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n"
    wait_until(lambda: own.metrics()["config_reloads_total"] == 1, "the reload is taken")

    def port_seen() -> str:
        own.raw(head % b"/public/x")
        return upstream.requests[-1].get("X-Forwarded-Port")

    wait_until(lambda: port_seen() == "80", "the application is told the public port")
    received, _ = own.raw(head % b"/private/x")
    location = responses(received)[0].get("Location")
    assert location.endswith("http%3A//raw.demo.localhost/private/x"), location


@pytest.mark.parametrize("secure", [True, False, None])
def test_the_cookie_behind_a_peer_that_ends_tls_is_for_tls_as_the_file_says(
    start_gateway, upstream: FakeUpstream, secure: bool | None
):
    session = {"domain": "demo.localhost", **({} if secure is None else {"secure": secure})}
    own = start_gateway({"raw": upstream.port}, {"trusted_proxies": ["127.0.0.1"]})
    own.configuration["listeners"] = [{"address": f"127.0.0.1:{own.plain_port}"}]
    own.configuration["authentication"]["session"] = session
    own.reload()
    wait_until(lambda: own.metrics()["config_reloads_total"] == 1, "the reload is taken")
    warned = [event["problem"] for event in own.events() if event.get("event") == "config.warning"]
    assert any("authentication.session" in problem for problem in warned) == (secure is None)

    def cookie() -> str:
        body = b'{"username": "user@example.com", "password": "%s"}' % ACCOUNTS["user@example.com"].encode()
        head = b"POST /api/auth/login HTTP/1.1\r\nHost: iam.demo.localhost\r\nContent-Type: application/json\r\n"
        head += b"X-Forwarded-Proto: https\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        return responses(own.raw(head + body)[0])[0].get("Set-Cookie")

    wait_until(lambda: ("; Secure" in cookie()) == bool(secure), "the cookie is as the file says")


def test_the_request_id_is_new_and_reaches_both_sides(gateway: Gateway, raw_upstream: FakeUpstream):
    seen = set()
    for _ in range(5):
        received, _ = gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        seen.add(responses(received)[0].get("X-Request-Id"))
    assert None not in seen and len(seen) == 5
    assert {request.get("X-Request-Id") for request in raw_upstream.wait_for_requests(5)} == seen
    assert all(request.get("traceparent") for request in raw_upstream.requests)


@pytest.mark.parametrize("path", ["/auth/login", "/api/auth/verify", "/api/auth/no-such-path"])
def test_an_answer_of_the_identity_service_bears_its_request_id(gateway: Gateway, path: str):
    answers = [gateway.get("iam", path) for _ in range(2)]
    identifiers = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(identifiers) == 2 and all(re.fullmatch("[0-9a-f]{32}", identifier) for identifier in identifiers)
