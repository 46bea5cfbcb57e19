"""RFC 9113 and RFC 7541 from the outside, section by section: bytes, and what has to become of stream and connection.

Beside the section stands the group of the usual conformance suites that asks the same. Behind each case a good request
follows: on the same connection where it has to live on, on a new one where it has to end.
"""

import contextlib
import ssl
import struct
import threading
from collections.abc import Iterator

import pytest
from support import http2
from support.clients import HOST
from support.echo import Echo, said_back
from support.gateway import Gateway
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Connection,
    Fields,
    Stream,
    frame,
    integer,
    literal,
    pseudo,
    raw_settings,
    reset,
    window_update,
)
from support.upstream import FakeUpstream

#: The good request behind each case.
GOOD = 201
UNKNOWN, PRIORITY_UPDATE = 0xBE, 0x10
WINDOW_MAX = (1 << 31) - 1

#: What may become of a case: the connection ends with an error, the stream does, its request is answered, or nothing.
G1, G3, G5, G6, G9, G11 = (f"goaway {code}" for code in (1, 3, 5, 6, 9, 11))
R1, R3, R5, R7 = (f"reset {code}" for code in (1, 3, 5, 7))
SERVED, ALIVE = "served", "alive"


@pytest.fixture
def gateway(echo_gateway: Gateway) -> Gateway:
    return echo_gateway


@pytest.fixture
def upstream(echo_upstream: FakeUpstream) -> FakeUpstream:
    return echo_upstream


@pytest.fixture
def connection(gateway: Gateway) -> Iterator[Connection]:
    with gateway.http2() as connection:
        yield connection


# Bytes


def path(stream: int) -> str:
    return f"/public/{stream}"


def section(stream: int, method: str = "GET", more: Fields = ()) -> bytes:
    return literal([*pseudo(path(stream), method), *more])


def head(stream: int, flags: int = END_STREAM | END_HEADERS, method: str = "GET", more: Fields = ()) -> bytes:
    """HEADERS of a lawful request whose path names its stream."""
    return frame(HEADERS, flags, stream, section(stream, method, more))


def begun(stream: int, more: Fields = ()) -> bytes:
    """HEADERS of a request with a body to come."""
    return head(stream, END_HEADERS, "POST", more)


def held(stream: int) -> bytes:
    """A whole request whose answer is held back."""
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, literal(pseudo(f"/public/held/{stream}")))


def malformed(stream: int) -> bytes:
    """A whole request that the gateway resets."""
    return head(stream, more=[("X-Upper", "1")])


def data(stream: int, body: bytes = b"x", flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, body)


def priority(stream: int, on: int = 0, weight: int = 15, exclusive: bool = False) -> bytes:
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on | exclusive << 31, weight))


def ping(stream: int = 0, payload: bytes = b"12345678", flags: int = 0) -> bytes:
    return frame(PING, flags, stream, payload)


def goaway(stream: int = 0, code: int = 0, more: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, stream, struct.pack(">II", 0, code) + more)


def continuation(stream: int, part: bytes = b"", flags: int = END_HEADERS) -> bytes:
    return frame(CONTINUATION, flags, stream, part)


def padded(kind: int, flags: int, stream: int, payload: bytes, padding: int) -> bytes:
    return frame(kind, flags | PADDED, stream, bytes((padding,)) + payload + bytes(padding))


def opened(part: bytes = b"") -> bytes:
    """HEADERS that promises CONTINUATION."""
    return frame(HEADERS, END_STREAM, 1, part or section(1)[:20])


# The judgement


def observe(connection: Connection, frames: bytes, stream: int, wanted: set[str]) -> str:
    """Sends the frames and a good request behind them, and says what became of it all."""
    for number in (*range(1, 9), GOOD):
        connection.streams.setdefault(number, Stream())
    connection.send(frames + head(GOOD))
    good = connection.streams[GOOD]
    connection.until(lambda: good.is_over or connection.is_closed, "the good request is answered")
    if not connection.is_closed:
        assert good.body == said_back("GET", path(GOOD))
        assert connection.goaway in (None, 0)
        mine = connection.streams[stream]
        if SERVED in wanted:
            connection.until(lambda: mine.is_over, "the request is answered")
        connection.ping()
        if mine.reset_code is not None:
            return f"reset {mine.reset_code}"
        return SERVED if mine.is_ended and mine.status == 200 else ALIVE
    return f"goaway {connection.goaway}"


def judge(gateway: Gateway, upstream: FakeUpstream, frames: bytes, wanted: set[str], stream: int = 1, **options):
    with gateway.http2(**options) as connection:
        if not options:
            connection.ping()
        became = observe(connection, frames, stream, wanted)
        assert became in wanted
        reached = [int(part) for request in upstream.requests if (part := request.target.rsplit("/", 1)[1]).isdigit()]
        if became.startswith("goaway"):
            # What the last frame says was not processed was not (section 6.8).
            assert GOOD not in reached
            assert max([0, *reached]) <= connection.goaway_stream
        if became == SERVED and stream in reached:
            body = connection.streams[stream].body
            assert not body or body.split()[1] == path(stream).encode()
        if became == R1:
            assert stream not in reached, "a malformed request reached the upstream"
    if became.startswith("goaway"):
        with gateway.http2() as other:
            assert other.get("/public/good").body == said_back("GET", "/public/good")


Table = dict[str, tuple[bytes, set[str]] | tuple[bytes, set[str], int]]


def cases(table: Table):
    """One test for each line of a table."""
    return pytest.mark.parametrize("case", [pytest.param(value, id=name) for name, value in table.items()])


# 3: how a connection begins

