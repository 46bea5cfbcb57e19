"""A peer's last bytes and its end arrive in one piece: both are noticed, whichever side it was (RFC 9112, 9.5)."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateway import Gateway
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.wire import read_all, read_response, responses

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
