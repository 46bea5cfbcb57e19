"""Clients that vanish with RST at each point of an exchange, 200 at each: nothing of them stays."""

import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator

import pytest
from support.gateway import COOKIE, DOMAIN, SIGNED_IN, Gateway, route
from support.processes import wait_until
from support.resources import MIB, Resources, vanish
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import connect, read_response

CLIENTS = 200
HOST = b"Host: raw.demo.localhost\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def answer_by_target(connection: UpstreamConnection) -> None:
    while request := connection.read_request():
        if request.target == "/public/long":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1000):
                connection.send(bytes(100_000))
        elif request.target == "/public/never":
            connection.peer.recv(1)
        elif request.target == "/public/tunnel":
            connection.send(SWITCHED)
            while connection.read_some():
                pass
        else:
            connection.send(OK)


@pytest.fixture(scope="module")
def application() -> Iterator[FakeUpstream]:
    with FakeUpstream(answer_by_target) as upstream:
        yield upstream
        assert not upstream.errors


@pytest.fixture(scope="module")
def pair(application: FakeUpstream, tmp_path_factory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """A gateway that keeps no connection to its upstream, and has a limit whose store never answers."""

    def never_answer(connection: UpstreamConnection) -> None:
        while connection.peer.recv(65536):
            pass

    with FakeUpstream(never_answer) as silent_store:
        changes = {
            "upstreams": {"raw": {"endpoints": [f"127.0.0.1:{application.port}"], "keep_alive": {"timeout": "0s"}}},
            "redis": {"url": f"redis://127.0.0.1:{silent_store.port}", "timeout": "1s"},
            "limits": {"slow": {"rate": "9/second", "key": "route", "on_store_error": "allow"}},
            "routes": [
                route("raw", "/public/**", public=True),
                route("raw", "/private/**", **SIGNED_IN),
                route("raw", "/limited/**", public=True, limit="slow"),
            ],
        }
        with Gateway(tmp_path_factory.mktemp("vanishing"), {"raw": application.port}, changes) as gateway:
            gateway.metrics()
            yield gateway, application


def client_hello() -> bytes:
    """The first flight of a TLS client."""
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=f"raw.{DOMAIN}")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = client_hello()

Point = Callable[[Gateway], socket.socket]


def says(data: bytes, and_reads: int = 0) -> Point:
    def point(gateway: Gateway) -> socket.socket:
        peer = gateway.connect()
        peer.sendall(data)
        if and_reads:
            peer.recv(and_reads)
        return peer

    return point


def says_through_tls(data: bytes) -> Point:
    def point(gateway: Gateway) -> socket.socket:
        peer = gateway.connect(plain=False)
        peer.sendall(data)
        return peer

    return point


def says_instead_of_tls(data: bytes) -> Point:
    def point(gateway: Gateway) -> socket.socket:
        peer = connect(gateway.https_port)
        peer.sendall(data)
        return peer

    return point


def asks_with_a_cookie(gateway: Gateway) -> socket.socket:
    """A session that no worker remembers: it has to be looked up."""
    cookie = f"Cookie: {COOKIE}={secrets.token_urlsafe(32)}\r\n\r\n".encode()
    return says(b"GET /private/x HTTP/1.1\r\n" + HOST + cookie)(gateway)


def request(target: str, fields: bytes = b"", method: str = "GET") -> bytes:
    return f"{method} {target} HTTP/1.1\r\n".encode() + HOST + fields + b"\r\n"


POINTS: dict[str, Point] = {
    "behind connect": says(b""),
    "behind connect, where TLS is spoken": says_instead_of_tls(b""),
    "within the hello": says_instead_of_tls(HELLO[: len(HELLO) // 2]),
    "behind the hello": says_instead_of_tls(HELLO),
    "behind the handshake": says_through_tls(b""),
    "within a head": says(request("/public/cut")[:40]),
    "within a head, in TLS": says_through_tls(request("/public/cut")[:40]),
    "behind the head of a body": says(request("/public/cut", b"Content-Length: 10\r\n", "POST")),
    "within a body": says(request("/public/cut", b"Content-Length: 10\r\n", "POST") + b"hello"),
    "within a large body": says(request("/public/cut", b"Content-Length: 500000\r\n", "POST") + bytes(300_000)),
    "within chunks": says(request("/public/cut", b"Transfer-Encoding: chunked\r\n", "POST") + b"5\r\nhello\r\n"),
    "before the last chunk ends": says(
        request("/public/cut", b"Transfer-Encoding: chunked\r\n", "POST") + b"5\r\nhello\r\n0\r\n"
    ),
    "while its session is looked up": asks_with_a_cookie,
    "while nothing is answered": says(request("/public/never")),
    "within the answer": says(request("/public/long"), and_reads=10),
    "within a tunnel": says(request("/public/tunnel", b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), and_reads=9),
    "with requests waiting": says(request("/public/never") + request("/public/cut") * 20),
}


def is_served(gateway: Gateway) -> bool:
    with gateway.connect() as peer:
        peer.sendall(request("/public/x", b"Connection: close\r\n"))
        return read_response(peer).status == 200


@pytest.mark.parametrize("name", POINTS)
def test_who_vanishes_leaves_nothing_behind(pair, name: str):
    gateway, application = pair
    assert is_served(gateway)
    application.forget()
    resources = Resources(gateway)
    for _ in range(CLIENTS // 10):
        # Ten at a time, so that some are found in the midst of it.
        for peer in [POINTS[name](gateway) for _ in range(10)]:
            vanish(peer)
    resources.wait_for_descriptors()
    assert resources.memory_growth < 6 * MIB
    assert not [request for request in application.requests if request.target == "/public/cut"], "a part is no request"
    assert not [request for request in application.requests if request.target.startswith("/private")]
    assert is_served(gateway)


def test_who_vanishes_while_a_limit_is_asked_for_is_not_served_afterwards(pair):
    gateway, application = pair
    assert is_served(gateway)
    application.forget()
    resources = Resources(gateway)
    peers = [says(request("/limited/vanished"))(gateway) for _ in range(CLIENTS)]
    time.sleep(0.1)  # All of them wait now; were one late, it would count the less.
    for peer in peers:
        vanish(peer)
    with gateway.connect() as last:
        last.sendall(request("/limited/last"))
        assert read_response(last).status == 200, "it asked last: the others have had their time"
    resources.wait_for_descriptors()
    assert [request.target for request in application.requests] == ["/limited/last"]


def test_an_upstream_sees_that_a_body_was_cut_off(pair):
    gateway, application = pair
    application.forget()
    body = b"Content-Length: 10\r\n"
    peers = [says(request("/public/cut", body, "POST") + b"hello")(gateway) for _ in range(20)]
    wait_until(lambda: len(application.connections) == 20, "they are forwarded")
    wait_until(
        lambda: all(connection.received.endswith(b"hello") for connection in list(application.connections)),
        "what there is of the bodies arrives",
    )
    for peer in peers:
        vanish(peer)
    wait_until(
        lambda: all(connection.peer.fileno() == -1 for connection in application.connections), "they are all ended"
    )
    assert not application.requests
