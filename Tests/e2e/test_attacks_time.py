"""Whoever is slow, or stays for ever: each wait has an end, and a tunnel ends with its session (R46, R64)."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway import COOKIE, Gateway
from support.processes import wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.wire import connect, read_all, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"
SHORT = {"handshake_timeout": "500ms", "head_timeout": "500ms", "body_timeout": "500ms", "idle_timeout": "500ms"}
POST = b"POST /public/x HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

#: What is sent at once, and what then comes piece by piece, each piece well within the timeouts.
DRIPS = {
    "a head": (b"GET /public/x HTTP/1.1\r\nA: ", b"b"),
    "empty lines": (b"", b"\r\n"),
    "the size of a chunk": (POST + CHUNKED, b"0"),
    "an extension of a chunk": (POST + CHUNKED + b"1;", b"a"),
    "trailers": (POST + CHUNKED + b"0\r\nA: ", b"b"),
    "the body of a refused request": (b"POST /private/x HTTP/1.1\r\n" + HOST + b"Content-Length: 9999\r\n\r\n", b"x"),
    "a body": (POST + b"Content-Length: 9999\r\n\r\n", b"x"),
    "chunks": (POST + CHUNKED, b"1\r\nx\r\n"),
}


@pytest.fixture
def hasty(upstream: FakeUpstream, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with short timeouts towards clients and upstream, and whose stop waits for nobody."""
    gateway = Gateway(tmp_path, {"raw": upstream.port}, {"stop_timeout": "500ms"})
    for listener in gateway.configuration["listeners"][:2]:
        listener.update(SHORT)
    gateway.configuration["upstreams"]["raw"].update(first_byte_timeout="500ms", idle_timeout="500ms")
    gateway.write()
    with gateway:
        yield gateway


@pytest.mark.parametrize("case", DRIPS)
def test_R46_nobody_drips_for_ever(hasty: Gateway, case: str):
    beginning, piece = DRIPS[case]
    deadline = time.monotonic() + 3
    with hasty.connect() as peer:
        peer.sendall(beginning)
        peer.settimeout(0.1)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                try:
                    peer.sendall(piece)
                    if not peer.recv(4096):
                        return
                except ConnectionError:
                    return
    pytest.fail("still open after six times the timeout")


