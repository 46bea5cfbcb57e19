"""Bad input again and again: no memory and no descriptor is left behind, and each exchange is logged once."""

import contextlib
import gc
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator

import psutil
import pytest
from support.gateway import COOKIE, Gateway, route
from support.processes import free_port, wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import read_all, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST
POST = b"POST /public/x HTTP/1.1\r\n" + HOST
#: How often each fault comes before memory is measured, and how often after that.
BEFORE, AFTER = 200, 2_000
#: What allocators and the kernel may keep for themselves; 2,000 times 256 bytes are more.
SLACK_BYTES = 448 * 1024

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def misbehave(connection: UpstreamConnection) -> None:
    """Answers, or fails in the way that the path names."""
    while request := connection.read_request():
        name = request.target.rpartition("/")[2]
        if name == "closes":
            return
        if name == "garbage":
            connection.send(b"garbage\r\n\r\n")
            return
        if name == "cut":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            return
        if name == "silent":
            connection.peer.recv(1)
            return
        if name == "upgrade":
            connection.send(SWITCHED)
            connection.read_some()
            return
        connection.send(OK)


@pytest.fixture(scope="module")
def enduring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with FakeUpstream(misbehave) as upstream:
        changes = {
            "workers": 1,
            "redis": {"url": f"redis://127.0.0.1:{free_port()}/0"},
            "limits": {
                "one": {"rate": "1/day", "key": "route", "store": "memory"},
                "away": {"rate": "1/day", "on_store_error": "deny"},
            },
        }
        gateway = Gateway(tmp_path_factory.mktemp("enduring"), {"raw": upstream.port}, changes)
        gateway.configuration["upstreams"]["raw"]["first_byte_timeout"] = "300ms"
        for listener in gateway.configuration["listeners"][:2]:
            listener |= {"body_timeout": "300ms"}
        gateway.configuration["routes"] += [
            route("raw", "/limited", public=True, limit="one"),
            route("raw", "/counted", public=True, limit="away"),
            route("raw", "/small", public=True, body_bytes_max="4"),
        ]
        gateway.write()
        with gateway:
            yield gateway
        assert not upstream.errors


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def sends_and_reads(data: bytes, plain: bool = True) -> Callable[[Gateway], None]:
    """A whole exchange of a request that is refused or fails."""

    def act(gateway: Gateway) -> None:
        with socket.create_connection(("127.0.0.1", gateway.plain_port if plain else gateway.https_port)) as peer:
            with contextlib.suppress(OSError):
                peer.sendall(data)
                while peer.recv(65536):
                    pass

    return act


def sends_and_resets(data: bytes) -> Callable[[Gateway], None]:
    def act(gateway: Gateway) -> None:
        peer = socket.create_connection(("127.0.0.1", gateway.plain_port))
        peer.sendall(data)
        reset(peer)

    return act


