"""An upgraded connection is past every rule: only a WebSocket that was asked for, and agreed to as asked, becomes one.

Over `h2c` a client would choose path and identity of each further request itself.
"""

from collections.abc import Callable

import pytest
from support.gateway import Gateway
from support.upstream import FakeUpstream, UpstreamConnection
from support.wire import read_all, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"

#: What `Upgrade` may hold besides one `websocket`.
OTHERS = [
    b"h2c",
    b"H2C",
    b"h2",
    b"TLS/1.0",
    b"HTTP/2.0",
    b"connect-udp",
    b"websocket, h2c",
    b"h2c, websocket",
    b"websocket/13",
    b"websocket h2c",
    b'"websocket"',
    b",",
    b"",
]

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n"
BAD_SWITCHES = {
    "another protocol": SWITCH + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "two protocols": SWITCH + b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
    "two fields": SWITCH + b"Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
    "no protocol": SWITCH + b"Connection: Upgrade\r\n\r\n",
    "nothing at all": SWITCH + b"\r\n",
    "HTTP/1.0": b"HTTP/1.0 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}


def upgrade(protocol: bytes, method: bytes = b"GET") -> bytes:
    return (
        method
        + b" /public/x HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        + protocol
        + b"\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    )


def agree_to(answer: bytes) -> Callable[[UpstreamConnection], None]:
    """Switches to whatever is asked and then listens."""

    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(answer)
        while block := connection.peer.recv(100):
            connection.received += block

    return script


@pytest.fixture
def pair(upstream: FakeUpstream, start_gateway: Callable[..., Gateway]) -> tuple[Gateway, FakeUpstream]:
    return start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"}), upstream


def test_no_protocol_but_websocket_is_asked_of_the_upstream(pair):
    gateway, upstream = pair
    for protocol in OTHERS:
        received, _ = gateway.raw(upgrade(protocol) + b"", timeout=0.2)
        assert all(answer.status in (200, 400) for answer in responses(received)), protocol
    upgrade_fields = [name for request in upstream.requests for name, _ in request.fields if name.lower() == "upgrade"]
    assert not upgrade_fields, [request.all("upgrade") for request in upstream.requests]
    assert not [request for request in upstream.requests if request.all("http2-settings")]


def test_only_get_becomes_a_websocket(pair):
    gateway, upstream = pair
    for method in (b"POST", b"OPTIONS", b"HEAD", b"get"):
        gateway.raw(upgrade(b"websocket", method), timeout=0.2)
    assert not [request for request in upstream.requests if request.all("upgrade")]


@pytest.mark.parametrize("case", BAD_SWITCHES)
def test_a_switch_that_was_not_asked_for_opens_nothing(pair, case: str):
    gateway, upstream = pair
    upstream.script = agree_to(BAD_SWITCHES[case])
    with gateway.connect() as peer:
        peer.sendall(upgrade(b"websocket"))
        answer = read_response(peer, timeout=5)
        assert answer.status == 502
        peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nsmuggled")
        read_all(peer, 0.3)
    assert b"smuggled" not in upstream.everything_received()
