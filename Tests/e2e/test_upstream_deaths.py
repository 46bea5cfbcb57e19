"""An upstream that ends at each byte of its answer, many times over: no half answer looks whole, and nothing stays."""

from collections.abc import Callable, Iterator

import pytest
from support.gateway import Gateway
from support.resources import MIB, Resources
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.wire import Incomplete, responses

HOST = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
ANSWERS = {
    "by length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "behind an interim one": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK,
}


@pytest.fixture(scope="module")
def application() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def own(application: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that gives up soon, and keeps no connection to its upstream."""
    endpoint = {"endpoints": [f"127.0.0.1:{application.port}"], "keep_alive": {"timeout": "0s"}}
    endpoint.update(first_byte_timeout="300ms", idle_timeout="300ms")
    with Gateway(tmp_path_factory.mktemp("deaths"), {"raw": application.port}, {"upstreams": {"raw": endpoint}}) as own:
        yield own


def ask(gateway: Gateway) -> bytes:
    received, closed = gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HOST + CLOSE)
    assert closed
    return received


def final_status(received: bytes) -> int | None:
    """The status of the final answer; None where there is no whole one."""
    try:
        return [answer.status for answer in responses(received) if answer.status >= 200][-1]
    except (Incomplete, IndexError):
        return None


def sends(data: bytes, reset: bool) -> Callable[[UpstreamConnection], None]:
    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(data)
        if reset:
            connection.reset()

    return script


@pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_ends_anywhere_is_not_whole(own: Gateway, application: FakeUpstream, name: str, reset: bool):
    answer = ANSWERS[name]
    application.script = answer_always()
    assert final_status(ask(own)) == 200
    resources = Resources(own)
    for length in range(len(answer)):
        application.script = sends(answer[:length], reset)
        assert final_status(ask(own)) in (None, 502), answer[:length]
    application.script = sends(answer, reset=False)
    assert final_status(ask(own)) == 200, "the whole of it is"
    resources.wait_for_descriptors()
    assert resources.memory_growth < 4 * MIB


def babbles(beginning: bytes, more: bytes) -> Callable[[UpstreamConnection], None]:
    def script(connection: UpstreamConnection) -> None:
        connection.read_request()
        connection.send(beginning)
        while True:
            connection.send(more * 1000)

    return script


def test_interim_answers_without_end_are_given_up(own: Gateway, application: FakeUpstream):
    application.script = babbles(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    resources = Resources(own)
    received = ask(own)
    assert b" 200 " not in received
    assert responses(received[received.rindex(b"HTTP/1.1 ") :])[0].status == 504
    assert resources.memory_growth < 4 * MIB


def test_garbage_without_end_is_given_up(own: Gateway, application: FakeUpstream):
    application.script = answer_always()
    assert final_status(ask(own)) == 200
    resources = Resources(own)
    for beginning, more in (
        (b"", b"\0\xff"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x"),
        (b"HTTP/1.1 200 ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    ):
        application.script = babbles(beginning, more)
        assert final_status(ask(own)) in (None, 502), (beginning, more)
    resources.wait_for_descriptors()
    assert resources.memory_growth < 4 * MIB


def test_upstreams_that_never_answer_are_504_and_let_go(own: Gateway, application: FakeUpstream):
    application.script = answer_always()
    assert final_status(ask(own)) == 200
    resources = Resources(own)
    application.script = lambda connection: (connection.read_request(), connection.peer.recv(1))
    peers = [own.connect() for _ in range(200)]
    for peer in peers:
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HOST + CLOSE)
    for peer in peers:
        received = b""
        while block := peer.recv(65536):
            received += block
        assert final_status(received) == 504
        peer.close()
    resources.wait_for_descriptors()
    assert resources.memory_growth < 8 * MIB