FAULTS = {
    "a connection that says nothing": sends_and_resets(b""),
    "half a head, and gone": sends_and_resets(GET[:-5]),
    "half a body, and gone": sends_and_resets(POST + b"Content-Length: 5000\r\n\r\n" + b"x" * 2500),
    "a request, and gone": sends_and_resets(GET + b"\r\n"),
    "a malformed head": sends_and_reads(GET + b"A : b\r\n\r\n"),
    "a long head": sends_and_reads(GET + b"A: " + b"b" * 20_000 + b"\r\n\r\n"),
    "a malformed chunk": sends_and_reads(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloxx"),
    "a path that is refused": sends_and_reads(GET.replace(b"/public/x", b"/public/%zz") + CLOSE),
    "no TLS": sends_and_reads(GET + CLOSE, plain=False),
    "no credential": sends_and_reads(GET.replace(b"public", b"private") + CLOSE),
    "a body over the cap": sends_and_reads(POST.replace(b"/public/x", b"/small") + b"Content-Length: 5\r\n\r\nhello"),
    "over a limit": sends_and_reads(GET.replace(b"/public/x", b"/limited") + CLOSE),
    "no store": sends_and_reads(GET.replace(b"/public/x", b"/counted") + CLOSE),
    "an upstream that closes": sends_and_reads(GET.replace(b"/x", b"/closes") + CLOSE),
    "an upstream that sends garbage": sends_and_reads(GET.replace(b"/x", b"/garbage") + CLOSE),
    "an upstream that breaks off": sends_and_reads(GET.replace(b"/x", b"/cut") + CLOSE),
}


def each_with_another_credential(gateway: Gateway, number: int) -> None:
    """Tokens and cookies that are none, each of them new: nothing of them may be remembered for ever."""
    token = f"Authorization: Bearer a{number}.b.c\r\n".encode()
    cookie = f"Cookie: {COOKIE}={number:A>43}\r\n".encode()
    for field in (token, cookie):
        sends_and_reads(GET.replace(b"public", b"private") + field + CLOSE)(gateway)


def resident(gateway: Gateway) -> int:
    return psutil.Process(gateway.program.pid).memory_info().rss


# One line for each exchange


def exchange(gateway: Gateway, data: bytes, *statuses: int) -> None:
    received, _ = gateway.raw(data)
    assert tuple(answer.status for answer in responses(received)) == statuses


def test_each_exchange_leaves_one_event_whatever_its_end(enduring: Gateway):
    """Every kind of end, each under a path of its own or counted by what else tells it; nothing more is logged."""
    before = len(enduring.events())
    token = f"Authorization: Bearer {enduring.mint()}\r\n".encode()
    expected: Counter[tuple[str, int, str, str]] = Counter()

    def end(path: str, status: int, side: str = "-", step: str = "-") -> None:
        expected[(path, status, side, step)] += 1

    def ask(path: str, status: int, fields: bytes = b"", method: bytes = b"GET", body: bytes = b"") -> None:
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        head = method + b" " + path.encode() + b" HTTP/1.1\r\n" + HOST + fields + length + CLOSE
        received, _ = enduring.raw(head + body)
        (answer,) = responses(received, method.decode())
        assert answer.status == status, path

    # Answered by the application, by us, by nobody.
    for path, status, fields in (
        *(("/public/ok", 200, b""), ("/private/ok", 200, token), ("/private/none", 401, b""), ("/nothing", 404, b"")),
        *(("/private/bad", 401, b"Authorization: Bearer x\r\n"), ("/admin/x", 403, token), ("/limited", 200, b"")),
        *(("/.gateway/login", 302, b""), ("/.gateway/x", 404, b""), ("/counted", 503, b"")),
    ):
        ask(path, status, fields)
        end(path, status)
    ask("/limited", 429)
    end("/limited", 429)
    ask("/public/head", 200, method=b"HEAD")
    end("/public/head", 200)
    ask("/public/traced", 405, method=b"TRACE")
    end("", 405)
    ask("/small", 413, method=b"POST", body=b"hello")
    end("/small", 413, "downstream", "request.body")
    ask("/public/%zz", 400)
    end("", 400)
    exchange(enduring, b"GET /public/x HTTP/1.1\r\nA : b\r\n\r\n", 400)
    end("", 400, "downstream", "request.head")
    # Failed upstream.
    for name, status, step in (
        *(("closes", 502, "response.head"), ("garbage", 502, "response.head"), ("silent", 504, "response.first_byte")),
    ):
        ask(f"/public/{name}", status)
        end(f"/public/{name}", status, "upstream", step)
    enduring.raw(GET.replace(b"/x", b"/cut") + CLOSE)
    end("/public/cut", 200, "upstream", "response.body")
    # Slow, cut off or gone downstream.
    exchange(enduring, POST.replace(b"/x", b"/slow") + b"Content-Length: 9\r\n\r\nhalf", 408)
    end("/public/slow", 408, "downstream", "request.body")
    with enduring.connect() as peer:
        peer.sendall(POST.replace(b"/x", b"/half") + b"Content-Length: 9\r\n\r\nhalf")
        peer.shutdown(socket.SHUT_WR)
        read_all(peer)
    end("/public/half", 0, "downstream", "request.body")
    peer = enduring.connect()
    peer.sendall(GET.replace(b"/x", b"/gone/silent") + b"\r\n")
    time.sleep(0.1)
    reset(peer)
    end("/public/gone/silent", 0, "downstream", "connection")
    # Pipelined on one connection, upgraded, and a connection that asks nothing.
    exchange(
        enduring, (GET.replace(b"/x", b"/piped") + b"\r\n") * 3 + GET.replace(b"/x", b"/piped") + CLOSE, *[200] * 4
    )
    for _ in range(4):
        end("/public/piped", 200)
    with enduring.connect() as peer:
        peer.sendall(GET.replace(b"/x", b"/upgrade") + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert read_response(peer).status == 101
        peer.sendall(b"enough")
        assert peer.recv(10) == b""
    end("/public/upgrade", 101)
    enduring.connect().close()
    with contextlib.suppress(OSError):
        sends_and_reads(GET, plain=False)(enduring)
    ask("/public/last", 200)
    end("/public/last", 200)

    def logged() -> Counter[tuple[str, int, str, str]]:
        lines = [line for line in enduring.events()[before:] if "event" not in line]
        return Counter(
            (line["path"], line["status"], line.get("error_side", "-"), line.get("error_step", "-")) for line in lines
        )

    with contextlib.suppress(AssertionError):
        wait_until(lambda: logged() == expected, "all ends are logged", 3)
    assert logged() - expected == Counter(), "nothing else"
    assert expected - logged() == Counter(), "each of them"
    identifiers = [line["request_id"] for line in enduring.events() if "event" not in line]
    assert len(set(identifiers)) == len(identifiers)


# Memory and descriptors


def test_faults_leave_no_memory_and_no_descriptor_behind(enduring: Gateway):
    process = psutil.Process(enduring.program.pid)
    numbers = iter(range(10**9))
    faults = {**FAULTS, "credentials": lambda gateway: each_with_another_credential(gateway, next(numbers))}
    for fault in faults.values():
        for _ in range(BEFORE):
            fault(enduring)
    gc.collect()
    descriptors = process.num_fds()
    grown = {}
    for name, fault in faults.items():
        before = resident(enduring)
        for _ in range(AFTER):
            fault(enduring)
        grown[name] = resident(enduring) - before
    assert max(grown.values()) < SLACK_BYTES, grown
    assert sum(grown.values()) < 2 * SLACK_BYTES, grown
    wait_until(lambda: process.num_fds() <= descriptors + 4, "the descriptors are given back")
    assert responses(enduring.raw(GET + CLOSE)[0])[0].status == 200
