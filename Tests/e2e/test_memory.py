"""Memory is bounded by what the gateway decides, not by what peers send, leave unread or hold open."""

import concurrent.futures
import contextlib
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from support.gateway import DOMAIN, Gateway
from support.processes import wait_until
from support.resources import MIB, Resources, vanish
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import read_response

HOST = b"Host: raw.demo.localhost\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n"
HUGE = 500 * MIB
BLOCK = bytes(256 * 1024)
#: Clients that stand still at the same time, each in the midst of 500 MiB.
CROWD = 60
IDLE_CONNECTIONS = 9000
IDLE_BYTES_MAX = 15 * 1024


@pytest.fixture
def pair(upstream: FakeUpstream, tmp_path) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """One worker, a quick stop, and no timeout that would end the standstill."""
    endpoint = {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"timeout": "0s"}}
    changes = {"workers": 1, "stop_timeout": "1s", "upstreams": {"raw": endpoint}}
    gateway = Gateway(tmp_path, {"raw": upstream.port}, changes)
    for listener in gateway.configuration["listeners"]:
        listener.update(handshake_timeout="1m", head_timeout="1m", body_timeout="1m", idle_timeout="1m")
    gateway.write()
    with gateway:
        assert ask(gateway) == 200, "warm"
        yield gateway, upstream


def ask(gateway: Gateway, plain: bool = True) -> int:
    with gateway.connect(plain=plain) as peer:
        peer.sendall(GET)
        return read_response(peer).status


class Meter:
    """Bytes that several threads have moved; still once nobody moves any more."""

    def __init__(self):
        self.total = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count

    def wait_until_still(self) -> None:
        last = [-1, 0.0]

        def is_still() -> bool:
            now = time.monotonic()
            if self.total != last[0]:
                last[:] = [self.total, now]
            return self.total > 0 and now - last[1] > 0.3

        wait_until(is_still, "nothing moves any more")


def pours(meter: Meter) -> Callable[[UpstreamConnection], None]:
    """An upstream that sends as fast as it is let."""

    def script(connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            if request.target == "/public/x":
                connection.send(OK)
                continue
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % HUGE)
            for _ in range(HUGE // len(BLOCK)):
                connection.send(BLOCK)
                meter.add(len(BLOCK))

    return script


def test_clients_that_do_not_read_500_megabytes_hold_little_memory(pair):
    gateway, upstream = pair
    meter = Meter()
    upstream.script = pours(meter)
    assert ask(gateway) == 200
    resources = Resources(gateway)
    with contextlib.ExitStack() as stack:
        for number in range(CROWD):
            peer = stack.enter_context(gateway.connect(plain=number % 2 == 0))
            peer.sendall(GET.replace(b"/x", b"/huge"))
        meter.wait_until_still()
        assert resources.memory_growth < CROWD * 256 * 1024
        began = resources.cpu_seconds
        assert ask(gateway) == 200
        time.sleep(0.3)  # Time in which it must not spin.
        assert resources.cpu_seconds - began < 0.1
    resources.wait_for_descriptors()


def test_500_megabytes_arrive_whole_at_a_client_that_lingered(pair):
    gateway, upstream = pair
    meter = Meter()
    upstream.script = pours(meter)
    resources = Resources(gateway)
    most, received, buffer = 0, 0, bytearray(1024 * 1024)
    with gateway.connect() as peer:
        peer.sendall(GET.replace(b"/x", b"/huge").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        meter.wait_until_still()
        while count := peer.recv_into(buffer):
            if received // (32 * MIB) != (received + count) // (32 * MIB):
                most = max(most, resources.memory_growth)
            received += count
    assert HUGE < received < HUGE + 2048
    assert most < 4 * MIB


def test_upstreams_that_do_not_read_500_megabytes_hold_little_memory(pair):
    gateway, upstream = pair
    finished = threading.Event()

    def stands_still(connection: UpstreamConnection) -> None:
        if b" /public/x " in connection.read_head():
            connection.send(OK)
        else:
            finished.wait(60)

    upstream.script = stands_still
    resources = Resources(gateway)
    meter = Meter()

    def upload(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            peer.sendall(b"POST /public/huge HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % HUGE)
            while True:
                peer.sendall(BLOCK)
                meter.add(len(BLOCK))

    peers = [gateway.connect(plain=number % 2 == 0) for number in range(CROWD)]
    uploads = [threading.Thread(target=upload, args=(peer,), daemon=True) for peer in peers]
    try:
        for thread in uploads:
            thread.start()
        meter.wait_until_still()
        assert resources.memory_growth < CROWD * 256 * 1024
        assert ask(gateway) == 200
    finally:
        finished.set()
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
    for thread in uploads:
        thread.join(10)
    resources.wait_for_descriptors()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Descriptors for both ends of the idle connections; the gateway inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE_CONNECTIONS + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), max(hard, needed)))
    yield
    with contextlib.suppress(PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class IdleClients:
    """Clients that have done their handshake and say nothing."""

    def __init__(self, gateway: Gateway):
        self.peers: list[socket.socket] = []
        self._gateway = gateway
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE
        with self._connect(None) as first:
            first.sendall(GET)
            assert read_response(first).status == 200
            self._session = first.session

    def arrive(self, count: int, resumed: bool) -> None:
        """A handshake that resumes an older one costs this side less time and the gateway as much memory."""
        session = self._session if resumed else None
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for through_tls in pool.map(lambda _: self._connect(session), range(count)):
                # The test need not keep the state of TLS on its side.
                self.peers.append(socket.socket(fileno=through_tls.detach()))

    def leave(self) -> None:
        while self.peers:
            vanish(self.peers.pop())

    def _connect(self, session: ssl.SSLSession | None) -> ssl.SSLSocket:
        peer = socket.create_connection(("127.0.0.1", self._gateway.https_port), 10)
        return self._context.wrap_socket(peer, server_hostname=f"raw.{DOMAIN}", session=session)


def test_9000_idle_tls_connections_cost_15_kibibytes_each(many_descriptors, pair):
    gateway, _ = pair
    clients = IdleClients(gateway)
    resources = Resources(gateway)
    clients.arrive(1000, resumed=False)
    assert resources.memory_growth <= 1000 * IDLE_BYTES_MAX
    clients.arrive(IDLE_CONNECTIONS - 1000, resumed=True)
    wait_until(lambda: gateway.metrics()["connections_open"] == IDLE_CONNECTIONS, "all of them are open")
    assert resources.memory_growth <= IDLE_CONNECTIONS * IDLE_BYTES_MAX
    began, cpu = time.monotonic(), resources.cpu_seconds
    for _ in range(20):
        assert ask(gateway, plain=False) == 200
    assert time.monotonic() - began < 2
    assert resources.cpu_seconds - cpu < 0.5
    clients.leave()
    resources.wait_for_descriptors()
    left = resources.memory_growth
    clients.arrive(500, resumed=True)
    assert resources.memory_growth - left < 500 * IDLE_BYTES_MAX, "nothing has leaked"
    clients.leave()
    resources.wait_for_descriptors()


def test_the_memory_of_connections_that_are_gone_is_given_back(pair):
    gateway, _ = pair
    clients = IdleClients(gateway)
    resources = Resources(gateway)
    clients.arrive(800, resumed=True)
    most = resources.memory_growth
    clients.leave()
    resources.wait_for_descriptors()
    wait_until(lambda: resources.memory_growth < most / 2, "most of it is given back", timeout=10)
