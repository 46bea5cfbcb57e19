"""Each answer belongs to one request: what the upstream sends unasked, or a client leaves behind, is nobody's."""

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.gateway import Gateway
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import read_all, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"
POST = b"POST /public/x HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"
SMUGGLED = b"GET /public/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


@pytest.mark.parametrize("client_first", [False, True])
def test_an_answer_nobody_asked_for_is_nobodys(start_gateway, upstream: FakeUpstream, client_first: bool):
    """It lies in the idle connection's buffer before the next request is read, whichever came first."""
    speak, spoken = threading.Event(), threading.Event()

    def script(connection: UpstreamConnection) -> None:
        if not connection.read_request():
            return
        connection.send(OK)
        if connection.number == 0:
            assert speak.wait(10)
            connection.send(answer(b"poison"))
            spoken.set()
        while connection.read_request():
            connection.send(OK)

    upstream.script = script
    gateway = start_gateway({"raw": upstream.port}, {"workers": 1})
    with gateway.connect() as peer:
        peer.sendall(POST)
        assert read_response(peer).body == b"ok"
        gateway.program.signal(signal.SIGSTOP)
        while b") T " not in Path(f"/proc/{gateway.program.pid}/stat").read_bytes():
            os.sched_yield()
        if client_first:
            peer.sendall(POST)
        speak.set()
        assert spoken.wait(10)
        if not client_first:
            peer.sendall(POST)
        gateway.program.signal(signal.SIGCONT)
        assert read_response(peer).body != b"poison"


def test_who_goes_away_leaves_no_answer_to_others(start_gateway, upstream: FakeUpstream):
    def script(connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            time.sleep(0.05)
            connection.send(answer(request.target.encode()))

    upstream.script = script
    gateway = start_gateway({"raw": upstream.port})
    for number in range(20):
        with gateway.connect() as peer:
            peer.sendall(b"GET /public/gone%d HTTP/1.1\r\n" % number + HOST + b"\r\n")
            time.sleep(0.005 * (number % 4))
            if number % 2:
                reset(peer)
        target = f"/public/mine{number}".encode()
        received, _ = gateway.raw(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert responses(received)[0].body == target


def test_a_body_cut_off_never_becomes_a_request(gateway: Gateway, raw_upstream: FakeUpstream):
    head = b"POST /public/cut HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n"
    for number in range(20):
        peer = gateway.connect()
        peer.sendall(head + SMUGGLED)
        time.sleep(0.005 * (number % 3))
        reset(peer) if number % 2 else peer.close()
        gateway.raw(b"GET /public/next HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert {request.target for request in raw_upstream.requests} == {"/public/next"}
    assert not raw_upstream.errors


@pytest.mark.parametrize("path", [b"/private/x", b"/admin/x", b"/nothing"])
@pytest.mark.parametrize("framing", ["length", "chunks", "expectation"])
@pytest.mark.parametrize("delay", [0, 0.1])
def test_the_body_of_a_refused_request_is_never_a_request(
    gateway: Gateway, raw_upstream: FakeUpstream, path: bytes, framing: str, delay: float
):
    fields = b"Content-Length: %d\r\n" % len(SMUGGLED)
    body = SMUGGLED
    if framing == "chunks":
        fields = b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"
    elif framing == "expectation":
        fields += b"Expect: 100-continue\r\n"
    with gateway.connect() as peer:
        peer.sendall(b"POST " + path + b" HTTP/1.1\r\n" + HOST + fields + b"\r\n")
        time.sleep(delay)
        with contextlib.suppress(OSError):
            peer.sendall(body)
        received, closed = read_all(peer, 3)
        if not closed:
            # The body came together with the head and was skipped whole: the next request is the client's own.
            peer.sendall(b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            next_received, closed = read_all(peer)
            assert [answer.status for answer in responses(next_received)] == [404]
    assert closed
    assert [answer.status in (401, 404) for answer in responses(received)] == [True]
    assert b"smuggled" not in raw_upstream.everything_received()


@pytest.mark.parametrize("size", [100, 200_000])
def test_what_follows_an_early_answer_is_no_request_of_its_own(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, size: int
):
    """The upstream answers before it has the body and keeps the connection: it must not be used again."""

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(OK)
        while block := connection.peer.recv(65536):
            if b"HTTP/1.1" in block:
                connection.send(answer(b"second"))

    upstream.script = script
    gateway = start_gateway({"raw": upstream.port})
    with gateway.connect() as peer:
        peer.sendall(b"POST /public/x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\nxxxxx" % size)
        assert read_response(peer).body == b"ok"
        with contextlib.suppress(OSError):
            peer.sendall((SMUGGLED * size)[: size - 5] + POST)
        received, _ = read_all(peer, 1)
    assert b"second" not in received
    received, _ = gateway.raw(POST, timeout=1)
    assert responses(received)[0].body == b"ok"
