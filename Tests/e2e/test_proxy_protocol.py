"""The PROXY protocol: who a client is behind a proxy of layer 4, and that nobody else is believed."""

import socket
import struct

import pytest
from support.gateway import Gateway
from support.processes import wait_until
from support.upstream import FakeUpstream
from support.wire import read_all, read_response

GET = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n%s\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def line(address: str) -> bytes:
    """Version 1."""
    family = "TCP6" if ":" in address else "TCP4"
    return f"PROXY {family} {address} {address} 56324 443\r\n".encode()


def binary(address: str, values: bytes = b"") -> bytes:
    """Version 2."""
    family, code = (socket.AF_INET6, 0x21) if ":" in address else (socket.AF_INET, 0x11)
    block = socket.inet_pton(family, address) * 2 + struct.pack(">HH", 56324, 443) + values
    return SIGNATURE + bytes([0x21, code]) + struct.pack(">H", len(block)) + block


LOCAL = SIGNATURE + b"\x20\0\0\0"


def with_proxies(peers: object, upstream: FakeUpstream, start_gateway, **changes: object) -> Gateway:
    """Its plain listener and that with TLS speak the protocol."""
    gateway = start_gateway({"raw": upstream.port}, changes, is_started=False)
    for listener in gateway.configuration["listeners"][:2]:
        listener["proxy_protocol"] = peers
    gateway.write()
    return gateway.start()


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
@pytest.mark.parametrize("header", [line, binary], ids=["v1", "v2"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "TLS"])
def test_the_client_is_who_the_proxy_says(upstream: FakeUpstream, proxied: Gateway, plain: bool, header, address: str):
    peer = socket.create_connection(("127.0.0.1", proxied.plain_port if plain else proxied.https_port), 10)
    with peer:
        peer.sendall(header(address))
        if not plain:
            peer = proxied.tls.wrap_socket(peer, server_hostname="raw.demo.localhost")
        for _ in range(2):
            peer.sendall(GET % b"X-Forwarded-For: 203.0.113.9\r\n")
            assert read_response(peer).status == 200
        peer.close()
    for request in upstream.requests[-2:]:
        assert request.get("X-Forwarded-For") == address
    wait_until(lambda: f'"client_ip":"{address}"' in proxied.log(), "the log has it")


@pytest.fixture
def proxied(upstream: FakeUpstream, start_gateway) -> Gateway:
    return with_proxies(["127.0.0.0/30"], upstream, start_gateway)


def test_a_proxy_that_speaks_for_itself_is_the_client(upstream: FakeUpstream, proxied: Gateway):
    for header in (LOCAL, b"PROXY UNKNOWN\r\n"):
        with proxied.connect(source="127.0.0.2") as peer:
            peer.sendall(header + GET % b"")
            assert read_response(peer).status == 200
        assert upstream.requests[-1].get("X-Forwarded-For") == "127.0.0.2"


@pytest.mark.parametrize("source", ["127.0.0.4", "127.0.0.200"])
@pytest.mark.parametrize("sent", [line("127.0.0.1") + GET % b"", binary("127.0.0.1") + GET % b"", GET % b"", b""])
def test_a_peer_that_is_not_listed_is_never_believed(
    upstream: FakeUpstream, proxied: Gateway, sent: bytes, source: str
):
    with proxied.connect(source=source) as peer:
        peer.sendall(sent)
        assert read_all(peer) == (b"", True)
    assert upstream.requests == []
    assert proxied.metrics()["proxy_protocol_refused_total"] == 1

    def event() -> dict | None:
        return next((event for event in proxied.events() if event.get("event") == "connections.refused"), None)

    assert (
        wait_until(event, "the log says so").items()
        >= {
            "reason": "proxy_peer",
            "count": "1",
            "last_peer": source,
            "listener": f"127.0.0.1:{proxied.plain_port}",
            "level": "warning",
        }.items()
    )