BEGINNINGS = {
    "http2 3.4 the preface and SETTINGS": (PREFACE + http2.settings(), {SERVED}),
    "http2 3.4 SETTINGS with values": (PREFACE + http2.settings(window=1000, push=0), {SERVED}),
    "http2 3.4 another preface": (b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + http2.settings(), {G1}),
    "http2 3.4 the preface in small letters": (PREFACE.lower() + http2.settings(), {G1}),
    "http2 3.4 the preface cut short": (PREFACE[:-1] + http2.settings(), {G1}),
    "http2 3.4 the preface twice": (PREFACE + PREFACE + http2.settings(), {G1, G6}),
    "http2 3.4 HTTP/1.1": (f"GET /public/smuggled HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode(), {G1}),
    "http2 3.4 no preface": (http2.settings() + head(1), {G1}),
    "http2 3.4 HEADERS for SETTINGS": (PREFACE + head(1), {G1}),
    "http2 3.4 PING for SETTINGS": (PREFACE + ping(), {G1}),
    "http2 3.4 WINDOW_UPDATE for SETTINGS": (PREFACE + window_update(0, 1), {G1}),
    "http2 3.4 an acknowledgement for SETTINGS": (PREFACE + frame(SETTINGS, ACK, 0), {G1}),
    "http2 3.4 an unknown frame for SETTINGS": (PREFACE + frame(UNKNOWN, 0, 0), {G1}),
    "http2 3.4 SETTINGS of 5 bytes": (PREFACE + frame(SETTINGS, 0, 0, bytes(5)), {G6, G1}),
}


@cases(BEGINNINGS)
def test_3_a_connection_begins_in_one_way(gateway: Gateway, upstream: FakeUpstream, case):
    frames, wanted = case
    judge(gateway, upstream, frames + head(1), wanted, opens=False)


@pytest.mark.parametrize("split", [1, 3, 24, 25])
def test_3_4_the_preface_may_come_in_pieces(gateway: Gateway, split: int):
    with gateway.http2(opens=False) as connection:
        hello = PREFACE + http2.settings()
        for start in range(0, len(hello), split):
            connection.send(hello[start : start + split])
        assert connection.get("/public/x").status == 200


def test_3_4_the_first_frame_is_SETTINGS_and_ours_are_acknowledged_once(gateway: Gateway):
    """`Connection` itself checks that it is no acknowledgement; a request before it would be too early."""
    with gateway.http2() as connection:
        connection.until(lambda: connection.settings, "SETTINGS come")
        assert connection.settings[http2.STREAMS_MAX] == 100
        assert connection.settings.get(http2.WINDOW, 65_535) == 65_535
        assert connection.settings.get(http2.FRAME_SIZE, 16_384) == 16_384
        assert http2.ENABLE_PUSH not in connection.settings, "a server must not send it but as 0 (6.5.2)"
        connection.ping()
        assert connection.acknowledgements == 1


# 4: frames

FRAMES: Table = {
    "http2 4.1 a frame of unknown type": (frame(UNKNOWN, 0xFF, 0, b"abc"), {ALIVE}),
    "http2 4.1 one on a stream that does not exist": (frame(UNKNOWN, 0, 77, b"abc"), {ALIVE}),
    "http2 4.1 undefined flags": (frame(PING, 0xFE, 0, bytes(8)) + head(1, END_STREAM | END_HEADERS | 0xC2), {SERVED}),
    "http2 4.1 the reserved bit": (frame(HEADERS, END_STREAM | END_HEADERS, 1 | 1 << 31, section(1)), {SERVED}),
    "http2 4.1 the reserved bit of PING": (frame(PING, 0, 1 << 31, bytes(8)), {ALIVE}),
    "http2 4.2 DATA of 16,384 bytes": (begun(1) + data(1, bytes(16_384), END_STREAM), {SERVED}),
    "http2 4.2 DATA of 16,385 bytes": (begun(1) + data(1, bytes(16_385), END_STREAM), {G6, "reset 6"}),
    "http2 4.2 HEADERS of 16,384 bytes": (
        frame(HEADERS, END_STREAM | END_HEADERS, 1, section(1, more=[("x", "y" * (16_384 - len(section(1)) - 6))])),
        # Beyond what a head may have in this gateway's configuration.
        {SERVED, ALIVE},
    ),
    "http2 4.2 HEADERS of 16,385 bytes": (frame(HEADERS, END_STREAM | END_HEADERS, 1, bytes(16_385)), {G6}),
    "http2 4.2 SETTINGS of 16,386 bytes": (frame(SETTINGS, 0, 0, bytes(16_386)), {G6}),
    "http2 4.2 an unknown frame of 16,385 bytes": (frame(UNKNOWN, 0, 0, bytes(16_385)), {G6}),
    "http2 4.2 a frame of 2^24 - 1 bytes": (b"\xff\xff\xff" + frame(UNKNOWN, 0, 0)[3:] + bytes(100), {G6}),
    "http2 4.3 a field section that is none": (frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x40\x7f"), {G9}),
    "http2 4.3 PRIORITY within a field section": (opened() + priority(1), {G1}),
    "http2 4.3 another stream's HEADERS within one": (opened() + head(3), {G1}),
}


@cases(FRAMES)
def test_4_frames(gateway: Gateway, upstream: FakeUpstream, case):
    judge(gateway, upstream, *case)


@pytest.mark.parametrize("size", [16_385, 24_000])
def test_4_2_CONTINUATION_has_the_length_of_any_frame(gateway: Gateway, upstream: FakeUpstream, size: int):
    part = literal([("x", "y" * 8000), ("x", "y" * (size - 8012))])
    assert len(part) == size
    judge(gateway, upstream, opened(section(1)) + continuation(1, part), {G6})


# 5.1: each type of frame in each state of a stream

STATES: dict[str, bytes] = {
    "idle": b"",
    "open": begun(1),
    "half-closed": held(1),
    "closed by both": head(1),
    "reset by the client": held(1) + reset(1),
    "reset by us": malformed(1),
    "left out": head(3),
}
#: What becomes of frames behind the end in the last five states. Section 5.1 has a server ignore those for a stream
#: that it reset, and lets it take others for an error of the connection.
CLOSED: list[set[str]] = [{R5, G5}, {G5}, {R5, G5}, {R1}, {G1, G5}]
#: A frame of each type that would be lawful on some stream; and what becomes of it in the states above, in their order.
MATRIX: dict[str, tuple[bytes, list[set[str]]]] = {
    "DATA": (data(1), [{G1}, {ALIVE}, *CLOSED]),
    "DATA that ends the stream": (data(1, flags=END_STREAM), [{G1}, {SERVED}, *CLOSED]),
    "empty DATA": (data(1, b""), [{G1}, {ALIVE}, *CLOSED]),
    "HEADERS": (head(1), [{SERVED}, {R1, G1}, *CLOSED]),
    "trailers": (
        frame(HEADERS, END_STREAM | END_HEADERS, 1, literal([("x-note", "1")])),
        [{R1}, {SERVED}, *CLOSED],
    ),
    "PRIORITY": (priority(1), [{ALIVE}] * 3 + [{SERVED}, {ALIVE}, {R1}, {ALIVE}]),
    "RST_STREAM": (reset(1), [{G1}] + [{ALIVE}] * 2 + [{SERVED}, {ALIVE}, {R1}, {G1, ALIVE}]),
    "SETTINGS": (frame(SETTINGS, 0, 1), [{G1}] * 7),
    "PUSH_PROMISE": (frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + section(1)), [{G1}] * 7),
    "PING": (ping(1), [{G1}] * 7),
    "GOAWAY": (goaway(1), [{G1}] * 7),
    "WINDOW_UPDATE": (
        window_update(1, 1000),
        [{G1}, {ALIVE}, {ALIVE}, {SERVED}, {ALIVE}, {R1}, {G1, ALIVE}],
    ),
    "CONTINUATION": (continuation(1, section(1)), [{G1}] * 7),
    "an unknown frame": (frame(UNKNOWN, 0, 1, b"abc"), [{ALIVE}] * 3 + [{SERVED}, {ALIVE}, {R1}, {ALIVE}]),
    # RFC 9218 section 7.1 has it on stream 0 alone.
    "PRIORITY_UPDATE": (frame(PRIORITY_UPDATE, 0, 1, struct.pack(">I", 1) + b"u=1"), [{G1}] * 7),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", MATRIX)
def test_5_1_each_frame_in_each_state(gateway: Gateway, upstream: FakeUpstream, kind: str, state: str):
    frames, outcomes = MATRIX[kind]
    wanted = outcomes[list(STATES).index(state)]
    setup = STATES[state]
    with gateway.http2() as connection:
        connection.streams |= {number: Stream() for number in (1, 3)}
        connection.send(setup)
        if state == "closed by both":
            connection.answer(1)
        elif state == "left out":
            connection.answer(3)
        connection.ping()
        became = observe(connection, frames, 1, wanted)
    assert became in wanted
    assert [request.target for request in upstream.requests].count(path(1)) <= 1
    if became.startswith("goaway"):
        with gateway.http2() as other:
            assert other.get("/public/good").status == 200


EVEN = ("DATA", "HEADERS", "RST_STREAM", "WINDOW_UPDATE", "PRIORITY", "an unknown frame")


@pytest.mark.parametrize("kind", EVEN)
def test_5_1_1_a_client_opens_no_stream_of_an_even_number(gateway: Gateway, upstream: FakeUpstream, kind: str):
    made = MATRIX[kind][0]
    judge(gateway, upstream, made[:8] + b"\x02" + made[9:], {ALIVE} if kind in EVEN[-2:] else {G1}, 2)


STREAMS: Table = {
    "generic 2 PRIORITY on an idle stream": (priority(1) + head(1), {SERVED}),
    "generic 2 WINDOW_UPDATE on a half-closed stream": (head(1) + window_update(1, 5), {SERVED}),
    "generic 2 PRIORITY on a half-closed stream": (head(1) + priority(1), {SERVED}),
    "generic 2 RST_STREAM on a half-closed stream": (held(1) + reset(1), {ALIVE}),
    "http2 5.1 DATA right behind a reset": (begun(1) + reset(1) + data(1), {G5, R5}),
    "http2 5.1 HEADERS right behind a reset": (begun(1) + reset(1) + head(1), {G5, R5}),
    "http2 5.1 CONTINUATION right behind a reset": (begun(1) + reset(1) + continuation(1), {G1, G5}),
    "http2 5.1 WINDOW_UPDATE right behind a reset": (begun(1) + reset(1) + window_update(1, 9), {ALIVE}),
    "http2 5.1 RST_STREAM right behind a reset": (begun(1) + reset(1) + reset(1), {ALIVE}),
    "http2 5.1.1 an even number": (frame(HEADERS, END_STREAM | END_HEADERS, 2, section(2)), {G1}, 2),
    "http2 5.1.1 numbers left out": (head(7), {SERVED}, 7),
    "http2 5.1.1 the same number again": (head(1) + head(1), {G5, G1}),
    "http2 5.3 a stream that depends on itself by PRIORITY": (priority(1, on=1), {R1, G1}),
    "http2 5.3 one that does by HEADERS": (
        frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, struct.pack(">IB", 1, 15) + section(1)),
        {R1, G1},
    ),
    "http2 5.3 one that does exclusively": (priority(1, on=1, exclusive=True), {R1, G1}),
    "http2 5.3 a stream that depends on another": (priority(1, on=3) + head(1), {SERVED}),
    "http2 5.4.1 an error ends the connection with GOAWAY": (ping(payload=bytes(7)), {G6}),
    "http2 5.4.2 an error of a stream is no error of others": (malformed(1) + head(3), {SERVED}, 3),
    "http2 5.5 an unknown frame": (frame(0xFA, 0, 0, bytes(8)), {ALIVE}),
    "http2 5.5 an unknown frame within a field section": (opened() + frame(0xFA, 0, 0, bytes(8)), {G1}),
    "http2 5.5 one on the same stream": (opened() + frame(0xFA, 0, 1, bytes(8)) + continuation(1), {G1}),
}


@cases(STREAMS)
def test_5_streams(gateway: Gateway, upstream: FakeUpstream, case):
    judge(gateway, upstream, *case)


def test_5_1_1_a_number_below_the_last_is_an_error(gateway: Gateway, upstream: FakeUpstream):
    judge(gateway, upstream, head(5) + head(3), {G1, G5}, 3)


def test_5_1_1_a_number_below_the_last_is_never_served(connection: Connection, upstream: FakeUpstream):
    connection.streams |= {3: Stream(), 5: Stream()}
    connection.send(head(5))
    assert connection.answer(5).body == said_back("GET", path(5))
    connection.send(head(3))
    connection.until_closed()
    assert [request.target for request in upstream.requests] == [path(5)]


def test_5_1_2_streams_beyond_the_limit_are_refused(gateway: Gateway, echo: Echo, upstream: FakeUpstream):
    with gateway.http2() as connection:
        connection.ping()
        assert connection.settings[http2.STREAMS_MAX] == 100
        streams = [connection.request(f"/public/held/{number}") for number in range(100)]
        upstream.wait_for_requests(100)
        one_more = connection.request("/public/smuggled")
        connection.until(lambda: connection.is_closed or connection.streams[one_more].is_over, "it is refused")
        if not connection.is_closed:
            assert connection.streams[one_more].reset_code in (http2.PROTOCOL_ERROR, http2.REFUSED_STREAM)
            echo.release.set()
            assert {connection.answer(stream).status for stream in streams} == {200}
        else:
            assert connection.goaway == http2.PROTOCOL_ERROR


def test_5_1_2_a_stream_that_is_over_makes_room_for_another(connection: Connection, echo: Echo):
    echo.release.set()
    for _ in range(3):
        streams = [connection.request(f"/public/held/{number}") for number in range(100)]
        for number, stream in enumerate(streams):
            assert connection.answer(stream).body == said_back("GET", f"/public/held/{number}")


# 6: each type of frame

HALF = section(1)[:20]
REST = section(1)[20:]

TYPES: Table = {
    # 6.1
    "generic 3.1 DATA": (begun(1) + data(1, b"abc", END_STREAM), {SERVED}),
    "generic 3.1 several DATA": (begun(1) + data(1, b"abc") * 5 + data(1, b"d", END_STREAM), {SERVED}),
    "generic 3.1 padded DATA": (begun(1) + padded(DATA, END_STREAM, 1, b"abc", 6), {SERVED}),
    "http2 6.1 DATA that is only padding": (begun(1) + padded(DATA, END_STREAM, 1, b"", 255), {SERVED}),
    "http2 6.1 padding of no bytes": (begun(1) + padded(DATA, END_STREAM, 1, b"abc", 0), {SERVED}),
    "http2 6.1 DATA on stream 0": (data(0), {G1}),
    "http2 6.1 DATA on a stream that has ended": (held(1) + data(1), {R5, G5}),
    "http2 6.1 padding as long as the frame": (begun(1) + frame(DATA, PADDED, 1, b"\x04abc"), {G1}),
    "http2 6.1 padding longer than the frame": (begun(1) + frame(DATA, PADDED, 1, b"\xffabc"), {G1}),
    "http2 6.1 padded and empty": (begun(1) + frame(DATA, PADDED, 1), {G1, G6}),
    "http2 6.1 padding that is not zero": (
        begun(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x05abcdefgh"),
        {SERVED, G1},
    ),
    # 6.2
    "generic 3.2 HEADERS": (head(1), {SERVED}),
    "generic 3.2 padded HEADERS": (padded(HEADERS, END_STREAM | END_HEADERS, 1, section(1), 6), {SERVED}),
    "generic 3.2 HEADERS with priority": (
        frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, struct.pack(">IB", 0, 15) + section(1)),
        {SERVED},
    ),
    "http2 6.2 padded with priority": (
        padded(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, struct.pack(">IB", 0, 15) + section(1), 9),
        {SERVED},
    ),
    "http2 6.2 PRIORITY within a field section": (opened() + priority(1), {G1}),
    "http2 6.2 another stream's HEADERS within one": (opened() + head(3), {G1}),
    "http2 6.2 DATA within one": (opened() + data(1), {G1}),
    "http2 6.2 SETTINGS within one": (opened() + http2.settings(), {G1}),
    "http2 6.2 PING within one": (opened() + ping(), {G1}),
    "http2 6.2 RST_STREAM within one": (opened() + reset(1), {G1}),
    "http2 6.2 WINDOW_UPDATE within one": (opened() + window_update(0, 1), {G1}),
    "http2 6.2 GOAWAY within one": (opened() + goaway(), {G1}),
    "http2 6.2 HEADERS on stream 0": (frame(HEADERS, END_STREAM | END_HEADERS, 0, section(1)), {G1}),
    "http2 6.2 padding as long as the frame": (
        frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, bytes((len(section(1)) + 1,)) + section(1)),
        {G1},
    ),
    "http2 6.2 padding longer than the frame": (
        frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + section(1)),
        {G1},
    ),
    "http2 6.2 padded and empty": (frame(HEADERS, END_STREAM | END_HEADERS | PADDED, 1), {G1, G6}),
    "http2 6.2 too short for its priority": (
        frame(HEADERS, END_STREAM | END_HEADERS | WITH_PRIORITY, 1, bytes(4)),
        {G6, G1},
    ),
    "http2 6.2 an empty field section": (frame(HEADERS, END_STREAM | END_HEADERS, 1), {R1}),
    # 6.3
    "generic 3.3 the least weight": (priority(1, weight=0), {ALIVE}),
    "generic 3.3 the greatest weight": (priority(1, weight=255), {ALIVE}),
    "generic 3.3 dependence on another stream": (priority(1) + priority(3, on=1), {ALIVE}),
    "generic 3.3 exclusive dependence": (priority(3, on=1, exclusive=True), {ALIVE}),
    "generic 3.3 a higher number first by PRIORITY": (priority(7) + head(3), {SERVED}, 3),
    "http2 6.3 PRIORITY on stream 0": (priority(0), {G1}),
    "http2 6.3 PRIORITY of 4 bytes": (frame(PRIORITY, 0, 1, bytes(4)), {"reset 6", G6}),
    "http2 6.3 PRIORITY of 6 bytes": (frame(PRIORITY, 0, 1, bytes(6)), {"reset 6", G6}),
    "http2 6.3 PRIORITY of no bytes": (frame(PRIORITY, 0, 1), {"reset 6", G6}),
    # RFC 9218 section 7.1
    "9218 7.1 PRIORITY_UPDATE of an idle stream": (
        frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1, i") + head(1),
        {SERVED},
    ),
    "9218 7.1 without a priority": (frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1)) + head(1), {SERVED}),
    "9218 7.1 with one that is none": (
        frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"\xff{") + head(1),
        {SERVED},
    ),
    "9218 7.1 of stream 0": (frame(PRIORITY_UPDATE, 0, 0, bytes(4) + b"u=1"), {G1}),
    "9218 7.1 of 3 bytes": (frame(PRIORITY_UPDATE, 0, 0, bytes(3)), {G6}),
    "9218 7.1 of no bytes": (frame(PRIORITY_UPDATE, 0, 0), {G6}),
    # 6.4
    "generic 3.4 RST_STREAM": (begun(1) + reset(1), {ALIVE}),
    "http2 6.4 RST_STREAM on stream 0": (reset(0), {G1}),
    "http2 6.4 RST_STREAM on an idle stream": (reset(1), {G1}),
    "http2 6.4 RST_STREAM of 3 bytes": (begun(1) + frame(RST_STREAM, 0, 1, bytes(3)), {G6}),
    "http2 6.4 RST_STREAM of 5 bytes": (begun(1) + frame(RST_STREAM, 0, 1, bytes(5)), {G6}),
    "http2 6.4 RST_STREAM of no bytes": (begun(1) + frame(RST_STREAM, 0, 1), {G6}),
    # 6.5
    "generic 3.5 SETTINGS": (http2.settings(), {ALIVE}),
    "http2 6.5 an acknowledgement nobody waits for": (frame(SETTINGS, ACK, 0), {ALIVE, G1}),
    "http2 6.5 an acknowledgement with a payload": (frame(SETTINGS, ACK, 0, bytes(6)), {G6}),
    "http2 6.5 SETTINGS on a stream": (begun(1) + frame(SETTINGS, 0, 1), {G1}),
    "http2 6.5 SETTINGS of 3 bytes": (frame(SETTINGS, 0, 0, bytes(3)), {G6}),
    "http2 6.5 SETTINGS of 7 bytes": (frame(SETTINGS, 0, 0, bytes(7)), {G6}),
    "http2 6.5.2 push of 2": (raw_settings((http2.ENABLE_PUSH, 2)), {G1}),
    "http2 6.5.2 push of 2^32 - 1": (raw_settings((http2.ENABLE_PUSH, (1 << 32) - 1)), {G1}),
    "http2 6.5.2 push of 1": (raw_settings((http2.ENABLE_PUSH, 1)), {ALIVE}),
    "http2 6.5.2 a window of 2^31 - 1": (raw_settings((http2.WINDOW, WINDOW_MAX)), {ALIVE}),
    "http2 6.5.2 a window of 2^31": (raw_settings((http2.WINDOW, WINDOW_MAX + 1)), {G3}),
    "http2 6.5.2 a window of 2^32 - 1": (raw_settings((http2.WINDOW, (1 << 32) - 1)), {G3}),
    "http2 6.5.2 frames of 16,383 bytes": (raw_settings((http2.FRAME_SIZE, 16_383)), {G1}),
    "http2 6.5.2 frames of no bytes": (raw_settings((http2.FRAME_SIZE, 0)), {G1}),
    "http2 6.5.2 frames of 16,384 bytes": (raw_settings((http2.FRAME_SIZE, 16_384)), {ALIVE}),
    "http2 6.5.2 frames of 2^24 - 1 bytes": (raw_settings((http2.FRAME_SIZE, (1 << 24) - 1)), {ALIVE}),
    "http2 6.5.2 frames of 2^24 bytes": (raw_settings((http2.FRAME_SIZE, 1 << 24)), {G1}),
    "http2 6.5.2 an unknown setting": (raw_settings((0xFF, 1)), {ALIVE}),
    "http2 6.5.2 setting 0": (raw_settings((0, 1)), {ALIVE}),
    "http2 6.5.2 setting 2^16 - 1": (raw_settings((0xFFFF, 0xFFFF_FFFF)), {ALIVE}),
    "http2 6.5.2 a table of 2^32 - 1 bytes": (raw_settings((http2.TABLE_SIZE, 0xFFFF_FFFF)), {ALIVE}),
    "http2 6.5.2 no streams and no fields": (raw_settings((http2.STREAMS_MAX, 0), (http2.FIELD_BYTES, 0)), {ALIVE}),
    "http2 6.5.2 the connect protocol of 2": (raw_settings((http2.CONNECT_PROTOCOL, 2)), {G1, ALIVE}),
    "http2 6.5.3 a window too wide, then a sound one": (
        raw_settings((http2.WINDOW, WINDOW_MAX + 1), (http2.WINDOW, 65_535)),
        {G3},
    ),
    "http2 6.5.3 push of 2, then of 0": (raw_settings((http2.ENABLE_PUSH, 2), (http2.ENABLE_PUSH, 0)), {G1}),
    "http2 6.5.3 frames too short, then not": (
        raw_settings((http2.FRAME_SIZE, 16_383), (http2.FRAME_SIZE, 16_384)),
        {G1},
    ),
    "http2 6.5.3 the last of two values counts": (
        raw_settings((http2.WINDOW, 0), (http2.WINDOW, 65_535)) + head(1),
        {SERVED},
    ),
    # 6.6
    "http2 8.4 PUSH_PROMISE": (
        begun(1) + frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + section(1)),
        {G1},
    ),
    "http2 8.4 PUSH_PROMISE on stream 0": (frame(PUSH_PROMISE, END_HEADERS, 0, struct.pack(">I", 2)), {G1}),
    # 6.7
    "http2 6.7 PING on a stream": (ping(1), {G1}),
    "http2 6.7 PING of 7 bytes": (ping(payload=bytes(7)), {G6}),
    "http2 6.7 PING of 9 bytes": (ping(payload=bytes(9)), {G6}),
    "http2 6.7 PING of no bytes": (ping(payload=b""), {G6}),
    "http2 6.7 an answer nobody asked for": (ping(flags=ACK), {ALIVE}),
    "http2 6.7 an answer of 7 bytes": (ping(payload=bytes(7), flags=ACK), {G6}),
    # 6.8
    "http2 6.8 GOAWAY on a stream": (goaway(1), {G1}),
    "http2 6.8 GOAWAY of 7 bytes": (frame(GOAWAY, 0, 0, bytes(7)), {G6}),
    # 6.9
    "generic 3.9 WINDOW_UPDATE of the connection": (window_update(0, 1), {ALIVE}),
    "generic 3.9 WINDOW_UPDATE of a stream": (begun(1) + window_update(1, 1) + data(1, b"", END_STREAM), {SERVED}),
    "http2 6.9 no window for the connection": (window_update(0, 0), {G1}),
    "http2 6.9 no window for a stream": (begun(1) + window_update(1, 0), {R1, G1}),
    "http2 6.9 no window but for the reserved bit": (begun(1) + window_update(1, 1 << 31), {R1, G1}),
    "http2 6.9 the reserved bit": (begun(1) + window_update(1, 1 << 31 | 5), {ALIVE}),
    "http2 6.9 WINDOW_UPDATE of 3 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(3)), {G6}),
    "http2 6.9 WINDOW_UPDATE of 5 bytes": (frame(WINDOW_UPDATE, 0, 0, bytes(5)), {G6}),
    "http2 6.9 one of 3 bytes on a stream": (begun(1) + frame(WINDOW_UPDATE, 0, 1, bytes(3)), {G6}),
    "http2 6.9.1 the most for the connection": (window_update(0, WINDOW_MAX - 65_535), {ALIVE}),
    "http2 6.9.1 one more for the connection": (window_update(0, WINDOW_MAX - 65_534), {G3}),
    "http2 6.9.1 twice the most for the connection": (window_update(0, WINDOW_MAX) * 2, {G3}),
    "http2 6.9.1 the most for a stream": (begun(1) + window_update(1, WINDOW_MAX - 65_535), {ALIVE}),
    "http2 6.9.1 one more for a stream": (begun(1) + window_update(1, WINDOW_MAX - 65_534), {R3}),
    "http2 6.9.2 settings that make a stream's window too wide": (
        begun(1) + window_update(1, 1000) + raw_settings((http2.WINDOW, WINDOW_MAX)),
        {G3, R3},
    ),
    # 6.10
    "generic 3.10 CONTINUATION": (frame(HEADERS, END_STREAM, 1, HALF) + continuation(1, REST), {SERVED}),
    "generic 3.10 several CONTINUATION": (
        frame(HEADERS, END_STREAM, 1, HALF) + continuation(1, REST[:5], 0) + continuation(1, REST[5:]),
        {SERVED},
    ),
    "http2 6.10 empty ones": (
        frame(HEADERS, END_STREAM, 1) + continuation(1, b"", 0) * 3 + continuation(1, section(1)),
        {SERVED},
    ),
    "http2 6.10 eight of them": (
        frame(HEADERS, END_STREAM, 1) + continuation(1, section(1), 0) + continuation(1, b"", 0) * 6 + continuation(1),
        {SERVED},
    ),
    "http2 6.10 another frame than CONTINUATION": (opened() + data(1), {G1}),
    "http2 6.10 CONTINUATION of another stream": (opened() + continuation(3, REST), {G1}),
    "http2 6.10 CONTINUATION on stream 0": (opened() + continuation(0, REST), {G1}),
    "http2 6.10 CONTINUATION behind a whole section": (begun(1) + continuation(1, b""), {G1}),
    "http2 6.10 CONTINUATION behind the last one": (
        frame(HEADERS, 0, 1, section(1, "POST")) + continuation(1, b"") + continuation(1, b""),
        {G1},
    ),
    "http2 6.10 CONTINUATION behind DATA": (begun(1) + data(1) + continuation(1, b""), {G1}),
    "http2 6.10 CONTINUATION first of all": (continuation(1, section(1)), {G1}),
    "http2 6.10 END_STREAM on CONTINUATION means nothing": (
        frame(HEADERS, 0, 1, section(1, "POST")) + continuation(1, b"", END_HEADERS | END_STREAM),
        {ALIVE},
    ),
}