def hello(host: str) -> bytes:
    """The first flight of a TLS client."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("sent", ["nothing", "half a hello", "a hello", "a hello byte by byte"])
def test_R46_a_handshake_has_its_time(hasty: Gateway, sent: str):
    data = hello("raw.demo.localhost")
    first = {"nothing": b"", "half a hello": data[:50], "a hello": data, "a hello byte by byte": b""}[sent]
    deadline = time.monotonic() + 3
    with connect(hasty.https_port) as peer, contextlib.suppress(ConnectionError):
        peer.sendall(first)
        peer.settimeout(0.05)
        while time.monotonic() < deadline:
            if sent == "a hello byte by byte":
                peer.sendall(data[:1])
                data = data[1:]
            with contextlib.suppress(TimeoutError):
                if not peer.recv(4096):
                    break
        else:
            pytest.fail("still open after six times the timeout")
    wait_until(lambda: hasty.metrics()["tls_handshake_failures_total"] >= 1, "the handshake is given up")


@pytest.mark.parametrize("plain", [True, False], ids=["http", "https"])
@pytest.mark.parametrize("exchanges", [0, 1, 3])
def test_R46_an_idle_connection_is_closed(hasty: Gateway, plain: bool, exchanges: int):
    """Before the first request it is the head that has not come; behind an answer it is idleness."""
    with hasty.connect(plain=plain) as peer:
        for _ in range(exchanges):
            peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n")
            assert read_response(peer).status == 200
        began = time.monotonic()
        received, closed = read_all(peer, 3)
        assert closed
        assert received == b"" or responses(received)[0].status == 408
        assert 0.3 < time.monotonic() - began < 2.5


@pytest.mark.parametrize("bytes_read", [0, 10])
def test_R46_a_client_that_does_not_read_gives_its_upstream_connection_back(
    hasty: Gateway, upstream: FakeUpstream, bytes_read: int
):
    def script(connection: UpstreamConnection) -> None:
        if connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
            for _ in range(1000):
                connection.send(b"x" * 100_000)
            sent_all.append(True)

    sent_all: list[bool] = []
    upstream.script = script
    with hasty.connect() as peer:
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n")
        peer.recv(1 + bytes_read)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline and hasty.metrics()["connections_open"] > 0:
            time.sleep(0.1)
        assert hasty.metrics()["connections_open"] == 0
    assert not sent_all
    upstream.script = answer_always()
    assert b" 200 OK" in hasty.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")[0]


def ticking(head: bytes):
    """An endpoint that answers with `head` and then says something ten times a second."""

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(head)
        tick(connection)

    return script


def tick(connection: UpstreamConnection) -> None:
    while True:
        connection.send(b"4\r\ntick\r\n")
        time.sleep(0.1)


STREAMS = {
    "a WebSocket": (SWITCHED, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    "an event stream": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"Accept: text/event-stream\r\n",
    ),
}


@pytest.mark.parametrize("age", [0, 0.5, 1.5])
@pytest.mark.parametrize("kind", STREAMS)
def test_R64_a_stream_ends_within_a_second_of_its_session(upstream: FakeUpstream, start_gateway, kind: str, age: float):
    head, fields = STREAMS[kind]
    upstream.script = ticking(head)
    own = start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"})
    client = own.sign_in("user@example.com")
    cookie = f"Cookie: {COOKIE}={client.cookies[COOKIE]}\r\n\r\n".encode()
    with own.connect() as peer:
        peer.sendall(b"GET /private/x HTTP/1.1\r\n" + HOST + fields + cookie)
        peer.settimeout(5)
        assert peer.recv(4096).split(b"\r\n")[0].split()[1] == head.split()[1]
        began = time.monotonic()
        while time.monotonic() - began < age:  # It goes on while the session lives.
            assert peer.recv(4096)
        assert client.post(own.url("iam", "/api/auth/logout")).status_code == 200
        deadline = time.monotonic() + 1
        with contextlib.suppress(ConnectionError):
            while peer.recv(4096):
                assert time.monotonic() < deadline, f"{kind} is alive a second after sign-out"


def drip(send, is_answered, bytes_per_second: int, seconds: float) -> bool:
    """Sends twenty times a second for so long; whether it was answered meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if is_answered():
            return True
        with contextlib.suppress(ConnectionError):
            send(b"x" * (bytes_per_second // 20))
        time.sleep(0.05)
    return False


@pytest.fixture
def steady(upstream: FakeUpstream, start_gateway) -> Gateway:
    """Bodies have to bring ten kilobytes a second, looked at each second."""
    gateway = start_gateway({"raw": upstream.port}, {"stop_timeout": "500ms"}, is_started=False)
    for listener in gateway.configuration["listeners"][:2]:
        listener.update(body_timeout="1s", body_rate_min="10KB")
    gateway.write()
    return gateway.start()


@pytest.mark.parametrize(("rate", "is_refused"), [(4_000, True), (40_000, False)])
@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_R46_a_body_has_its_rate(steady: Gateway, upstream: FakeUpstream, protocol: str, rate: int, is_refused: bool):
    """4 KB a second are far from silent."""
    if protocol == "HTTP/2":
        with steady.http2() as connection:
            stream = connection.request("/public/x", method="POST", ends=False)

            def is_answered() -> bool:
                connection.ping()
                return connection.streams[stream].status is not None

            assert drip(lambda data: connection.data(stream, data, ends=False), is_answered, rate, 3) == is_refused
            if not is_refused:
                connection.data(stream, b"", ends=True)
            assert connection.answer(stream).status == (408 if is_refused else 200)
        return
    with steady.connect() as peer:
        peer.sendall(POST + CHUNKED)

        def is_answered() -> bool:
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                return bool(peer.recv(1, socket.MSG_PEEK))
            peer.settimeout(5)
            return False

        def send(data: bytes) -> None:
            peer.sendall(b"%x\r\n%s\r\n" % (len(data), data))

        assert drip(send, is_answered, rate, 3) == is_refused
        peer.settimeout(5)
        if not is_refused:
            peer.sendall(b"0\r\n\r\n")
        assert read_response(peer).status == (408 if is_refused else 200)


PLAIN_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("where", ["listener", "route"])
@pytest.mark.parametrize("kind", [*STREAMS, "a download"])
def test_R46_a_request_has_its_time(upstream: FakeUpstream, start_gateway, kind: str, where: str):
    """The listener's time is not for what is meant to last; the route's is for everything."""
    head, fields = STREAMS.get(kind, (PLAIN_STREAM, b""))
    upstream.script = ticking(head)
    own = timed(start_gateway, upstream, where)
    lasts = kind in STREAMS and where == "listener"
    with own.connect() as peer:
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        peer.settimeout(5)
        assert peer.recv(4096).split(b"\r\n")[0].split()[1] == head.split()[1]
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + 3 and peer.recv(4096):
                pass
        assert (time.monotonic() - began >= 3) == lasts, kind
    if not lasts:
        wait_until(lambda: '"error_step":"request.timeout"' in own.log(), "the log says so")


def timed(start_gateway, upstream: FakeUpstream, where: str) -> Gateway:
    gateway = start_gateway({"raw": upstream.port}, {"stop_timeout": "500ms"}, is_started=False)
    key = f"{where}s"
    # The routes are those of every test: not to be changed where they are.
    gateway.configuration[key] = [{**place, "request_timeout": "1s"} for place in gateway.configuration[key]]
    gateway.write()
    return gateway.start()


def test_R46_a_request_has_its_time_over_http2(upstream: FakeUpstream, start_gateway):
    def script(connection: UpstreamConnection) -> None:
        head = connection.read_head()
        if b"/public/silent" in head:
            connection.read_some()
        elif b"/public/download" in head:
            connection.send(PLAIN_STREAM)
            tick(connection)
        else:
            connection.send(OK)

    upstream.script = script
    own = timed(start_gateway, upstream, "listener")
    with own.http2() as connection:
        assert connection.get("/public/silent").status == 504
        download = connection.request("/public/download")
        connection.until(lambda: connection.streams[download].is_over, "the download is cut")
        assert connection.streams[download].status == 200 and connection.streams[download].reset_code is not None
        assert connection.get("/public/quick").status == 200, "the connection goes on"


def test_one_slow_client_does_not_hold_up_its_worker(start_gateway, upstream: FakeUpstream):
    """40 clients of the only worker do not read their long answers; the next one is served at once."""

    def script(connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            if request.target != "/public/long":
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
            for _ in range(500):
                connection.send(b"x" * 100_000)

    upstream.script = script
    own = start_gateway({"raw": upstream.port}, {"workers": 1, "stop_timeout": "1s"})
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            peer = stack.enter_context(own.connect())
            peer.sendall(b"GET /public/long HTTP/1.1\r\n" + HOST + b"\r\n")
        with own.connect() as other:
            for _ in range(20):
                began = time.monotonic()
                other.sendall(b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n")
                assert read_response(other).body == b"ok"
                assert time.monotonic() - began < 1