@pytest.mark.parametrize(
    "sent",
    [
        GET % b"",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 56324\r\n" + GET % b"",
        b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\n" + GET % b"",
        line("192.0.2.7").replace(b"PROXY", b"proxy") + GET % b"",
        binary("192.0.2.7", b"\x03\0\4\1\2\3\4") + GET % b"",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
def test_a_listed_peer_without_a_sound_header_is_closed(upstream: FakeUpstream, proxied: Gateway, sent: bytes):
    with proxied.connect() as peer:
        peer.sendall(sent)
        assert read_all(peer) == (b"", True)
    assert upstream.requests == []
    assert proxied.metrics()["proxy_protocol_refused_total"] == 1


def test_the_address_counts_in_limits_and_for_trusted_proxies(upstream: FakeUpstream, start_gateway):
    gateway = with_proxies(
        "127.0.0.1",
        upstream,
        start_gateway,
        trusted_proxies=["192.0.2.0/24"],
        limits={"few": {"rate": "2/minute", "key": "address"}},
        routes=[{"host": "raw.demo.localhost", "path": "/**", "upstream": "raw", "public": True, "limit": "few"}],
    )

    def statuses(address: str, forwarded: bytes) -> list[int]:
        with gateway.connect() as peer:
            peer.sendall(line(address) + (GET % (b"X-Forwarded-For: " + forwarded + b"\r\n")) * 3)
            return [status_of(peer) for _ in range(3)]

    def status_of(peer: socket.socket) -> int:
        received = b""
        while b"\r\n\r\n" not in received:
            received += peer.recv(1)
        length = int(next(value for value in received.split(b"\r\n") if value.startswith(b"Content-Length"))[15:])
        while length > 0:
            length -= len(peer.recv(length))
        return int(received.split()[1])

    assert statuses("203.0.113.1", b"198.51.100.1") == [200, 200, 429], "not trusted: the address itself"
    assert statuses("203.0.113.1", b"198.51.100.2") == [429, 429, 429]
    assert statuses("192.0.2.1", b"198.51.100.1") == [200, 200, 429], "trusted: whom it names"
    assert statuses("192.0.2.2", b"198.51.100.1") == [429, 429, 429]
    # The proxy is a peer of layer 4, and none that may name clients in fields.
    assert statuses("127.0.0.1", b"198.51.100.3") == [200, 200, 429]
    assert statuses("127.0.0.1", b"198.51.100.4") == [429, 429, 429]


def test_by_a_unix_socket(upstream: FakeUpstream, start_gateway, tmp_path):
    path = tmp_path / "p.sock"
    gateway = start_gateway({"raw": upstream.port}, is_started=False)
    gateway.configuration["listeners"].append({"address": f"unix:{path}", "proxy_protocol": "unix"})
    gateway.write()
    gateway.start()
    assert "nobody says who comes by this socket" not in gateway.log()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(binary("192.0.2.7") + GET % b"X-Forwarded-For: 203.0.113.9\r\n")
        assert read_response(peer).status == 200
    assert upstream.requests[-1].get("X-Forwarded-For") == "192.0.2.7"


def test_a_client_has_no_more_connections_than_its_address_may(upstream: FakeUpstream, start_gateway):
    gateway = start_gateway({"raw": upstream.port}, is_started=False)
    gateway.configuration["listeners"][1]["connections_per_address_max"] = 5
    gateway.write()
    gateway.start()

    def ask(peer: socket.socket) -> int:
        peer.sendall(GET % b"")
        return read_response(peer).status

    held = [gateway.connect(source="127.0.0.5") for _ in range(5)]
    assert [ask(peer) for peer in held] == [200] * 5
    for _ in range(3):
        with gateway.connect(source="127.0.0.5") as peer:
            assert read_all(peer) == (b"", True)
    with gateway.connect(source="127.0.0.6") as peer:
        assert ask(peer) == 200, "another address has its own"
    assert gateway.metrics()["connections_refused_total"] == 3
    wait_until(lambda: '"reason":"connections_per_address_max"' in gateway.log(), "the log says so")
    held.pop().close()

    def is_served() -> bool:
        with gateway.connect(source="127.0.0.5") as peer:
            peer.sendall(GET % b"")
            return read_all(peer, timeout=0.5)[0].startswith(b"HTTP/1.1 200")

    wait_until(is_served, "the place is free again")
    # Over all workers, and a reload changes it for those who come then.
    gateway.configuration["listeners"][1]["connections_per_address_max"] = 6
    gateway.reload()
    wait_until(lambda: gateway.metrics()["config_reloads_total"] == 1, "the reload is taken")
    wait_until(is_served, "there is room for one more")
    for peer in held:
        assert ask(peer) == 200
        peer.close()
