"""A Redis that answers nonsense, too much, too late or not at all: each limit does what `on_store_error` says."""

import concurrent.futures
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from support.gateway import Gateway, route
from support.processes import Program, start_redis, wait_until
from support.resources import MIB, Resources
from support.upstream import FakeUpstream, UpstreamConnection
from support.wire import Message, read_response

POLICIES = ("deny", "allow", "local")
#: What Redis has to say: verdict, tokens left, microseconds until the next one and until all are back.
ALLOWED = b"*4\r\n:1\r\n:7\r\n:0\r\n:3600000\r\n"
TIMEOUT = "150ms"


def numbers(*values: int) -> bytes:
    return b"*%d\r\n" % len(values) + b"".join(b":%d\r\n" % value for value in values)


Fault = Callable[[UpstreamConnection, bytes], None]


def says(reply: bytes) -> Fault:
    return lambda connection, _: connection.send(reply)


def then_closes(reply: bytes) -> Fault:
    def fault(connection: UpstreamConnection, _: bytes) -> None:
        connection.send(reply)
        connection.peer.shutdown(socket.SHUT_RDWR)

    return fault


def drips(connection: UpstreamConnection, reply: bytes) -> None:
    for byte in reply:
        connection.send(bytes([byte]))
        time.sleep(0.02)  # Each byte is on time, the whole is not.


def resets(connection: UpstreamConnection, _: bytes) -> None:
    connection.reset()


FAULTS: dict[str, Fault] = {
    **{f"says {reply[:24]!r}": says(reply) for reply in (
        # No RESP.
        b"HTTP/1.1 200 OK\r\n\r\n", bytes(100), b"\r\n", b"\xff\xfe" * 50, b"_\r\n", b"#t\r\n", b"%1\r\n:1\r\n:1\r\n",
        b">1\r\n:1\r\n", b"*4\n:1\n:7\n:0\n:1\n", b"*4\r\n:1\r\n:7\r\n:0\r\n:1x\r\n", b"*4\r\n:1\r\n:\r\n:0\r\n:1\r\n",
        # Another type, another count, or numbers that the script never says.
        b"+OK\r\n", b":1\r\n", b"$2\r\nok\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"*4\r\n+1\r\n+7\r\n+0\r\n+1\r\n",
        b"*4\r\n$1\r\n1\r\n:7\r\n:0\r\n:1\r\n", b"*1\r\n" + ALLOWED, numbers(1, 7, 0), numbers(1, 7, 0, 1, 1),
        numbers(2, 7, 0, 1), numbers(-1, 7, 0, 1), numbers(1, -1, 0, 1), numbers(1, 100_000, 0, 1),
        numbers(1, 7, -1, 1), numbers(1, 7, 0, -1), numbers(0, 0, 0, 1), numbers(1, 2**63, 0, 1),
        numbers(1, 2**64 + 7, 0, 1),
        # Errors.
        b"-NOSCRIPT No matching script.\r\n", b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n", b"-OOM command not allowed\r\n",
        b"-NOAUTH Authentication required.\r\n", b"-NOPERM no permission\r\n", b"-MOVED 1 127.0.0.1:1\r\n",
        b"-BUSY Redis is busy\r\n", b"-\r\n", b"-ERR " + b"x" * 10_000 + b"\r\n", b"*4\r\n:1\r\n:7\r\n:0\r\n-ERR x\r\n",
        # Too much.
        b"$99999999999\r\n", b"$2147483647\r\n", b"$9223372036854775808\r\n", b"*2147483647\r\n", b"*99999999999\r\n",
        b"*1000000\r\n" + b":1\r\n" * 50_000, b"$2000000\r\n" + bytes(2_000_000) + b"\r\n", b"+" + b"a" * 5_000_000,
        b":" + b"1" * 100_000, b"-" + b"e" * 5_000_000,
        # Deep.
        b"*1\r\n" * 7 + b":1\r\n", b"*1\r\n" * 8 + b":1\r\n", b"*1\r\n" * 100_000,
        # Not the whole.
        b"*", b"*4", b"*4\r\n:1\r\n:7\r\n:0\r\n:3600000\r",
    )},
    "says nothing": says(b""),
    "closes without a word": then_closes(b""),
    "closes behind an error": then_closes(b"-ERR max number of clients reached\r\n"),
    "resets": resets,
    "drips": drips,
}  # fmt: skip