@cases(TYPES)
def test_6_types_of_frames(gateway: Gateway, upstream: FakeUpstream, case):
    judge(gateway, upstream, *case)


@pytest.mark.parametrize("code", [0, 1, 7, 8, 13, 14, 0xFF, 0xFFFF_FFFF])
def test_7_RST_STREAM_with_any_code_ends_its_stream_alone(gateway: Gateway, upstream: FakeUpstream, code: int):
    judge(gateway, upstream, held(1) + reset(1, code), {ALIVE})


@pytest.mark.parametrize("code", [0, 1, 2, 11, 13, 14, 0xFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("more", [b"", b"why"], ids=["bare", "with a reason"])
def test_6_8_7_GOAWAY_of_the_client_finishes_what_is_under_way(
    gateway: Gateway, echo: Echo, upstream: FakeUpstream, code: int, more: bytes
):
    with gateway.http2() as connection:
        stream = connection.request("/public/held/1")
        upstream.wait_for_requests(1)
        connection.ping()
        connection.send(goaway(0, code, more))
        echo.release.set()
        assert connection.answer(stream).body == said_back("GET", "/public/held/1")
        connection.until_closed()
        assert connection.goaway in (None, http2.NO_ERROR)


@pytest.mark.parametrize("payload", [bytes(8), b"\xff" * 8, b"12345678"])
def test_6_7_a_PING_comes_back_as_it_was(connection: Connection, payload: bytes):
    connection.send(ping(payload=payload))
    connection.until(lambda: connection.pongs, "the ping is answered")
    assert connection.pongs == [payload]


def test_6_7_answers_to_PING_come_while_a_request_waits(connection: Connection):
    stream = connection.request("/public/held/1")
    for _ in range(20):
        connection.ping()
    assert not connection.streams[stream].is_over


@pytest.mark.parametrize("count", [1, 2, 20])
def test_6_5_3_each_SETTINGS_is_acknowledged(gateway: Gateway, count: int):
    with gateway.http2() as connection:
        connection.send(http2.settings(window=5000) * count)
        connection.ping()
        assert connection.acknowledgements == 1 + count


# 6.9: windows


def body_after(connection: Connection, stream: int, frames: bytes) -> int:
    """How much of an answer has come once these frames were read."""
    connection.send(frames)
    connection.ping()
    connection.ping()  # What the first ping let out has been sent by the second.
    return len(connection.streams[stream].body)


@pytest.mark.parametrize("window", [0, 1, 2, 100, 65_534, 65_535, 65_536])
def test_6_9_1_not_a_byte_beyond_the_window_of_the_stream(gateway: Gateway, window: int):
    size = 70_000
    with gateway.http2(window=window) as connection:
        connection.gives_window = False
        connection.send(window_update(0, 1 << 20))
        stream = connection.request(f"/public/size/{size}")
        answer = connection.streams[stream]
        connection.until(lambda: answer.status == 200 and len(answer.body) >= window, "the window is used")
        for more in (b"", window_update(stream, 1), window_update(stream, 2), window_update(stream, 10)):
            allowed = window + int.from_bytes(more[9:]) if more else window
            connection.send(more)
            connection.until(lambda most=allowed: len(answer.body) >= most, "what is allowed comes")
            window = allowed
            assert body_after(connection, stream, b"") == window
        connection.send(window_update(stream, size))
        assert len(connection.answer(stream).body) == size


def test_6_9_1_nor_beyond_that_of_the_connection(gateway: Gateway):
    with gateway.http2(window=1 << 20) as connection:
        connection.gives_window = False
        streams = [connection.request("/public/size/50000") for _ in range(3)]

        def total() -> int:
            return sum(len(connection.streams[stream].body) for stream in streams)

        connection.until(lambda: total() == 65_535, "the window is used up")
        connection.ping()
        # Heads and streams without a body need no window.
        assert connection.get("/public/x", method="HEAD").status == 200
        for count in (1, 2, 1000):
            wanted = total() + count
            connection.send(window_update(0, count))
            connection.until(lambda most=wanted: total() >= most, "what is allowed comes")
            connection.ping()
            assert total() == wanted
        connection.send(window_update(0, 1 << 20))
        assert [len(connection.answer(stream).body) for stream in streams] == [50_000] * 3


def test_6_9_2_a_change_of_the_first_window_counts_for_streams_under_way(gateway: Gateway):
    with gateway.http2(window=0) as connection:
        connection.gives_window = False
        stream = connection.request("/public/size/1000")
        answer = connection.streams[stream]
        connection.until(lambda: answer.status == 200, "the head comes")
        assert body_after(connection, stream, b"") == 0
        connection.send(http2.settings(window=1))
        connection.until(lambda: answer.body, "a byte comes")
        assert body_after(connection, stream, b"") == 1
        connection.send(http2.settings(window=10))
        connection.until(lambda: len(answer.body) >= 10, "nine more come")
        assert body_after(connection, stream, b"") == 10
        connection.send(http2.settings(window=2000))
        assert len(connection.answer(stream).body) == 1000


def test_6_9_2_a_window_may_fall_below_zero(gateway: Gateway):
    with gateway.http2(window=100) as connection:
        connection.gives_window = False
        stream = connection.request("/public/size/1000")
        answer = connection.streams[stream]
        connection.until(lambda: len(answer.body) == 100, "the window is used up")
        # From 0 to -98, then back step by step; nothing may come before it is above zero again.
        assert body_after(connection, stream, http2.settings(window=2)) == 100
        assert body_after(connection, stream, window_update(stream, 97)) == 100
        assert body_after(connection, stream, window_update(stream, 1)) == 100
        connection.send(window_update(stream, 1))
        connection.until(lambda: len(answer.body) > 100, "a byte comes")
        assert body_after(connection, stream, b"") == 101
        # A stream that is opened now has the new window alone.
        other = connection.request("/public/size/10")
        connection.until(lambda: len(connection.streams[other].body) == 2, "two bytes come")
        assert body_after(connection, other, b"") == 2
        connection.send(http2.settings(window=5000))
        assert len(connection.answer(stream).body) == 1000
        assert len(connection.answer(other).body) == 10


@pytest.mark.parametrize("count", [1, 100], ids=["stream", "connection"])
def test_6_9_1_a_client_that_overdraws_its_window_is_stopped(start_gateway, count: int):
    """The upstream takes no bytes: neither does the gateway give window for them."""
    over = threading.Event()
    with FakeUpstream(lambda peer: (peer.read_head(), over.wait(20)), receive_bytes=4096) as upstream:
        with start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"}).http2() as connection:
            streams = [connection.request("/public/x", method="POST", ends=False) for _ in range(count)]
            block = b"".join(data(stream, bytes(16_000)) for stream in streams)
            for _ in range(1000):
                connection.socket.settimeout(10)
                connection.send(block)
                connection.socket.settimeout(0.001)
                with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                    while connection.read():
                        pass
                if connection.is_closed or any(connection.streams[stream].is_over for stream in streams):
                    break
            codes = {connection.streams[stream].reset_code for stream in streams} | {connection.goaway}
        over.set()
    assert http2.FLOW_CONTROL_ERROR in codes, codes
    assert count == 1 or connection.goaway == http2.FLOW_CONTROL_ERROR


def test_6_9_padding_counts_and_is_given_back(connection: Connection):
    """More padding than the windows of stream and connection together have room for."""
    stream = connection.request("/public/x", method="POST", ends=False)
    for _ in range(30):
        connection.send(padded(DATA, 0, stream, b"x", 255) * 200)
        connection.ping()
    connection.data(stream, b"")
    assert connection.answer(stream).body.startswith(b"POST /public/x 6000 ")


# 8: messages


def lawful(*more: tuple[str, str], without: str | None = None, method: str = "GET") -> bytes:
    return literal([*(field for field in pseudo(path(1), method) if field[0] != without), *more])


def whole(block: bytes) -> bytes:
    return frame(HEADERS, END_STREAM | END_HEADERS, 1, block)


def started(*more: tuple[str, str]) -> bytes:
    return frame(HEADERS, END_HEADERS, 1, lawful(*more, method="POST"))


def trailers(*fields: tuple[str, str], flags: int = END_STREAM | END_HEADERS) -> bytes:
    return frame(HEADERS, flags, 1, literal(list(fields)))


MESSAGES: Table = {
    "generic 4 GET": (head(1), {SERVED}),
    "generic 4 HEAD": (head(1, method="HEAD"), {SERVED}),
    "generic 4 POST": (begun(1) + data(1, b"abc", END_STREAM), {SERVED}),
    "generic 4 POST with trailers": (begun(1) + data(1, b"abc") + trailers(("x-note", "1")), {SERVED}),
    "http2 8.1 POST of trailers alone": (begun(1) + trailers(("x-note", "1")), {SERVED}),
    "http2 8.1 empty trailers": (begun(1) + data(1) + trailers(), {SERVED}),
    "http2 8.1 a second HEADERS that does not end the stream": (
        begun(1) + data(1) + trailers(("x-note", "1"), flags=END_HEADERS),
        {R1, G1},
    ),
    "http2 8.1 a second HEADERS before any DATA": (begun(1) + trailers(("x", "1"), flags=END_HEADERS), {R1, G1}),
    "http2 8.1 HEADERS behind the trailers": (begun(1) + trailers(("x", "1")) + trailers(("x", "1")), {R5, G5}),
    "http2 8.1 DATA behind the trailers": (begun(1) + trailers(("x", "1")) + data(1), {R5, G5}),
    "http2 8.2.1 a name in capitals": (whole(lawful(("X-TEST", "1"))), {R1}),
    "http2 8.2.1 a name with a capital": (whole(lawful(("x-Test", "1"))), {R1}),
    "http2 8.2.1 a name with a blank": (whole(lawful(("x test", "1"))), {R1}),
    "http2 8.2.1 a name with a colon": (whole(lawful(("x:", "1"))), {R1}),
    "http2 8.2.1 no name": (whole(lawful(("", "1"))), {R1}),
    "http2 8.2.1 NUL in a name": (whole(lawful(("x\0", "1"))), {R1}),
    "http2 8.2.1 a byte above 127 in a name": (whole(lawful(("x\xe4", "1"))), {R1}),
    "http2 8.2.1 NUL in a value": (whole(lawful(("x", "a\0b"))), {R1}),
    "http2 8.2.1 CR in a value": (whole(lawful(("x", "a\rb"))), {R1}),
    "http2 8.2.1 LF in a value": (whole(lawful(("x", "a\nb"))), {R1}),
    "http2 8.2.1 a blank before a value": (whole(lawful(("x", " a"))), {R1}),
    "http2 8.2.1 a tab behind a value": (whole(lawful(("x", "a\t"))), {R1}),
    "http2 8.2.1 blanks and tabs within a value": (whole(lawful(("x", "a \tb"))), {SERVED}),
    "http2 8.2.1 bytes above 127 in a value": (whole(lawful(("x", "\x80\xff"))), {SERVED}),
    "http2 8.2.1 an empty value": (whole(lawful(("x", ""))), {SERVED}),
    "http2 8.2.2 connection": (whole(lawful(("connection", "keep-alive"))), {R1}),
    "http2 8.2.2 keep-alive": (whole(lawful(("keep-alive", "5"))), {R1}),
    "http2 8.2.2 proxy-connection": (whole(lawful(("proxy-connection", "keep-alive"))), {R1}),
    "http2 8.2.2 transfer-encoding": (started(("transfer-encoding", "chunked")) + data(1, b"", END_STREAM), {R1}),
    "http2 8.2.2 upgrade": (whole(lawful(("upgrade", "h2c"))), {R1}),
    "http2 8.2.2 te: trailers": (whole(lawful(("te", "trailers"))), {SERVED}),
    "http2 8.2.2 te with more": (whole(lawful(("te", "trailers, deflate"))), {R1}),
    "http2 8.2.2 te of another kind": (whole(lawful(("te", "gzip"))), {R1}),
    "http2 8.2.2 te in trailers": (begun(1) + data(1) + trailers(("te", "gzip")), {R1}),
    "http2 8.2.3 cookies in crumbs": (whole(lawful(("cookie", "a=1"), ("cookie", "b=2"))), {SERVED}),
    "http2 8.3 an unknown pseudo field": (whole(lawful((":test", "1"))), {R1}),
    "http2 8.3 a pseudo field of answers": (whole(literal([(":status", "200"), *pseudo(path(1))])), {R1}),
    "http2 8.3 a pseudo field in trailers": (begun(1) + data(1) + trailers((":method", "GET")), {R1}),
    "http2 8.3 one of answers in trailers": (begun(1) + data(1) + trailers((":status", "200")), {R1}),
    "http2 8.3 a pseudo field behind others": (
        whole(literal([("x", "1"), *pseudo(path(1))])),
        {R1},
    ),
    "http2 8.3 one of them behind others": (whole(lawful(("x", "1"), (":path", path(1)), without=":path")), {R1}),
    **{f"http2 8.3.1 no {name}": (whole(lawful(without=name)), {R1}) for name in (":method", ":scheme", ":path")},
    **{
        f"http2 8.3.1 two of {name}": (whole(literal([*pseudo(path(1)), (name, value)])), {R1})
        for name, value in pseudo(path(1))
    },
    **{
        f"http2 8.3.1 an empty {name}": (
            whole(literal([(key, "" if key == name else value) for key, value in pseudo(path(1))])),
            {R1},
        )
        for name, _ in pseudo(path(1))
    },
    "http2 8.3.1 asterisk of OPTIONS": (whole(literal(pseudo("*", "OPTIONS"))), {ALIVE, SERVED}),
    "http2 8.3.1 asterisk of GET": (whole(literal(pseudo("*"))), {R1}),
    "http2 8.3.1 host for authority": (whole(lawful(("host", HOST), without=":authority")), {SERVED}),
    "http2 8.3.1 both alike": (whole(lawful(("host", HOST))), {SERVED}),
    "http2 8.3.1 both unlike": (whole(lawful(("host", "iam.demo.localhost"))), {R1}),
    "http2 8.1.1 less than declared": (started(("content-length", "3")) + data(1, b"ab", END_STREAM), {R1}),
    "http2 8.1.1 more than declared": (started(("content-length", "3")) + data(1, b"abcd", END_STREAM), {R1}),
    "http2 8.1.1 less in several frames": (
        started(("content-length", "3")) + data(1, b"a") + data(1, b"b", END_STREAM),
        {R1},
    ),
    "http2 8.1.1 more in several frames": (
        started(("content-length", "3")) + data(1, b"ab") + data(1, b"cd") + data(1, b"", END_STREAM),
        {R1},
    ),
    "http2 8.1.1 as much as declared": (started(("content-length", "3")) + data(1, b"abc", END_STREAM), {SERVED}),
    "http2 8.1.1 as much, the end behind it": (
        started(("content-length", "3")) + data(1, b"abc") + data(1, b"", END_STREAM),
        {SERVED},
    ),
    "http2 8.1.1 as much, trailers behind it": (
        started(("content-length", "3")) + data(1, b"abc") + trailers(("x", "1")),
        {SERVED},
    ),
    "http2 8.1.1 less, trailers behind it": (
        started(("content-length", "3")) + data(1, b"ab") + trailers(("x", "1")),
        {R1},
    ),
    "http2 8.1.1 padding is not of the body": (
        started(("content-length", "3")) + padded(DATA, END_STREAM, 1, b"abc", 9),
        {SERVED},
    ),
    "http2 8.1.1 a length and no body": (whole(lawful(("content-length", "3"))), {R1}),
    "http2 8.1.1 a length of 0 and no body": (whole(lawful(("content-length", "0"))), {SERVED}),
    "http2 8.5 CONNECT": (whole(literal([(":method", "CONNECT"), (":authority", "a.example:443")])), {ALIVE, R1}),
    "http2 8.5 CONNECT with path and scheme": (whole(lawful(method="CONNECT")), {R1}),
}


@cases(MESSAGES)
def test_8_messages(gateway: Gateway, upstream: FakeUpstream, case):
    judge(gateway, upstream, *case)


def test_8_1_trailers_of_a_request_stay_here(connection: Connection, upstream: FakeUpstream):
    stream = connection.request("/public/x", method="POST", ends=False)
    connection.data(stream, b"abc", ends=False)
    connection.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, literal([("x-auth-user", "smuggled")])))
    assert connection.answer(stream).body == said_back("POST", "/public/x", b"abc")
    assert not upstream.requests[-1].trailers


