"""HTTP/1.1 upgrades pass through, WebSocket above all, for those who may."""

import base64
import contextlib
import socket
import threading

import pytest
import websocket
from support.gateway import COOKIE, Gateway
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import Message, read_response, responses

UPGRADE = (
    b"GET /private/ws HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n"
)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def open_websocket(gateway: Gateway, *fields: str) -> websocket.WebSocket:
    return websocket.create_connection(
        gateway.url("flask", "/ws").replace("https:", "wss:"),
        header=list(fields),
        sslopt={"ca_certs": str(gateway.certificates / "ca.pem")},
        timeout=20,
    )


def bearer(gateway: Gateway) -> bytes:
    return f"Authorization: Bearer {gateway.mint()}\r\n".encode()


def test_a_websocket_of_the_real_flask_echoes_with_the_users_name(gateway: Gateway):
    cookie = gateway.as_user("legal@example.com").cookies[COOKIE]
    named = gateway.as_user("legal@example.com").get(gateway.url("flask", "/whoami")).json()["user"]
    with contextlib.closing(open_websocket(gateway, f"Cookie: {COOKIE}={cookie}")) as connection:
        for text in ("hello", "x" * 100_000, "ä€😀"):
            connection.send(text)
            assert connection.recv() == f"{named}: {text}"


def test_many_messages_both_ways_stay_in_order(gateway: Gateway):
    with contextlib.closing(open_websocket(gateway, f"Authorization: Bearer {gateway.mint()}")) as connection:
        for number in range(500):
            connection.send(str(number))
        answers = [connection.recv().split(": ")[1] for _ in range(500)]
    assert answers == [str(number) for number in range(500)]


@pytest.mark.parametrize("fields", [[], ["X-Auth-User: admin"], ["Authorization: Bearer x"], [f"Cookie: {COOKIE}=x"]])
def test_nobody_opens_a_websocket_without_a_credential(gateway: Gateway, fields: list[str]):
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        open_websocket(gateway, *fields)
    assert refused.value.status_code == 401


def switch(connection: UpstreamConnection) -> None:
    """Switches protocols, then says back whatever comes, in brackets."""
    connection.read_request()
    connection.send(SWITCHED)
    while data := connection.read_some():
        connection.send(b"<" + data + b">")


SMUGGLED = b"GET /private/smuggled HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n"
EARLY = [b"x", b"\r\n", SMUGGLED, b"\x81\x00", b"\x00" * 70_000]


@pytest.mark.parametrize("early", EARLY, ids=range(len(EARLY)))
def test_R42_bytes_behind_a_request_to_upgrade_are_refused_with_it(start_gateway, upstream: FakeUpstream, early: bytes):
    """Nobody knows yet whose language they are: an upstream that does not switch would take them for a request."""
    upstream.script = switch
    own = start_gateway({"raw": upstream.port})
    head = UPGRADE + bearer(own) + b"\r\n"
    received, closed = own.raw(head + early, timeout=5)
    assert closed
    assert [answer.status for answer in responses(received)] == [400]
    assert not upstream.connections
    # The same without them is let through: they were the reason.
    with own.connect() as peer:
        peer.sendall(head)
        assert read_response(peer).status == 101


def test_R42_bytes_that_come_before_the_switch_wait_for_it(start_gateway, upstream: FakeUpstream):
    switch_now = threading.Event()
    before: list[bytes] = []

    def switch_late(connection: UpstreamConnection) -> None:
        request = connection.read_request()
        if request.target == "/public/x":
            connection.send(OK)
            return
        switch_now.wait(10)
        with contextlib.suppress(BlockingIOError):
            before.append(connection.peer.recv(65536, socket.MSG_DONTWAIT))
        connection.send(SWITCHED)
        while data := connection.read_some():
            connection.send(b"<" + data + b">")

    upstream.script = switch_late
    own = start_gateway({"raw": upstream.port}, {"workers": 1})
    with own.connect() as peer:
        peer.sendall(UPGRADE + bearer(own) + b"\r\n")
        upstream.wait_for_requests(1)
        peer.sendall(SMUGGLED)
        # The only worker has seen the bytes by the time that it has answered somebody else.
        for _ in range(3):
            own.raw(b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n")
        switch_now.set()
        received = b""
        # The head and the tunnel's first bytes may come in one piece.
        while not received.endswith(b">") and (block := peer.recv(4096)):
            received += block
    head, _, first = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert before == [], "they came to the upstream before it had switched"
    assert first == b"<" + SMUGGLED + b">", "they are the tunnel's first bytes"
    assert [request.target for request in upstream.requests if "smuggled" in request.target] == []


def test_R42_a_refused_upgrade_goes_on_as_http(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port})
    with own.connect() as peer:
        peer.sendall(UPGRADE + bearer(own) + b"\r\n")
        assert read_response(peer).status == 200
        peer.sendall(b"GET /private/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n")
        assert read_response(peer).status == 401, "the credential of one request is not that of the next"


def test_R42_an_upgraded_connection_is_never_reused(start_gateway, upstream: FakeUpstream):
    upstream.script = switch
    own = start_gateway({"raw": upstream.port}, {"workers": 1})
    token = bearer(own)
    for number in range(3):
        with own.connect() as peer:
            peer.sendall(UPGRADE + token + b"\r\n")
            assert peer.recv(4096).startswith(b"HTTP/1.1 101 ")
            peer.sendall(b"ping")
            assert peer.recv(4096) == b"<ping>"
        assert len(upstream.connections) == number + 1


def test_what_the_upstream_is_told_of_an_upgrade(start_gateway, upstream: FakeUpstream):
    upstream.script = switch
    own = start_gateway({"raw": upstream.port})
    with own.connect() as peer:
        peer.sendall(UPGRADE + bearer(own) + b"X_Auth_User: admin\r\nKeep-Alive: 5\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 101 ")
    request: Message = upstream.requests[0]
    assert (request.get("Upgrade"), request.get("Connection").lower()) == ("websocket", "upgrade")
    assert request.get("X-Auth-User")
    assert request.get("Authorization") is None
    assert request.get("Keep-Alive") is None
    assert not [name for name, _ in request.fields if "_" in name]


def test_each_side_may_end_it(start_gateway, upstream: FakeUpstream):
    upstream.script = switch
    own = start_gateway({"raw": upstream.port})
    token = bearer(own)
    with own.connect() as peer:
        peer.sendall(UPGRADE + token + b"\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 101 ")
        upstream.connections[-1].reset()
        peer.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert peer.recv(4096) == b""


def test_the_answer_may_carry_the_first_bytes_of_the_tunnel(start_gateway, upstream: FakeUpstream):
    def greet(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(SWITCHED + b"welcome")
        connection.read_some()

    upstream.script = greet
    own = start_gateway({"raw": upstream.port})
    with own.connect() as peer:
        peer.sendall(UPGRADE + bearer(own) + b"\r\n")
        received = b""
        while not received.endswith(b"welcome"):
            block = peer.recv(4096)
            assert block, received
            received += block
    assert received.startswith(b"HTTP/1.1 101 ")