class Store:
    """A real Redis, and before it a place where `fault`, while there is one, answers instead."""

    def __init__(self, port: int):
        self.real_port = port
        self.fault: Fault | None = None
        self.front = FakeUpstream(self._relay)

    def recover(self) -> None:
        """Ends the fault; whoever still waits for an answer that was left out has to connect anew."""
        silent, self.fault = self.fault is FAULTS["says nothing"], None
        for connection in self.front.connections if silent else ():
            with contextlib.suppress(OSError):
                connection.peer.shutdown(socket.SHUT_RDWR)

    def _relay(self, connection: UpstreamConnection) -> None:
        with socket.create_connection(("127.0.0.1", self.real_port)) as real:
            while command := connection.peer.recv(65536):
                real.sendall(command)
                reply = real.recv(65536)
                if self.fault:
                    self.fault(connection, reply)
                else:
                    connection.send(reply)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    program, port = start_redis(tmp_path_factory.mktemp("redis"))
    store = Store(port)
    with store.front:
        yield store
    program.stop()


@pytest.fixture(scope="module")
def limited(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """A gateway with a route for each policy, whose limit nobody reaches."""
    with FakeUpstream() as application:
        gateway = start(tmp_path_factory.mktemp("limited"), application, store.front.port, "10000/hour")
        with gateway:
            yield gateway, application


def start(folder, application: FakeUpstream, redis_port: int, rate: str) -> Gateway:
    changes = {
        "workers": 1,
        "redis": {"url": f"redis://127.0.0.1:{redis_port}/0", "timeout": TIMEOUT},
        "limits": {policy: {"rate": rate, "key": "route", "on_store_error": policy} for policy in POLICIES},
        "routes": [route("raw", f"/{policy}", public=True, limit=policy) for policy in POLICIES],
    }
    return Gateway(folder, {"raw": application.port}, changes)


def ask(gateway: Gateway, path: str) -> Message:
    with gateway.connect() as peer:
        peer.sendall(f"GET /{path} HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n".encode())
        return read_response(peer)


def comes_back(gateway: Gateway) -> None:
    wait_until(lambda: ask(gateway, "deny").status == 200, "the store is used again")


def holds_without_a_store(gateway: Gateway, application: FakeUpstream, policy: str) -> None:
    """What this policy says while the store is away, and nothing else, is done."""
    application.forget()
    answer = ask(gateway, policy)
    if policy == "deny":
        assert answer.status == 503
        assert answer.get("Retry-After")
        assert not application.requests, "nothing is let through"
        assert not [word for word in (b"redis", b"NOSCRIPT", b"127.0.0.1") if word in answer.body]
        return
    assert answer.status == 200
    assert len(application.requests) == 1
    assert (answer.get("RateLimit") is not None) == (policy == "local"), "local counts, allow does not"


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=list(FAULTS))
def test_a_store_that_is_not_to_be_believed_counts_as_away(limited, store: Store, number: int):
    gateway, application = limited
    store.fault = list(FAULTS.values())[number]
    try:
        # Each policy is the first to meet the fault in its turn; the others may find the connection lost already.
        for policy in (*POLICIES[number % 3 :], *POLICIES[: number % 3]):
            holds_without_a_store(gateway, application, policy)
    finally:
        store.recover()
    comes_back(gateway)
    assert gateway.program.is_running


def test_a_reply_that_breaks_off_anywhere_is_none(limited, store: Store):
    gateway, application = limited
    for length in range(len(ALLOWED)):
        store.fault = then_closes(ALLOWED[:length])
        holds_without_a_store(gateway, application, "deny")
        store.fault = None
        comes_back(gateway)
    store.fault = then_closes(ALLOWED)
    assert ask(gateway, "deny").status == 200, "the whole of it is one"
    store.fault = None
    comes_back(gateway)