# RFC 7541

BASE = section(1)


def indexed(number: int) -> bytes:
    return integer(number, 7, 0x80)


#: A literal that is added to the table, for the cases that need an entry in it.
ENTRY = literal([("x-entry", "value")], http2.LITERAL_INDEXED)
PATH_1 = literal([(":path", path(1))])
AUTHORITY = literal([(":authority", HOST)])
#: `:method: GET`, `:scheme: https` by their indices, the rest as literals.
SHORT = indexed(2) + indexed(7) + AUTHORITY + PATH_1
HUFFMAN_A = b"\x81\x1f"


def sized(size: int) -> bytes:
    return integer(size, 5, 0x20)


def block(stream: int, part: bytes) -> bytes:
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, part)


def literals() -> dict[str, bytes]:
    """`user-agent` by its index or `x` by its name, with the value `a`, in each form of literals."""
    kinds = {
        "with indexing": (6, http2.LITERAL_INDEXED),
        "without indexing": (4, http2.LITERAL),
        "never indexed": (4, http2.LITERAL_NEVER),
    }
    made = {}
    for kind, (prefix, pattern) in kinds.items():
        for code, name, value in (("plain", b"\x01x", b"\x01a"), ("in Huffman's code", b"\x81\xf3", HUFFMAN_A)):
            made[f"generic 5 a literal {kind}, indexed name, {code}"] = integer(58, prefix, pattern) + value
            made[f"generic 5 a literal {kind}, new name, {code}"] = bytes((pattern,)) + name + value
    return made


