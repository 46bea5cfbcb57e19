"""More work than the application can do: what was accepted is finished, what is too much is told so at once."""

import asyncio
import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import pytest
from support import http2, sanitizer, wire
from support.gateway import Gateway, route
from support.processes import wait_until
from support.resources import MIB, Resources, vanish
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import Message, read_response, take_response

HOST = b"Host: raw.demo.localhost\r\n"
BROWSER = b"Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n"


def get(path: str, fields: bytes = b"") -> bytes:
    return b"GET /public/%s HTTP/1.1\r\n" % path.encode() + HOST + fields + b"\r\n"


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work, timeout: float = 60):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


# The load


class SteadyApplication:
    """An application that works on `slots` requests at a time, each for `seconds`; others wait in its queue."""

    def __init__(self, slots: int, seconds: float):
        self.slots, self.seconds = slots, seconds
        self.under_way = self.most_under_way = 0
        self._loop = Loop()
        self._loop.run(self._start())

    async def _start(self) -> None:
        self._free = asyncio.Semaphore(self.slots)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                async with self._free:
                    await asyncio.sleep(self.seconds)
                self.under_way -= 1
                writer.write(OK)
                await writer.drain()
        writer.close()

    def close(self) -> None:
        self._loop.close()


@dataclass
class Tally:
    """What became of the requests of a load."""

    #: When each answer of 200 was there, in seconds since the beginning.
    served: list[float] = field(default_factory=list)
    #: How long each answer of 503 took.
    shed: list[float] = field(default_factory=list)
    #: Everything else, as it was.
    other: list[object] = field(default_factory=list)


async def ask(port: int) -> Message:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(get("x", b"Connection: close\r\n"))
        return take_response(await reader.read())[0]
    finally:
        writer.close()


async def alone(port: int, count: int, seconds: float) -> float:
    """Answers for each second that `count` clients get who each ask again when they are answered."""
    began = time.monotonic()
    answers = 0

    async def client() -> None:
        nonlocal answers
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            writer.write(get("x"))
            await reader.readexactly(len(OK))
            if time.monotonic() > began + seconds:
                break
            answers += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(count)))
    return answers / seconds


async def offer(port: int, rate: float, seconds: float, deadline: float) -> Tally:
    """Asks `rate` times a second, whatever becomes of it; each client gives up after `deadline`."""
    tally = Tally()
    began = time.monotonic()

    async def client() -> None:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(deadline):
                answer = await ask(port)
        except Exception as error:
            tally.other.append(error)
            return
        now = time.monotonic()
        if answer.status == 200:
            tally.served.append(now - began)
        elif answer.status == 503 and answer.get("Retry-After"):
            tally.shed.append(now - asked)
        else:
            tally.other.append(answer)

    async with asyncio.TaskGroup() as clients:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0, began + number / rate - time.monotonic()))
            clients.create_task(client())
    return tally


@pytest.fixture
def application() -> Iterator[SteadyApplication]:
    made = SteadyApplication(slots=20, seconds=0.1)
    yield made
    made.close()


def test_twice_what_the_application_can_do_leaves_it_nine_tenths_of_what_it_does_alone(
    application: SteadyApplication, start_gateway: Callable[..., Gateway]
):
    pool = {"endpoints": [f"127.0.0.1:{application.port}"], "exchanges_max": 20, "queue_max": 60}
    pool["keep_alive"] = {"timeout": "1s"}
    gateway = start_gateway({"raw": application.port}, {"upstreams": {"raw": pool}})
    resources = Resources(gateway)
    loop = Loop()
    try:
        before = loop.run(alone(application.port, 20, seconds=3))
        assert before > 100, "this machine is too slow to say anything"
        application.most_under_way = 0
        seconds = 8
        tally = loop.run(offer(gateway.plain_port, 2 * before, seconds, deadline=sanitizer.PATIENCE))
    finally:
        loop.close()
    goodput = sum(when <= seconds for when in tally.served) / seconds
    assert not tally.other, f"{len(tally.other)} others: {tally.other[:5]}"
    assert goodput >= 0.9 * before, f"{goodput:.0f}/s of {before:.0f}/s"
    assert application.most_under_way <= 20, "the application has no queue of its own"
    assert len(tally.shed) > 0.5 * seconds * before
    assert statistics.median(tally.shed) < 0.05 * sanitizer.PATIENCE, "who is refused is told at once"
    metrics = gateway.metrics()
    assert metrics['upstream_queue_refused_total{upstream="raw",reason="full"}'] == len(tally.shed)
    assert metrics['upstream_queue_length{upstream="raw"}'] == 0
    resources.wait_for_descriptors()


