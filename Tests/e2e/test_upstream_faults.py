"""An upstream that dies at each point of an exchange, sends garbage, or never answers; over either version downstream.

Whatever it does, a client gets one lawful answer or a clean end, and nobody gets the answer of another.
"""

import concurrent.futures
import contextlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
from support import http2
from support.clients import VERSIONS, Answer, Client, client_of
from support.gateway import Gateway, route
from support.processes import free_port, wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.wire import Incomplete, read_all, responses, take_response

HEAD = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
LARGE_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def _forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """A gateway that keeps no connection to its upstream, so that each request meets the script of its test."""
    with FakeUpstream() as upstream:
        pool = {"raw": {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"connections_max": 0}}}
        with Gateway(tmp_path_factory.mktemp("faults"), {"raw": upstream.port}, {"upstreams": pool}) as gateway:
            yield gateway, upstream


@pytest.fixture
def broken(_forgetful: tuple[Gateway, FakeUpstream]) -> FakeUpstream:
    """The upstream behind `client`."""
    _forgetful[1].forget()
    return _forgetful[1]


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest, _forgetful: tuple[Gateway, FakeUpstream]) -> Iterator[Client]:
    gateway, _ = _forgetful
    with client_of(request.param, gateway) as client:
        yield client
    assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"


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
    "a switch to HTTP/2": sends(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "HTTP/2": sends(http2.PREFACE + http2.settings()),
    "two equal lengths in one field": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na"),
    "a length with a plus": sends(b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na"),
    "chunked twice": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked not last": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
    "a bare CR": sends(b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n"),
    "no name": sends(b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n"),
    "a status of four digits": sends(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
    "only interim answers": sends(b"HTTP/1.1 100 Continue\r\n\r\n" * 3),
    "too many fields": sends(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"Content-Length: 0\r\n\r\n"),
    "an empty line first": sends(b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a version in small letters": sends(b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "HTTP/0.9 by name": sends(b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a minor version of two digits": sends(b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "two blanks before the status": sends(b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a tab before the status": sends(b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status of two digits": sends(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status above 599": sends(b"HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n"),
    "NUL in the reason": sends(b"HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n"),
    "a blank before the first field": sends(b"HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 0\r\n\r\n"),
    "no colon": sends(b"HTTP/1.1 200 OK\r\nA\r\nContent-Length: 0\r\n\r\n"),
    "a pseudo field": sends(b"HTTP/1.1 200 OK\r\n:status: 500\r\nContent-Length: 0\r\n\r\n"),
    "a name with a blank": sends(b"HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 0\r\n\r\n"),
    "an empty length": sends(b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n"),
    "a length of 2^64": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n"),
    "two equal lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    "identity for a coding": sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na"),
    "two codings in two fields": sends(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": sends(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "Connection naming the length": sends(
        b"HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 0\r\n\r\n"
    ),
    "a connection option that is none": sends(b"HTTP/1.1 200 OK\r\nConnection: a b\r\nContent-Length: 0\r\n\r\n"),
    "a body behind an interim answer": sends(
        b"HTTP/1.1 103 x\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    ),
}


@pytest.mark.parametrize("case", NO_ANSWER)
def test_an_upstream_without_an_answer_is_502(client: Client, broken: FakeUpstream, case: str):
    broken.script = NO_ANSWER[case]
    answer = client.ask("/public/x")
    assert answer.status == 502
    assert str(broken.port).encode() not in answer.body, "what is behind is nobody's business"
    assert len(broken.connections) == 1, "what fails on a fresh connection is not tried again"
    # Whatever it was, the next exchange starts afresh.
    broken.script = answer_always()
    assert client.ask("/public/x").body == b"ok"


#: Lawful, or forgiven because it can be read in one way only: status, body, and what the client must not see of it.
ODD_ANSWERS: dict[str, tuple[bytes, int, bytes, set[str]]] = {
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", 200, b"ok", set()),
    "nor a blank for it": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", set()),
    "a reason of high bytes": (b"HTTP/1.1 200 \xe4\xff\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", set()),
    "a later minor version": (b"HTTP/1.9 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", set()),
    "a status without a name": (b"HTTP/1.1 299 x\r\nContent-Length: 2\r\n\r\nok", 299, b"ok", set()),
    "HTTP/1.0 until the end": (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok", set()),
    "HTTP/1.1 until the end": (b"HTTP/1.1 200 OK\r\n\r\nok", 200, b"ok", set()),
    "more than its length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 x", 200, b"ok", set()),
    "zeros before the length": (b"HTTP/1.1 200 OK\r\nContent-Length: 002\r\n\r\nok", 200, b"ok", set()),
    "CHUNKED": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n", 200, b"ok", set()),
    "trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2\r\nok\r\n0\r\nA: b\r\n\r\n",
        200,
        b"ok",
        {"trailer", "a"},
    ),
    "204 with a body": (b"HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\nok", 204, b"", {"content-length"}),
    "204 in chunks": (
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        204,
        b"",
        {"content-length", "transfer-encoding"},
    ),
    "304 with a body": (b"HTTP/1.1 304 x\r\nContent-Length: 2\r\n\r\nok", 304, b"", {"transfer-encoding"}),
    "304 in chunks": (
        b"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        304,
        b"",
        {"transfer-encoding"},
    ),
    "interim answers in front": (
        b"HTTP/1.1 102 x\r\n\r\n" + b"HTTP/1.1 199 x\r\nA: b\r\n\r\n" * 20 + b"HTTP/1.1 200 x\r\n\r\nok",
        200,
        b"ok",
        {"a"},
    ),
    "an interim answer that says how long it is": (
        b"HTTP/1.1 103 x\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
        set(),
    ),
    "fields of a connection": (
        b"HTTP/1.1 200 OK\r\nConnection: A, keep-alive\r\nA: b\r\nKeep-Alive: 5\r\nProxy-Authenticate: x\r\n"
        b"TE: x\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
        {"a", "keep-alive", "proxy-authenticate", "te", "upgrade"},
    ),
}


@pytest.mark.parametrize("case", ODD_ANSWERS)
def test_an_odd_answer_is_lawful_when_it_comes_out(client: Client, broken: FakeUpstream, case: str):
    data, status, body, hidden = ODD_ANSWERS[case]
    broken.script = sends(data)
    answer = client.ask("/public/x")
    assert (answer.status, answer.body) == (status, body)
    names = {name.lower() for name, _ in answer.fields}
    assert not names & hidden
    assert answer.get("date")
    if client.version == "HTTP/2":
        assert not names & {"connection", "transfer-encoding"}
    # What came too much is nobody's answer.
    broken.script = answer_always()
    assert client.ask("/public/x").body == b"ok"


#: The status has been passed on already: the end must show that the body is not whole.
BROKEN_BODIES = {
    "shorter than its length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "chunks that do not end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n\r\n",
    "trailers that do not end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_a_body_that_breaks_off_never_looks_whole(client: Client, broken: FakeUpstream, case: str):
    broken.script = sends(BROKEN_BODIES[case])
    answer = client.ask("/public/x")
    assert answer.status in (None, 502)
    assert answer.error in (None, http2.INTERNAL_ERROR)
    broken.script = answer_always()
    assert client.ask("/public/x").body == b"ok"


CHUNKED_ANSWER = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5;x\r\nhello\r\n3\r\n!!!\r\n0\r\nT: u\r\n\r\n"
)
LENGTH_ANSWER = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhello!!!"


@pytest.mark.parametrize("whole", [CHUNKED_ANSWER, LENGTH_ANSWER], ids=["chunked", "length"])
@pytest.mark.parametrize("resets", [False, True], ids=["close", "reset"])
def test_an_answer_may_break_off_at_any_byte(client: Client, broken: FakeUpstream, whole: bytes, resets: bool):
    for cut in range(len(whole) + 1):

        def script(connection: UpstreamConnection, part: bytes = whole[:cut]) -> None:
            connection.read_request()
            connection.send(part)
            if resets:
                connection.reset()

        broken.script = script
        answer = client.ask("/public/x")
        if cut == len(whole) and not resets:
            assert (answer.status, answer.body) == (200, b"hello!!!")
        elif answer.status != 502:
            # A reset may overtake what was sent before it, or not.
            assert answer.status is None or resets and cut == len(whole) and answer.body == b"hello!!!"
            assert cut > whole.index(b"200"), "the head was not whole"
    broken.script = answer_always()
    assert client.ask("/public/x").body == b"ok"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("whole", [CHUNKED_ANSWER, LENGTH_ANSWER], ids=["chunked", "length"])
def test_an_upstream_may_fall_silent_at_any_point(start_gateway, version: str, whole: bytes):
    """All points at once, because each takes its time; each gets its own 504, or the beginning of its own answer."""
    ends = threading.Event()

    def script(connection: UpstreamConnection) -> None:
        request = connection.read_request()
        if request:
            connection.send(whole[: int(request.target.rsplit("/", 1)[1])])
            ends.wait(20)

    def ask(cut: int) -> tuple[int, Answer]:
        with client_of(version, own) as client:
            return cut, client.ask(f"/public/{cut}")

    with FakeUpstream(script) as silent:
        pool = {"endpoints": [f"127.0.0.1:{silent.port}"], "first_byte_timeout": "500ms", "idle_timeout": "500ms"}
        own = start_gateway({"raw": silent.port}, {"upstreams": {"raw": pool}})
        with concurrent.futures.ThreadPoolExecutor(32) as threads:
            answers = dict(threads.map(ask, range(0, len(whole) + 1, 4)))
        ends.set()
    final = whole.index(b"HTTP/1.1 200")
    head = whole.index(b"\r\n\r\n", final) + 4
    for cut, answer in answers.items():
        # Under load the upstream may come too late with what it does say.
        assert answer.status in ({502, 504} if cut < head else {None, 504} if cut < len(whole) else {None, 200, 504})


@pytest.mark.parametrize("resets", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("taken", [0, 1, 1000, 100_000])
def test_an_upstream_may_go_away_within_the_body_of_a_request(
    client: Client, broken: FakeUpstream, taken: int, resets: bool
):
    def script(connection: UpstreamConnection) -> None:
        count = len(connection.read_head().partition(b"\r\n\r\n")[2])
        while count < taken and (block := connection.peer.recv(65_536)):
            count += len(block)
        if resets:
            connection.reset()

    broken.script = script
    for method in ("POST", "PUT"):
        answer = client.ask("/public/x", [("Content-Length", "1000000")], method, body=bytes(1_000_000))
        assert answer.status in (502, None)
    assert len(broken.connections) == 2, "a body that has gone on is not sent again"
    broken.script = answer_always()
    assert client.ask("/public/x").body == b"ok"


def test_a_body_without_a_length_lasts_until_the_close(client: Client, broken: FakeUpstream):
    broken.script = sends(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100_000)
    answer = client.ask("/public/x")
    assert (answer.status, answer.body) == (200, b"x" * 100_000)


def test_interim_answers_are_passed_on_or_dropped_but_never_final(client: Client, broken: FakeUpstream):
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    broken.script = sends(early + OK)
    answer = client.ask("/public/x")
    assert (answer.status, answer.body) == (200, b"ok")


@pytest.mark.parametrize("version", VERSIONS)
def test_bytes_after_an_answer_are_never_somebody_elses(start_gateway, version: str):
    """An answer too many must not be given to whoever uses the connection next."""
    poison = OK.replace(b"ok", b"no")
    script_calls = []

    def answer_twice(connection: UpstreamConnection) -> None:
        while connection.read_request():
            script_calls.append(1)
            connection.send(OK + poison)

    with FakeUpstream(answer_twice) as upstream:
        own = start_gateway({"raw": upstream.port}, {"workers": 1})
        with client_of(version, own) as client:
            for _ in range(10):
                assert client.ask("/public/x").body == b"ok"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_nobody_asked_for_is_nobodys(start_gateway, upstream: FakeUpstream, version: str):
    """It comes while the connection is idle, or on a new one before the request."""

    def script(connection: UpstreamConnection) -> None:
        if connection.number % 3 == 1:
            connection.send(OK.replace(b"ok", b"no"))
        while connection.read_request():
            connection.send(OK)
            if connection.number % 3 == 0:
                connection.send(OK.replace(b"ok", b"no"))

    upstream.script = script
    with client_of(version, start_gateway({"raw": upstream.port}, {"workers": 1})) as client:
        answers = [client.ask("/public/x") for _ in range(30)]
    # Whoever got a new connection cannot know that its answer was there before the question; nobody else gets one.
    early = sum(1 for connection in upstream.connections if connection.number % 3 == 1)
    assert sum(answer.body == b"no" for answer in answers) <= early
    assert {answer.status for answer in answers} <= {200, 502}


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_listens_is_502(start_gateway, version: str):
    with client_of(version, start_gateway({"raw": free_port()})) as client:
        assert [client.ask("/public/x").status for _ in range(3)] == [502] * 3


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


def dies_when_reused(connection: UpstreamConnection) -> None:
    """Answers once; on an older connection the next request is met with a close."""
    connection.read_request()
    connection.send(OK)
    if connection.number == 0:
        connection.read_request()
        return
    while connection.read_request():
        connection.send(OK)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_reused_connection_that_dies_is_tried_once_more_for_get(start_gateway, upstream: FakeUpstream, version: str):
    upstream.script = dies_when_reused
    with client_of(version, start_gateway({"raw": upstream.port}, {"workers": 1})) as client:
        assert [client.ask("/public/x").status for _ in range(3)] == [200] * 3
    assert len(upstream.connections) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_post_is_never_sent_twice(start_gateway, upstream: FakeUpstream, version: str):
    upstream.script = dies_when_reused
    with client_of(version, start_gateway({"raw": upstream.port}, {"workers": 1})) as client:
        answers = [client.ask("/public/x", [("Content-Length", "2")], "POST", body=b"ab") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 502, 200]
    assert len(upstream.requests) == 3


def test_an_early_answer_to_a_large_upload_arrives(client: Client, broken: FakeUpstream):
    def refuse_early(connection: UpstreamConnection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    broken.script = refuse_early
    if client.version == "HTTP/1.1":
        answer = client.ask("/public/x", [("Content-Length", "50000000")], "POST", body=bytes(10_000_000))
        assert answer.status == 413
        return
    with client.gateway.http2() as connection:
        stream = connection.request("/public/x", [("content-length", "50000000")], "POST", ends=False)
        connection.upload(stream, bytes(10_000_000), ends=False)
        answer = connection.answer(stream)
        assert (answer.status, answer.is_ended) == (413, True), answer
        connection.until(lambda: answer.reset_code is not None, "the rest is refused")
        assert answer.reset_code == http2.NO_ERROR
        assert connection.get("/nothing").status == 404


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


@pytest.mark.parametrize("version", VERSIONS)
def test_a_body_over_the_routes_cap_is_413(start_gateway, upstream: FakeUpstream, version: str):
    routes = [route("raw", "/public/**", public=True, body_bytes_max="1KiB")]

    def post(size: int, declares: bool) -> int | None:
        fields = [("Content-Length", str(size))] if declares else []
        return client.ask("/public/x", fields, "POST", body=bytes(size)).status

    with client_of(version, start_gateway({"raw": upstream.port}, {"routes": routes})) as client:
        assert [post(1024, True), post(1024, False)] == [200, 200]
        assert [post(1025, True), post(1025, False)] == [413, 413]
    assert len(upstream.requests) == 2


# Everything at once


def erratic(seed: int) -> Callable[[UpstreamConnection], None]:
    """Answers each request with its own target, in good order or in any other."""

    def script(connection: UpstreamConnection) -> None:
        chance = random.Random(seed * 1000 + connection.number)
        while request := connection.read_request():
            target = request.target.encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target) + target
            if request.method == "HEAD":
                answer = answer[: -len(target)]
            match chance.randrange(12):
                case 0:
                    return
                case 1:
                    connection.reset()
                    return
                case 2:
                    connection.send(answer[: chance.randrange(len(answer))])
                    return
                case 3:
                    connection.send(answer + answer.replace(target, b"X" * len(target)))
                case 4:
                    time.sleep(0.02)
                    connection.send(answer)
                case 5:
                    connection.send(answer)
                    return
                case 6:
                    connection.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer)
                case 7:
                    connection.send(b"garbage\r\n\r\n" + answer)
                case 8:
                    for start in range(0, len(answer), 7):
                        connection.send(answer[start : start + 7])
                case _:
                    connection.send(answer)

    return script


@pytest.mark.parametrize("seed", [1, 2])
def test_no_answer_reaches_another_client_or_stream(start_gateway, upstream: FakeUpstream, seed: int):
    """Clients of both versions, many streams at once, some of which are given up; an upstream that does as it likes."""
    upstream.script = erratic(seed)
    own = start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"})
    outcomes: list[str] = []

    def over_http2(number: int) -> None:
        chance = random.Random(f"{seed}-{number}")
        for turn in range(6):
            with own.http2() as connection:
                streams = {connection.request(f"/public/h2-{number}-{turn}-{index}"): index for index in range(30)}
                given_up = {stream for stream in streams if chance.random() < 0.1}
                for stream in given_up:
                    connection.send(http2.reset(stream))
                for stream, index in streams.items():
                    if stream in given_up:
                        continue
                    answer = connection.answer(stream)
                    mine = f"/public/h2-{number}-{turn}-{index}".encode()
                    assert mine.startswith(answer.body) if answer.status == 200 else answer.status in (None, 502)
                    assert answer.status != 200 or not answer.is_ended or answer.body == mine
                    outcomes.append("whole" if answer.body == mine else "other")

    def over_http1(number: int) -> None:
        for index in range(60):
            mine = f"/public/h1-{number}-{index}".encode()
            with own.connect() as peer:
                peer.sendall(b"GET " + mine + b" HTTP/1.1\r\n" + HEAD + CLOSE)
                received, closed = read_all(peer)
            assert closed
            with contextlib.suppress(Incomplete):
                while received.startswith(b"HTTP/1.1 103"):
                    received = take_response(received)[1]
                answer = take_response(received)[0]
                assert answer.status == 502 or answer.body == mine
                outcomes.append("whole" if answer.body == mine else "other")

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        runs = [threads.submit(run, number) for run, number in itertools.product((over_http1, over_http2), range(4))]
        for run in runs:
            run.result()
    assert outcomes.count("whole") > 400 and outcomes.count("other") > 50
    upstream.errors.clear()