#: Of the good request behind each case nothing is in the table, so that a table out of step shows in `judge` only by
#: the connection's end; `test_hpack_both_tables_stay_in_step` is about the rest.
COMPRESSION: Table = {
    "generic 5 indexed fields": (block(1, SHORT), {SERVED}),
    **{name: (block(1, BASE + made), {SERVED}) for name, made in literals().items()},
    "generic 5 a table size of 0": (block(1, sized(0) + BASE), {SERVED}),
    "generic 5 two table sizes": (block(1, sized(0) + sized(4096) + BASE), {SERVED}),
    "generic 5 an entry used in the next section": (
        block(1, BASE + ENTRY) + block(3, literal(pseudo(path(3))) + indexed(62)),
        {SERVED},
        3,
    ),
    "hpack 2.3.3 index 0": (block(1, BASE + indexed(0)), {G9}),
    "hpack 2.3.3 the first index of an empty table": (block(1, BASE + indexed(62)), {G9}),
    "hpack 2.3.3 index 70": (block(1, BASE + indexed(70)), {G9}),
    "hpack 2.3.3 index 2^31": (block(1, BASE + indexed(1 << 31)), {G9}),
    "hpack 2.3.3 a literal whose name has index 70": (block(1, BASE + integer(70, 6, 0x40) + b"\x01a"), {G9}),
    "hpack 2.3.3 one without indexing": (block(1, BASE + integer(70, 4) + b"\x01a"), {G9}),
    "hpack 2.3.3 one never indexed": (block(1, BASE + integer(70, 4, 0x10) + b"\x01a"), {G9}),
    "hpack 2.3.3 one entry and the index behind it": (block(1, BASE + ENTRY + indexed(63)), {G9}),
    "hpack 4.2 a table size behind a field": (block(1, BASE + sized(100)), {G9}),
    "hpack 4.2 a table size between fields": (block(1, BASE[:10] + sized(100) + BASE[10:]), {G9, R1}),
    "hpack 4.2 a table beyond our setting": (block(1, sized(4097) + BASE), {G9}),
    "hpack 4.2 the second beyond our setting": (block(1, sized(0) + sized(4097) + BASE), {G9}),
    "hpack 4.2 the largest table": (block(1, sized(4096) + BASE), {SERVED}),
    "hpack 4.3 an entry that a smaller table lost": (
        block(1, BASE + ENTRY) + block(3, sized(10) + literal(pseudo(path(3))) + indexed(62)),
        {G9},
        3,
    ),
    "hpack 4.4 an entry larger than the table": (
        block(1, sized(64) + BASE + literal([("x-large", "y" * 100)], http2.LITERAL_INDEXED)),
        {SERVED},
    ),
    "hpack 4.4 and no entry is left behind it": (
        block(1, sized(64) + BASE + ENTRY + literal([("x", "y" * 100)], http2.LITERAL_INDEXED) + indexed(62)),
        {G9},
    ),
    "hpack 5.1 an integer without an end": (block(1, BASE + b"\xff" + b"\xff" * 10), {G9}),
    "hpack 5.1 an integer beyond 32 bits": (block(1, BASE + b"\xff\xff\xff\xff\xff\xff\x0f"), {G9}),
    "hpack 5.1 an integer beyond 64 bits": (block(1, BASE + b"\xff" + b"\xff" * 9 + b"\x7f"), {G9}),
    "hpack 5.1 an integer of many zeros": (block(1, BASE + b"\xff" + b"\x80" * 12 + b"\x00"), {G9}),
    "hpack 5.1 a length beyond 32 bits": (block(1, BASE + b"\x00\x7f\xff\xff\xff\xff\xff\x0f"), {G9}),
    "hpack 5.1 an integer cut off": (block(1, BASE + b"\xff"), {G9}),
    "hpack 5.2 a name longer than its section": (block(1, BASE + b"\x00\x05ab"), {G9}),
    "hpack 5.2 a value longer than its section": (block(1, BASE + b"\x00\x01x\x05ab"), {G9}),
    "hpack 5.2 a name and no value": (block(1, BASE + b"\x00\x01x"), {G9}),
    "hpack 5.2 a literal and no name": (block(1, BASE + b"\x00"), {G9}),
    "hpack 5.2 padding of zeros": (block(1, BASE + b"\x00\x01x\x81\x18"), {G9}),
    "hpack 5.2 padding of eight ones": (block(1, BASE + b"\x00\x01x\x82\x1f\xff"), {G9}),
    "hpack 5.2 padding of sixteen ones": (block(1, BASE + b"\x00\x01x\x83\x1f\xff\xff"), {G9}),
    "hpack 5.2 the end of string within a value": (block(1, BASE + b"\x00\x01x\x84\xff\xff\xff\xff"), {G9}),
    "hpack 5.2 the end of string behind an a": (block(1, BASE + b"\x00\x01x\x85\x1f\xff\xff\xff\xff"), {G9}),
    "hpack 5.2 padding of zeros in a name": (block(1, BASE + b"\x00\x81\x18\x01x"), {G9}),
    "hpack 5.2 empty in Huffman's code": (block(1, BASE + b"\x00\x01x\x80"), {SERVED}),
    "hpack 6.1 index 0 alone": (block(1, indexed(0)), {G9}),
    "hpack 6.3 a table of 2^32 bytes": (block(1, sized(1 << 32) + BASE), {G9}),
    "hpack 4.3 a bad section of a stream that we reset is an error still": (
        malformed(1) + frame(HEADERS, END_STREAM | END_HEADERS, 3, b"\x80"),
        {G9},
        3,
    ),
}


