"""A peer's last bytes and its end arrive in one piece: both are noticed, whichever side it was (RFC 9112, 9.5)."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import http2
from support.clients import VERSIONS, client_of
from support.gateway import Gateway
from support.processes import wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.wire import connect, read_all, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /public/x HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody"
UPGRADE = b"GET /public/x HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#: Far below each timeout that would end the wait in its own good time.
SOON = 2


@contextlib.contextmanager
def held_up(gateway: Gateway) -> Iterator[None]:
    """What is sent to the gateway meanwhile comes to it all at once."""
    gateway.program.signal(signal.SIGSTOP)
    try:
        # A stopped process is shown as T; until then it may still read.
        while b") T " not in Path(f"/proc/{gateway.program.pid}/stat").read_bytes():
            os.sched_yield()
        yield
    finally:
        gateway.program.signal(signal.SIGCONT)


def and_ends(peer: socket.socket, data: bytes) -> None:
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


@pytest.fixture
def pair(upstream: FakeUpstream, start_gateway: Callable[..., Gateway]) -> tuple[Gateway, FakeUpstream]:
    return start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"}), upstream


def answers_and_ends(gateway: Gateway, data: bytes) -> Callable[[UpstreamConnection], None]:
    def script(connection: UpstreamConnection) -> None:
        if connection.read_request():
            with held_up(gateway):
                and_ends(connection.peer, data)
            connection.peer.recv(1)

    return script


def test_a_body_that_lasts_until_the_close_ends_with_it(pair):
    gateway, upstream = pair
    upstream.script = answers_and_ends(gateway, b"HTTP/1.1 200 OK\r\n\r\nhello")
    with gateway.connect() as peer:
        peer.sendall(GET)
        assert read_response(peer, timeout=SOON).body == b"hello"


@pytest.mark.parametrize("length", [0, 1, 9, 15, 17, 36, 38, 39])
def test_an_answer_cut_off_anywhere_ends_the_exchange(pair, length: int):
    gateway, upstream = pair
    upstream.script = answers_and_ends(gateway, OK[:length])
    with gateway.connect() as peer:
        peer.sendall(POST)
        received, closed = read_all(peer, SOON)
    assert closed or responses(received)[0].status == 502


def test_a_connection_that_has_ended_is_not_kept_for_the_next_exchange(pair):
    gateway, upstream = pair
    upstream.script = answers_and_ends(gateway, OK)
    with gateway.connect() as peer:
        for _ in range(4):
            peer.sendall(POST)
            assert read_response(peer, timeout=SOON).status == 200


@pytest.mark.parametrize("data", [GET[:9], GET[:-2], POST[:-4], POST[:-1]])
def test_half_a_request_and_the_end_close_the_connection(pair, data: bytes):
    gateway, upstream = pair
    with gateway.connect() as peer:
        time.sleep(0.05)  # Accepted before it is held up; either order must do.
        with held_up(gateway):
            and_ends(peer, data)
        received, closed = read_all(peer, SOON)
    assert closed
    assert b" 200 " not in received
    assert not upstream.requests


@pytest.mark.parametrize("data", [GET, POST, GET + POST + GET])
def test_whole_requests_and_the_end_are_answered_and_closed(pair, data: bytes):
    gateway, upstream = pair
    with gateway.connect() as peer:
        with held_up(gateway):
            and_ends(peer, data)
        received, closed = read_all(peer, SOON)
    assert [answer.status for answer in responses(received)] == [200] * data.count(b"HTTP/1.1")
    assert closed


# Half-closed: one direction has ended, the other goes on


@pytest.fixture(scope="module")
def _lone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    with FakeUpstream() as upstream:
        gateway = Gateway(tmp_path_factory.mktemp("lone"), {"raw": upstream.port}, {"stop_timeout": "1s"})
        gateway.configuration["upstreams"]["raw"]["keep_alive"] = {"timeout": "0s"}
        gateway.write()
        with gateway:
            yield gateway, upstream


@pytest.fixture
def lone(_lone: tuple[Gateway, FakeUpstream]) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """One gateway for many tests: each exchange has a connection to the upstream, and its script, for itself."""
    _lone[1].forget()
    yield _lone
    assert _lone[0].program.is_running
    assert not _lone[1].errors


class HalfClosing:
    """A client of TLS that can end its own direction alone, by close_notify or by FIN without one."""

    def __init__(self, gateway: Gateway, protocol: str):
        tls = ssl.create_default_context(cafile=str(gateway.certificates / "ca.pem"))
        tls.set_alpn_protocols([protocol])
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = tls.wrap_bio(self._incoming, self._outgoing, server_hostname="raw.demo.localhost")
        self.peer = connect(gateway.https_port)
        self._do(self._session.do_handshake)
        assert self._session.selected_alpn_protocol() == protocol
        #: Whether the other side has said by close_notify that it is done.
        self.was_told = False

    def sendall(self, data: bytes) -> None:
        self._do(lambda: self._session.write(data))

    def recv(self, count: int) -> bytes:
        try:
            data = self._do(lambda: self._session.read(count))
        except ssl.SSLEOFError:
            return b""
        except ssl.SSLZeroReturnError:  # What it says where both have said so.
            data = b""
        self.was_told = not data
        return data

    def settimeout(self, seconds: float) -> None:
        self.peer.settimeout(seconds)

    def end(self, notifies: bool) -> None:
        if notifies:
            # It wants the other side's in return; ours is what is sent.
            with contextlib.suppress(ssl.SSLError):
                self._session.unwrap()
            self._flush()
        else:
            self.peer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.peer.close()

    def _do(self, step: Callable):
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                if data := self.peer.recv(65_536):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        # Behind its own FIN a client has no way to say what it thinks of an end without a farewell.
        with contextlib.suppress(BrokenPipeError):
            if data := self._outgoing.read():
                self.peer.sendall(data)


def held(released: threading.Event) -> Callable[[UpstreamConnection], None]:
    """Answers once the test says so."""

    def script(connection: UpstreamConnection) -> None:
        while connection.read_request():
            released.wait(20)
            connection.send(OK)

    return script


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "FIN alone"])
@pytest.mark.parametrize("data", [GET, POST], ids=["GET", "POST"])
def test_a_client_of_tls_that_ends_its_direction_gets_its_answer(lone, data: bytes, notifies: bool):
    gateway, upstream = lone
    released = threading.Event()
    upstream.script = held(released)
    with contextlib.closing(HalfClosing(gateway, "http/1.1")) as client:
        client.sendall(data)
        client.end(notifies)
        upstream.wait_for_requests(1)
        released.set()
        assert read_response(client).body == b"ok"
        assert client.recv(10) == b"" and client.was_told, "and then the connection ends"


@pytest.mark.parametrize("notifies", [True, False], ids=["close_notify", "FIN alone"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole requests", "half a request"])
def test_a_client_of_http2_that_ends_its_direction_ends_its_connection(lone, whole: bool, notifies: bool):
    """It could give no window and acknowledge nothing any more: its streams are given up, none is left."""
    gateway, upstream = lone
    ended = threading.Semaphore(0)

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        # Until the gateway closes.
        while connection.peer.recv(1000):
            pass
        ended.release()

    upstream.script = script
    with contextlib.closing(HalfClosing(gateway, "h2")) as client:
        connection = http2.Connection(client)
        connection.ping()
        streams = [connection.request(f"/public/{number}", method="POST", ends=whole) for number in range(3)]
        wait_until(lambda: len(upstream.connections) == 3, "all are under way")
        client.end(notifies)
        connection.until_closed()
        assert [connection.streams[stream].status for stream in streams] == [None] * 3
        assert not client.was_told, "nothing says that this was all"
    for _ in range(len(upstream.connections)):
        assert ended.acquire(timeout=20), "an exchange goes on for nobody"
    wait_until(lambda: gateway.metrics()["connections_open"] == 0, "the connection is closed")


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("who", ["the client", "idle_timeout", "a stop"])
def test_a_connection_of_tls_that_nobody_uses_ends_with_close_notify(start_gateway, lone, protocol: str, who: str):
    gateway = start_gateway({"raw": lone[1].port}, {"stop_timeout": "5s"}, is_started=False)
    gateway.configuration["listeners"][0]["idle_timeout"] = "300ms" if who == "idle_timeout" else "60s"
    gateway.write()
    gateway.start()
    with contextlib.closing(HalfClosing(gateway, protocol)) as client:
        connection = http2.Connection(client) if protocol == "h2" else None
        if connection:
            assert connection.get("/nothing").status == 404
        else:
            client.sendall(b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n")
            assert read_response(client).status == 404
        if who == "the client":
            client.end(notifies=True)
        elif who == "a stop":
            gateway.program.signal(signal.SIGTERM)
        if connection:
            connection.until_closed()
        else:
            assert client.recv(10) == b""
        assert client.was_told


# Both talk: what ends the connection is read by who goes on sending


PIECE = bytes(100_000)


@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("status", [400, 404, 431])
def test_a_refusal_is_read_by_a_client_that_first_sends_all_it_has(lone, status: int, is_secure: bool):
    gateway, _ = lone
    openings = {
        400: b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n",
        404: b"Content-Length: 100000000000\r\n\r\n",
        431: b"X: " + b"x" * 20_000,
    }
    with gateway.connect(plain=not is_secure) as peer:
        peer.sendall(b"POST /nothing HTTP/1.1\r\n" + HOST + openings[status])
        for _ in range(30):
            time.sleep(0.01)  # The answer, and the end behind it, are there long before the last piece.
            peer.sendall(PIECE)
        received, closed = read_all(peer)
    assert [answer.status for answer in responses(received)] == [status]
    assert closed


def test_a_goaway_is_read_by_a_client_that_first_sends_all_it_has(lone):
    gateway, _ = lone
    with gateway.http2() as connection:
        connection.ping()
        connection.send(http2.window_update(0, 0))
        for _ in range(30):
            time.sleep(0.01)
            connection.socket.sendall(PIECE)
        connection.until_closed()
        assert connection.goaway == http2.PROTOCOL_ERROR


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nok", OK], ids=["until the end", "with a length"])
def test_an_upstream_that_ends_its_direction_behind_its_answer(pair, version: str, answer: bytes):
    """The answer is whole, and the connection is not used again."""
    gateway, upstream = pair

    def script(connection: UpstreamConnection) -> None:
        if connection.read_request():
            and_ends(connection.peer, answer)
            connection.peer.recv(1)

    upstream.script = script
    with client_of(version, gateway) as client:
        for _ in range(3):
            got = client.ask("/public/x", method="POST", body=b"body")
            assert (got.status, got.body) == (200, b"ok")
            # The end may come a moment behind the answer: too late for a request that is under way by then.
            wait_until(lambda: gateway.metrics()["upstream_connections_idle"] == 0, "the connection is closed")
    assert len(upstream.connections) == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upstream_that_ends_its_direction_before_its_answer_is_502(lone, version: str):
    """Its other direction is still open, and will never bring an answer."""
    gateway, upstream = lone

    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.peer.shutdown(socket.SHUT_WR)
        connection.peer.recv(1)

    upstream.script = script
    with client_of(version, gateway) as client:
        assert client.ask("/public/x", method="POST", body=b"body").status == 502


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upstream_that_answers_and_ends_its_direction_within_an_upload(lone, version: str):
    """An early answer is passed on, although the upload cannot come to its end."""
    gateway, upstream = lone

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        and_ends(connection.peer, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        while connection.peer.recv(65_536):
            pass

    upstream.script = script
    with client_of(version, gateway) as client:
        got = client.ask("/public/x", method="POST", body=bytes(300_000))
        assert (got.status, got.body) == (403, b"no")


def test_the_last_bytes_and_the_end_of_a_tunnel_pass_from_the_upstream(pair):
    gateway, upstream = pair
    opened = threading.Event()

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(SWITCHED)
        assert opened.wait(10)
        with held_up(gateway):
            and_ends(connection.peer, b"bye")
        connection.peer.recv(1)

    upstream.script = script
    with gateway.connect() as peer:
        peer.sendall(UPGRADE)
        assert read_response(peer).status == 101
        opened.set()
        assert read_all(peer, SOON) == (b"bye", True)


def test_the_last_bytes_and_the_end_of_a_tunnel_pass_to_the_upstream(pair):
    gateway, upstream = pair
    received: list[bytes] = []
    ended = threading.Event()

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(SWITCHED)
        while block := connection.peer.recv(100):
            received.append(block)
        ended.set()

    upstream.script = script
    with gateway.connect() as peer:
        peer.sendall(UPGRADE)
        assert read_response(peer).status == 101
        with held_up(gateway):
            and_ends(peer, b"bye")
        assert ended.wait(SOON), "the upstream is not told of the end"
    assert b"".join(received) == b"bye"


def test_it_serves_on_after_all_that(pair):
    gateway, upstream = pair
    upstream.script = answer_always()
    with gateway.connect() as peer:
        peer.sendall(GET)
        assert read_response(peer).status == 200