@pytest.mark.parametrize("reply", [numbers(0, 0, 2**63 - 1, 2**63 - 1), numbers(1, 0, 2**63 - 1, 2**63 - 1)])
def test_the_largest_numbers_break_nothing(limited, store: Store, reply: bytes):
    gateway, _ = limited
    store.fault = says(reply)
    assert ask(gateway, "deny").status in (429, 503) if reply == numbers(0, 0, 2**63 - 1, 2**63 - 1) else (200, 503)
    store.fault = None
    comes_back(gateway)


def test_answers_that_nobody_asked_for_are_nobodys(limited, store: Store):
    """A surplus reply must not be the verdict of a later command: no 200 but by a count."""
    gateway, application = limited
    store.fault = says(ALLOWED + ALLOWED)
    assert ask(gateway, "deny").status in (200, 503)
    store.fault = says(b"-ERR not now\r\n")
    for _ in range(5):
        holds_without_a_store(gateway, application, "deny")
    store.fault = None
    comes_back(gateway)


def test_no_fault_leaves_memory_or_descriptors_behind(limited, store: Store):
    gateway, _ = limited
    comes_back(gateway)
    resources = Resources(gateway)
    faults = [FAULTS["resets"], says(b"$2000000\r\n" + bytes(2_000_000)), says(b"*1\r\n" * 100_000), says(b"?")]
    for fault in faults * 6:
        store.fault = fault
        assert ask(gateway, "deny").status == 503
        store.fault = None
        comes_back(gateway)
    assert resources.memory_growth < 8 * MIB
    resources.wait_for_descriptors()


def counted(gateway: Gateway, count: int) -> list[int]:
    """The statuses of so many requests at once."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: ask(gateway, "deny").status, range(count)))


@pytest.fixture
def scarce(upstream: FakeUpstream, redis_server: tuple[Program, int], tmp_path) -> Iterator[Gateway]:
    """A gateway that lets 20 requests an hour through, counted in a Redis of the test's own."""
    with start(tmp_path, upstream, redis_server[1], "20/hour") as gateway:
        yield gateway


def test_a_forgotten_script_is_brought_along_once_and_counts_stay_exact(scarce: Gateway, redis_server):
    server = redis.Redis(port=redis_server[1])
    statuses = []
    for _ in range(4):
        server.script_flush()
        statuses += counted(scarce, 15)
    assert sorted(statuses) == [200] * 20 + [429] * 40


def test_a_store_that_stops_and_goes_on_gives_nobody_the_verdict_of_another(scarce: Gateway, redis_server):
    program, _ = redis_server
    statuses = counted(scarce, 5)
    assert statuses == [200] * 5
    program.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert counted(scarce, 30) == [503] * 30
        assert time.monotonic() - began < 3, "nobody waits longer than the timeout says"
    finally:
        program.signal(signal.SIGCONT)
    # Late answers may have spent tokens; they let nobody through, and no more than 20 pass in all.
    wait_until(lambda: ask(scarce, "deny").status != 503, "the store is used again")
    statuses += counted(scarce, 30)
    assert statuses.count(200) <= 20
    assert set(statuses) <= {200, 429}


def test_a_store_that_is_restarted_under_load_denies_until_it_is_back(
    scarce: Gateway, redis_server, upstream: FakeUpstream, tmp_path
):
    program, port = redis_server
    assert counted(scarce, 5) == [200] * 5
    program.kill()
    wait_until(lambda: ask(scarce, "deny").status == 503, "it is noticed")
    reached = len(upstream.requests)
    assert counted(scarce, 30) == [503] * 30
    assert len(upstream.requests) == reached
    returned, _ = start_redis(tmp_path, port)
    try:
        wait_until(lambda: ask(scarce, "deny").status == 200, "the store is used again")
        assert sorted(set(counted(scarce, 30))) == [200, 429], "it counts anew, with its script"
    finally:
        returned.stop()