@cases(COMPRESSION)
def test_hpack(gateway: Gateway, upstream: FakeUpstream, case):
    judge(gateway, upstream, *case)


@pytest.mark.parametrize("huffman", [True, False], ids=["huffman", "plain"])
def test_hpack_both_tables_stay_in_step(gateway: Gateway, upstream: FakeUpstream, huffman: bool):
    """Sections of requests that are refused, reset or malformed change the table like any other."""
    with gateway.http2() as connection:
        for number in range(150):
            shared = [("x-one", str(number % 7)), ("x-two", "v" * (number % 90)), ("cookie", f"c={number % 5}")]
            spoils = {1: [("X-Bad", "1")], 2: [("x-lf", "a\nb")], 3: [("content-length", "5")]}.get(number % 12, [])
            fields = [*pseudo(f"/public/{number}"), *shared, *spoils]
            stream = connection.next_stream
            connection.next_stream += 2
            connection.streams[stream] = Stream()
            packed = connection.encoder.encode(fields, huffman=huffman)
            connection.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, packed))
            if number % 12 == 4:
                connection.send(reset(stream))
                continue
            answer = connection.answer(stream)
            if spoils:
                assert answer.reset_code == http2.PROTOCOL_ERROR
                continue
            assert answer.body == said_back("GET", f"/public/{number}")
            request = next(request for request in upstream.requests if request.target == f"/public/{number}")
            assert (request.get("x-one"), request.get("x-two")) == (shared[0][1], shared[1][1])
            assert request.get("cookie") == shared[2][1]