# One by one


class Turnstile:
    """A script that holds each request until the test lets it through."""

    def __init__(self):
        self._passes: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def __call__(self, connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            self._gate(request.target).wait(30)
            connection.send(OK)

    def let(self, *names: str) -> None:
        for name in names:
            self._gate(f"/public/{name}").set()

    def _gate(self, target: str) -> threading.Event:
        with self._lock:
            return self._passes.setdefault(target, threading.Event())


@dataclass
class Narrow:
    """A gateway before an application that takes one request at a time."""

    gateway: Gateway
    upstream: FakeUpstream
    turnstile: Turnstile

    def waiting(self) -> float:
        return self.gateway.metrics()['upstream_queue_length{upstream="raw"}']

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.waiting() == count, f"{count} wait")

    @contextlib.contextmanager
    def one_waits(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        """Two clients: the request `first` is with the application, `second` waits."""
        with self.gateway.connect() as first, self.gateway.connect() as second:
            first.sendall(get("first"))
            self.upstream.wait_for_requests(1)
            second.sendall(get("second"))
            self.wait_for(1)
            yield first, second

    def arrived(self) -> list[str]:
        return [request.target.removeprefix("/public/") for request in self.upstream.requests]


@pytest.fixture
def narrow(start_gateway: Callable[..., Gateway]) -> Iterator[Narrow]:
    turnstile = Turnstile()
    with FakeUpstream(turnstile) as upstream:
        pool = {"endpoints": [f"127.0.0.1:{upstream.port}"], "exchanges_max": 1, "queue_max": 3}
        gateway = start_gateway({"raw": upstream.port}, {"upstreams": {"raw": pool}})
        yield Narrow(gateway, upstream, turnstile)
        turnstile.let("first", "second", "third", "fourth", "fifth")
        assert not upstream.errors


def test_what_is_too_much_is_told_so_in_each_version_and_form(narrow: Narrow):
    gateway = narrow.gateway
    with contextlib.ExitStack() as stack:
        peers = {}
        for count, name in enumerate(["first", "second", "third", "fourth"]):
            peers[name] = stack.enter_context(gateway.connect())
            peers[name].sendall(get(name))
            narrow.upstream.wait_for_requests(1)
            narrow.wait_for(count)
        with gateway.connect() as peer:
            for fields, kind in ((b"", "application/json"), (BROWSER, "text/html; charset=utf-8")):
                peer.sendall(get("fifth", fields))
                refused = read_response(peer)
                assert (refused.status, refused.get("Content-Type")) == (503, kind)
                assert int(refused.get("Retry-After")) >= 1
                assert refused.get("Connection") is None, "the connection is as good as before"
        with gateway.http2() as client:
            refused = client.get("/public/fifth")
            assert refused.status == 503 and int(refused.get("retry-after")) >= 1
            narrow.turnstile.let("first", "second", "third", "fourth", "fifth")
            for peer in peers.values():
                assert read_response(peer).status == 200
            assert client.get("/public/fifth").status == 200
    assert narrow.arrived() == ["first", "second", "third", "fourth", "fifth"], "first come, first served"

    def logged() -> list[dict]:
        return [line for line in gateway.events() if line.get("path", "").startswith("/public/")]

    wait_until(lambda: len(logged()) == 8, "all is logged")
    lines = logged()
    steps = [line.get("error_step") for line in lines]
    assert steps.count("queue.full") == 3
    waited = [line["path"] for line in lines if "queue_ms" in line]
    assert sorted(waited) == ["/public/fourth", "/public/second", "/public/third"]


def test_nobody_is_served_who_is_gone(narrow: Narrow):
    gateway = narrow.gateway
    with gateway.connect() as first, gateway.http2() as streams:
        first.sendall(get("first"))
        narrow.upstream.wait_for_requests(1)
        second = gateway.connect()
        second.sendall(get("second"))
        third = gateway.connect(plain=False)
        third.sendall(get("third"))
        narrow.wait_for(2)
        stream = streams.request("/public/fourth")
        narrow.wait_for(3)
        second.close()
        vanish(third)
        narrow.wait_for(1)
        streams.send(http2.reset(stream))
        narrow.wait_for(0)
        with gateway.connect() as peer:
            peer.sendall(get("fifth"))
            narrow.wait_for(1)
            narrow.turnstile.let("first", "fifth")
            assert read_response(first).status == 200
            assert read_response(peer).status == 200
    assert narrow.arrived() == ["first", "fifth"]


def test_a_reload_that_gives_more_room_lets_those_in_who_wait(narrow: Narrow):
    gateway = narrow.gateway
    with narrow.one_waits() as (first, second):
        gateway.configuration["upstreams"]["raw"]["exchanges_max"] = 2
        gateway.reload()
        narrow.upstream.wait_for_requests(2)
        with gateway.connect() as third:
            third.sendall(get("third"))
            narrow.wait_for(1)
            narrow.turnstile.let("first", "second", "third")
            assert [read_response(peer).status for peer in (first, second, third)] == [200] * 3


def test_a_stop_serves_those_who_wait(narrow: Narrow):
    gateway = narrow.gateway
    with narrow.one_waits() as (first, second):
        stopping = threading.Thread(target=gateway.stop)
        stopping.start()
        wait_until(lambda: "gateway.draining" in gateway.log(), "it stops")
        narrow.turnstile.let("first", "second")
        assert [read_response(peer).status for peer in (first, second)] == [200] * 2
        stopping.join(20)
    assert not stopping.is_alive()


def test_a_queue_that_is_too_long_for_its_clients_ends_in_time(narrow: Narrow):
    gateway = narrow.gateway
    gateway.configuration["upstreams"]["raw"]["queue_timeout"] = "300ms"
    gateway.reload()
    wait_until(lambda: "config.reloaded" in gateway.log(), "the new times hold")
    with gateway.connect() as first, gateway.connect() as second:
        first.sendall(get("first"))
        narrow.upstream.wait_for_requests(1)
        began = time.monotonic()
        second.sendall(get("second"))
        refused = read_response(second)
        assert refused.status == 503 and refused.get("Retry-After")
        assert time.monotonic() - began >= 0.3
        narrow.turnstile.let("first")
        assert read_response(first).status == 200
    assert narrow.arrived() == ["first"]


# Memory


def address_space(gateway: Gateway) -> int:
    return psutil.Process(gateway.program.pid).memory_info().vms


def held(gateway: Gateway) -> float:
    return gateway.metrics()["memory_held_bytes"]


def shed(gateway: Gateway) -> float:
    return sum(value for name, value in gateway.metrics().items() if name.startswith("memory_shed_total"))


def is_served(gateway: Gateway) -> bool:
    """Whether somebody new is, over each version."""
    try:
        with gateway.connect() as plain, gateway.http2() as streams:
            plain.sendall(get("x"))
            return read_response(plain).status == 200 and streams.get("/public/x").status == 200
    except Exception:
        return False


def large(connection: UpstreamConnection) -> None:
    while request := connection.read_request():
        body = b"x" * (MIB if request.target.startswith("/public/large") else 2)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture
def scarce(upstream: FakeUpstream, start_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway with 100 MiB more of address space than it needs when it has just begun to serve."""
    upstream.script = large
    changes = {
        "routes": [
            route("raw", "/public/**", public=True),
            route("raw", "/kept/**", upstream="raw", public=True, buffer_request=True),
        ],
        "buffering": {"request_memory_bytes_max": "16MiB", "file_bytes_max": 0},
        "upstreams": {"raw": {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"connections_max": 8}}},
    }
    unlimited = start_gateway({"raw": upstream.port}, changes)
    assert is_served(unlimited)
    limit = address_space(unlimited) + 100 * MIB
    unlimited.stop()
    gateway = start_gateway(
        {"raw": upstream.port}, changes, is_started=False, prefix=["prlimit", f"--as={limit}", "--"]
    )
    # Handshakes have a bound of their own, long before memory is short.
    gateway.configuration["listeners"][0]["handshakes_max"] = 1_000_000
    gateway.write()
    gateway.start()
    assert is_served(gateway)
    return gateway


def crowd_of_silent_clients(gateway: Gateway, peers: list) -> None:
    for _ in range(3000):
        peers.append(wire.connect(gateway.https_port))


def crowd_of_half_heads(gateway: Gateway, peers: list) -> None:
    head = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nX: " + b"x" * 15_000
    for _ in range(4000):
        peers.append(gateway.connect())
        peers[-1].sendall(head)


def crowd_of_slow_readers(gateway: Gateway, peers: list) -> None:
    """Those of one stream each, and those of a hundred."""
    for _ in range(200):
        peers.append(gateway.connect())
        peers[-1].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peers[-1].sendall(get("large"))
    for _ in range(20):
        streams = gateway.http2(window=(1 << 31) - 1)
        peers.append(streams)
        streams.send(http2.window_update(0, (1 << 31) - 1 - 65_535))
        for _ in range(100):
            streams.request("/public/large")


def crowd_of_half_uploads(gateway: Gateway, peers: list) -> None:
    head = b"POST /kept/x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % (2 * MIB)
    for _ in range(200):
        peers.append(gateway.connect())
        peers[-1].sendall(head + bytes(MIB))


CROWDS = [crowd_of_silent_clients, crowd_of_half_heads, crowd_of_slow_readers, crowd_of_half_uploads]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("crowd", CROWDS, ids=lambda crowd: crowd.__name__)
def test_when_memory_is_short_what_comes_is_refused_and_the_process_lives(scarce: Gateway, crowd):
    gateway, pid = scarce, scarce.program.pid
    peers: list = []
    enough = gateway.metrics()["memory_max_bytes"]
    try:
        deadline = time.monotonic() + 120
        while not shed(gateway):
            assert time.monotonic() < deadline, f"{held(gateway) / MIB:.0f} of {enough / MIB:.0f} MiB are held"
            # Who is refused in the middle of a word may see it while he speaks.
            with contextlib.suppress(OSError, AssertionError):
                crowd(gateway, peers)
    finally:
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.close()
    assert gateway.program.is_running and gateway.program.pid == pid
    wait_until(lambda: is_served(gateway), "it serves again")
    # Something is kept for exchanges to come, and half of all is the most that it may be.
    wait_until(lambda: held(gateway) < enough / 2, "the memory is given back")
    assert "out of memory" not in gateway.log()


def test_a_bound_of_memory_holds_for_what_is_new_and_can_be_raised(
    upstream: FakeUpstream, start_gateway: Callable[..., Gateway]
):
    gateway = start_gateway({"raw": upstream.port}, {"memory_max": "16MiB"})
    assert gateway.metrics()["memory_max_bytes"] == 16 * MIB
    head = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nX: " + b"x" * 12_000
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(gateway.connect())
        good.sendall(get("x"))
        assert read_response(good).status == 200
        while gateway.metrics()['memory_shed_total{what="connection"}'] == 0:
            for _ in range(50):
                peer = stack.enter_context(gateway.connect())
                with contextlib.suppress(OSError):
                    peer.sendall(head)
        good.sendall(get("x"))
        assert read_response(good).status == 200, "three quarters are held: those who are there are served"
        gateway.configuration["memory_max"] = "256MiB"
        gateway.reload()
        wait_until(lambda: gateway.metrics()["memory_max_bytes"] == 256 * MIB, "the new bound holds")
        with gateway.connect() as peer:
            peer.sendall(get("x"))
            assert read_response(peer).status == 200
