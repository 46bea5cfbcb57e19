"""An upstream that dies at each point of an exchange, sends garbage, or never answers."""

import socket
import time
from collections.abc import Callable

import psutil
import pytest
from support.gateway import Gateway, route
from support.processes import free_port, wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import Incomplete, Malformed, Message, read_all, responses

HEAD = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
LARGE_BYTES = 64 * 1024 * 1024


def ask(gateway: Gateway, method: bytes = b"GET", fields: bytes = b"", body: bytes = b"", timeout: float = 15):
    received, closed = gateway.raw(method + b" /public/x HTTP/1.1\r\n" + HEAD + fields + CLOSE + body, timeout=timeout)
    assert closed, "the gateway neither answers nor closes"
    return received


def status_of(received: bytes, method: str = "GET") -> int:
    return responses(received, method)[0].status


def close_at_once(connection: UpstreamConnection) -> None:
    pass


def reset_at_once(connection: UpstreamConnection) -> None:
    connection.reset()


def close_after_head(connection: UpstreamConnection) -> None:
    connection.read_head()


def reset_after_head(connection: UpstreamConnection) -> None:
    connection.read_head()
    connection.reset()


def sends(data: bytes) -> Callable[[UpstreamConnection], None]:
    """Reads the head of the request, sends these bytes and closes."""

    def script(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(data)

    return script


#: Nothing that the client could take for an answer has come: 502.
NO_ANSWER = {
    "closes at once": close_at_once,
    "resets at once": reset_at_once,
    "closes after the request": close_after_head,
    "resets after the request": reset_after_head,
    "half a status line": sends(b"HTTP/1.1 20"),
    "half a head": sends(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a head that does not end": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
    "garbage": sends(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(200)),
    "text": sends(b"hello\r\n\r\n"),
    "a version that is not ours": sends(b"HTTP/2 200 OK\r\n\r\n"),
    "a status that is none": sends(b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status below 100": sends(b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
    "two lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    "a length and a transfer coding": sends(
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a length that is none": sends(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
    "a coding we do not know": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "a folded field": sends(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
    "a bare LF": sends(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "NUL in a field": sends(b"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n"),
    "a space before a colon": sends(b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"),
    "a head beyond its cap": sends(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 200_000 + b"\r\n\r\n"),
    "a switch of protocols that nobody asked for": sends(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
}


@pytest.mark.parametrize("case", NO_ANSWER)
def test_an_upstream_without_an_answer_is_502(gateway: Gateway, raw_upstream: FakeUpstream, start_gateway, case: str):
    with FakeUpstream(NO_ANSWER[case]) as broken:
        own = start_gateway({"raw": broken.port})
        received = ask(own)
        assert status_of(received) == 502, received[:200]
        answer = responses(received)[0]
        assert str(broken.port).encode() not in answer.body, "what is behind is nobody's business"
        # Whatever it was, the next exchange starts afresh.
        broken.script = lambda connection: (connection.read_request(), connection.send(OK))
        assert status_of(ask(own)) == 200


#: The status has been passed on already: the end must show that the body is not whole.
BROKEN_BODIES = {
    "shorter than its length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "chunks that do not end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n\r\n",
    "trailers that do not end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_a_body_that_breaks_off_never_looks_whole(start_gateway, case: str):
    with FakeUpstream(sends(BROKEN_BODIES[case])) as broken:
        own = start_gateway({"raw": broken.port})
        received = ask(own)
        if received.startswith(b"HTTP/1.1 502 "):
            assert status_of(received) == 502
            return
        assert received.startswith(b"HTTP/1.1 200 OK\r\n"), received[:300]
        with pytest.raises((Incomplete, Malformed)):
            responses(received)


def test_a_body_without_a_length_lasts_until_the_close(start_gateway):
    with FakeUpstream(sends(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)) as old:
        answer = responses(ask(start_gateway({"raw": old.port})))[0]
        assert (answer.status, answer.body) == (200, b"x" * 100_000)


def test_interim_answers_are_passed_on_or_dropped_but_never_final(start_gateway):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    with FakeUpstream(sends(early + OK)) as upstream:
        answers = responses(ask(start_gateway({"raw": upstream.port})))
        assert answers[-1].status == 200
        assert all(answer.status in (100, 103) for answer in answers[:-1])


def test_bytes_after_an_answer_are_never_somebody_elses(start_gateway):
    """An answer too many must not be given to whoever uses the connection next."""
    poison = OK.replace(b"ok", b"no")
    script_calls = []

    def answer_twice(connection: UpstreamConnection) -> None:
        while connection.read_request():
            script_calls.append(1)
            connection.send(OK + poison)

    with FakeUpstream(answer_twice) as upstream:
        own = start_gateway({"raw": upstream.port}, {"workers": 1})
        for _ in range(10):
            assert responses(ask(own))[0].body == b"ok"


def test_nobody_listens_is_502(start_gateway):
    own = start_gateway({"raw": free_port()})
    assert status_of(ask(own)) == 502


def test_a_dead_endpoint_is_passed_over(start_gateway, upstream: FakeUpstream):
    endpoints = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{upstream.port}"]
    own = start_gateway({"raw": upstream.port}, {"upstreams": {"raw": {"endpoints": endpoints}}})
    assert [status_of(ask(own)) for _ in range(8)] == [200] * 8
    assert [status_of(ask(own, b"POST", b"Content-Length: 2\r\n", b"ab"), "POST") for _ in range(4)] == [200] * 4
    assert len(upstream.requests) == 12


def test_endpoints_take_turns(start_gateway):
    with FakeUpstream() as one, FakeUpstream() as two:
        endpoints = [f"127.0.0.1:{one.port}", f"127.0.0.1:{two.port}"]
        changes = {"upstreams": {"raw": {"endpoints": endpoints}}, "workers": 1}
        own = start_gateway({"raw": one.port}, changes)
        for _ in range(10):
            assert status_of(ask(own)) == 200
        assert abs(len(one.requests) - len(two.requests)) <= 2


def test_an_answer_that_never_comes_is_504(start_gateway, upstream: FakeUpstream):
    upstream.script = lambda connection: (connection.read_request(), connection.peer.recv(1))
    settings = {"endpoints": [f"127.0.0.1:{upstream.port}"], "first_byte_timeout": "500ms"}
    own = start_gateway({"raw": upstream.port}, {"upstreams": {"raw": settings}})
    started = time.monotonic()
    assert status_of(ask(own)) == 504
    assert 0.4 < time.monotonic() - started < 5


def test_a_body_that_stops_coming_ends_the_connection(start_gateway, upstream: FakeUpstream):
    def stall(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        connection.peer.recv(1)

    upstream.script = stall
    settings = {"endpoints": [f"127.0.0.1:{upstream.port}"], "idle_timeout": "500ms"}
    own = start_gateway({"raw": upstream.port}, {"upstreams": {"raw": settings}})
    assert ask(own).endswith(b"hello")


def dies_when_reused(connection: UpstreamConnection) -> None:
    """Answers once; on an older connection the next request is met with a close."""
    connection.read_request()
    connection.send(OK)
    if connection.number == 0:
        connection.read_request()
        return
    while connection.read_request():
        connection.send(OK)


def test_a_reused_connection_that_dies_is_tried_once_more_for_get(start_gateway, upstream: FakeUpstream):
    upstream.script = dies_when_reused
    own = start_gateway({"raw": upstream.port}, {"workers": 1})
    assert [status_of(ask(own)) for _ in range(3)] == [200] * 3
    assert len(upstream.connections) == 2


def test_a_post_is_never_sent_twice(start_gateway, upstream: FakeUpstream):
    upstream.script = dies_when_reused
    own = start_gateway({"raw": upstream.port}, {"workers": 1})
    post = (b"POST", b"Content-Length: 2\r\n", b"ab")
    assert [status_of(ask(own, *post), "POST") for _ in range(3)] == [200, 502, 200]
    assert len(upstream.requests) == 3


def test_a_fresh_connection_that_dies_is_not_tried_again(start_gateway):
    with FakeUpstream(close_after_head) as broken:
        own = start_gateway({"raw": broken.port})
        assert status_of(ask(own)) == 502
        assert len(broken.connections) == 1


def test_an_early_answer_to_a_large_upload_arrives(start_gateway, upstream: FakeUpstream):
    def refuse_early(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    upstream.script = refuse_early
    own = start_gateway({"raw": upstream.port})
    received = ask(own, b"POST", b"Content-Length: 50000000\r\n", b"x" * 10_000_000)
    assert status_of(received, "POST") == 413


def memory_bytes(gateway: Gateway) -> int:
    return psutil.Process(gateway.program.pid).memory_info().rss


def test_a_large_download_to_a_slow_client_stays_in_bounded_memory(start_gateway, upstream: FakeUpstream):
    def pour(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
        for _ in range(LARGE_BYTES // 65536):
            connection.send(bytes(65536))

    upstream.script = pour
    own = start_gateway({"raw": upstream.port})
    before = memory_bytes(own)
    with own.connect() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE)
        received = 0
        while block := peer.recv(65536):
            received += len(block)
            if received < 100 * 65536:
                time.sleep(0.002)  # A client that is slower than the upstream; nothing is awaited here.
    assert received > LARGE_BYTES
    assert memory_bytes(own) - before < 16 * 1024 * 1024


def test_a_large_upload_to_a_slow_upstream_stays_in_bounded_memory(start_gateway, upstream: FakeUpstream):
    taken = []

    def sip(connection: UpstreamConnection) -> None:
        taken.append(len(connection.read_head().partition(b"\r\n\r\n")[2]))
        while sum(taken) < LARGE_BYTES:
            taken.append(len(connection.peer.recv(65536)))
            if len(taken) < 100:
                time.sleep(0.002)
        connection.send(OK)

    upstream.script = sip
    own = start_gateway({"raw": upstream.port})
    before = memory_bytes(own)
    with own.connect() as peer:
        peer.sendall(b"POST /public/x HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n" % LARGE_BYTES + CLOSE)
        for _ in range(LARGE_BYTES // 65536):
            peer.sendall(bytes(65536))
        received, _ = read_all(peer)
    assert status_of(received, "POST") == 200
    assert memory_bytes(own) - before < 16 * 1024 * 1024


def test_clients_that_vanish_leave_nothing_behind(start_gateway, upstream: FakeUpstream):
    def answer_slowly(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.send(bytes(1000))

    upstream.script = answer_slowly
    own = start_gateway({"raw": upstream.port})
    process = psutil.Process(own.program.pid)
    descriptors = process.num_fds()
    for _ in range(50):
        with own.connect() as peer:
            peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
            peer.recv(10)
    wait_until(lambda: process.num_fds() <= descriptors + 2, "the descriptors are given back")


def test_a_body_over_the_routes_cap_is_413(start_gateway, upstream: FakeUpstream):
    routes = [route("raw", "/public/**", public=True, body_bytes_max="1KiB")]
    own = start_gateway({"raw": upstream.port}, {"routes": routes})

    def post(size: int) -> Message:
        return responses(ask(own, b"POST", b"Content-Length: %d\r\n" % size, bytes(size)), "POST")[0]

    def post_chunked(size: int) -> Message:
        chunks = b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
        return responses(ask(own, b"POST", b"Transfer-Encoding: chunked\r\n", chunks), "POST")[0]

    assert [post(1024).status, post_chunked(1024).status] == [200, 200]
    assert [post(1025).status, post_chunked(1025).status] == [413, 413]
    assert len(upstream.requests) == 2