@pytest.mark.parametrize("size", [0, 1, 64, 100, 4096, 65_536])
def test_hpack_4_2_our_own_table_is_no_larger_than_the_client_allows(gateway: Gateway, size: int):
    """The decoder of these tests refuses a section that takes more than was allowed."""
    with gateway.http2(table_size=size) as connection:
        connection.ping()
        connection.decoder.max_allowed_table_size = size
        for number in range(20):
            assert connection.get(f"/public/{number}").body == said_back("GET", f"/public/{number}")
        assert connection.decoder.header_table_size <= size


def test_hpack_6_3_a_smaller_table_is_taken_over_while_streams_are_under_way(gateway: Gateway):
    with gateway.http2() as connection:
        for size in (4096, 0, 200, 0, 4096):
            connection.send(http2.settings(table_size=size))
            connection.ping()
            connection.decoder.max_allowed_table_size = size
            assert connection.get("/public/x").status == 200


# Cut anywhere


@pytest.mark.parametrize("split", [1, 2, 9, 10, 33, 1000])
def test_frames_may_be_cut_anywhere(gateway: Gateway, split: int):
    frames = (
        PREFACE
        + http2.settings(window=70_000)
        + frame(HEADERS, 0, 1, section(1, "POST")[:30])
        + continuation(1, section(1, "POST")[30:])
        + padded(DATA, 0, 1, b"abc", 20)
        + ping()
        + data(1, b"def", END_STREAM)
        + head(3)
    )
    with gateway.http2(opens=False) as connection:
        connection.streams |= {1: Stream(), 3: Stream()}
        for start in range(0, len(frames), split):
            connection.send(frames[start : start + split])
        assert connection.answer(1).body == said_back("POST", path(1), b"abcdef")
        assert connection.answer(3).body == said_back("GET", path(3))
        assert connection.pongs == [b"12345678"]
