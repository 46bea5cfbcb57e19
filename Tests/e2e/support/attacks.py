"""Attacks, and beside each of them, on the same worker, a client that does nothing wrong.

While an attack lasts, 99 of 100 requests of the good client are answered within a second; afterwards the gateway has
its memory and its descriptors back.
"""

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import sanitizer
from .bystander import Bystander
from .gateway import ROUTES, Gateway, certificates, route
from .http2 import Connection
from .processes import wait_until
from .resources import MIB, Resources
from .upstream import OK, FakeUpstream, UpstreamConnection

SECONDS, SECONDS_MAX = 1.5, 30 * sanitizer.PATIENCE
LARGE = 4 * MIB
#: What an attack may leave behind in resident memory: allocators keep some of what they were given back.
GROWTH_MAX = 24 * MIB


def script(connection: UpstreamConnection) -> None:
    while True:
        if b"/public/sink" in connection.peek():
            # Bodies without end, which nobody understands.
            while connection.read_some():
                pass
        request = connection.read_request()
        if not request:
            return
        if "/tiny-chunks" in request.target:
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                connection.send(b"1\r\nx\r\n" * 10_000)
        if "/large" in request.target:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // 65_536):
                connection.send(bytes(65_536))
        else:
            connection.send(OK)


@dataclass
class Target:
    """What is attacked, and who stands beside it."""

    gateway: Gateway
    upstream: FakeUpstream
    bystander: Bystander


@contextlib.contextmanager
def attacked_gateway(folder: Path) -> Iterator[Target]:
    """One worker, and timers that do not end an attack by themselves."""
    bystander = Bystander(certificates())
    with FakeUpstream(script) as upstream:
        pools = {
            name: {"endpoints": [f"127.0.0.1:{port}"], "keep_alive": {"timeout": "1s"}}
            for name, port in (("raw", upstream.port), ("good", bystander.upstream_port))
        }
        routes = [*ROUTES["raw"], route("good", "/", public=True)]
        changes = {"workers": 1, "stop_timeout": "1s", "upstreams": pools, "routes": routes}
        with Gateway(folder, {"raw": upstream.port}, changes) as gateway:
            yield Target(gateway, upstream, bystander)
    bystander.close()


class Attacker:
    """Whoever floods: sends what it has for as long as it is let."""

    def __init__(self, target: Target):
        self.gateway = target.gateway
        self.sent = 0
        self._good = target.bystander
        self._begun = time.monotonic()

    @property
    def goes_on(self) -> bool:
        """For its time, and on a slow machine until the good client has been heard often enough."""
        lasted = time.monotonic() - self._begun
        return lasted < SECONDS or lasted < SECONDS_MAX and not self._good.has_enough.is_set()

    @contextlib.contextmanager
    def connection(self, **options) -> Iterator[Connection]:
        """A connection that has said hello."""
        with self.gateway.http2(**options) as connection:
            connection.ping()
            yield connection

    def pour(self, connection: Connection, blocks: Iterator[bytes]) -> None:
        """Sends the blocks until the connection or the time is over."""
        for block in blocks:
            if not self.goes_on or not self.push(connection, block):
                return

    def push(self, connection: Connection, block: bytes) -> bool:
        """Sends a block, and throws away what has come; `False` when the connection is over, or stands still."""
        try:
            connection.socket.settimeout(2)
            connection.socket.sendall(block)
        except OSError:
            return False
        self.sent += len(block)
        try:
            connection.socket.settimeout(0.0001)
            while connection.socket.recv(65_536):
                pass
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        except OSError:
            pass
        return False


def under_attack(target: Target, attack: Callable[[Attacker], None], count: int = 1) -> Attacker:
    """Runs the attack in `count` threads beside a good client, and sees that nothing is left of it."""
    gateway = target.gateway
    # What the first requests of all make the gateway allocate is not the attack's.
    with gateway.http2() as warm:
        assert warm.get("/public/warm").status == 200
    wait_until(lambda: gateway.metrics()["connections_open"] == 0, "nobody is connected")
    resources = Resources(gateway)
    target.bystander.start(gateway.https_port)
    attacker = Attacker(target)
    failures: list[Exception] = []

    def run() -> None:
        try:
            attack(attacker)
        except OSError:
            pass  # The gateway has ended the connection.
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    target.bystander.stop()
    target.bystander.check()
    assert not failures, failures[0]
    wait_until(lambda: gateway.metrics()["connections_open"] == 0, "the attacker's connections are closed")
    wait_until(lambda: resources.memory_growth < GROWTH_MAX, "memory is given back")
    # Connections to the upstream are kept for a second.
    resources.wait_for_descriptors()
    return attacker
