"""Clients that abuse HTTP/2, and beside each of them, on the same worker, one that does not.

While an attack lasts, 99 of 100 requests of the good client are answered within a second; afterwards the gateway has
its memory and its descriptors back.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from support import http2
from support.attacks import Attacker, Target, under_attack
from support.gateway import Gateway
from support.http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    SETTINGS,
    Connection,
    frame,
    integer,
    literal,
    pseudo,
    raw_settings,
    reset,
    window_update,
)
from support.resources import MIB, Resources, vanish
from support.wire import connect


def head(stream: int, path: str = "/public/x", method: str = "GET", ends: bool = True) -> bytes:
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(HEADERS, flags, stream, literal(pseudo(path, method)))


#: What is sent over and over on a new connection, as blocks of many frames, and whether the connection must end of it.
def resets() -> Iterator[bytes]:
    for start in itertools.count(1, 200):
        yield b"".join(head(stream) + reset(stream) for stream in range(start, start + 200, 2))


def ended_and_reset() -> Iterator[bytes]:
    """The reset comes when the answer is already on its way."""
    for start in itertools.count(1, 100):
        yield b"".join(head(stream) for stream in range(start, start + 100, 2))
        yield b"".join(reset(stream) for stream in range(start, start + 100, 2))


def malformed() -> Iterator[bytes]:
    flags, section = END_HEADERS | END_STREAM, literal([*pseudo(), ("X-Upper", "1")])
    for start in itertools.count(1, 200):
        yield b"".join(frame(HEADERS, flags, stream, section) for stream in range(start, start + 200, 2))


def refused() -> Iterator[bytes]:
    """Each more than a head may have, and answered with 431."""
    section = literal([*pseudo(), ("x", "y" * 16_000), ("x", "y" * 200)])
    for start in itertools.count(1, 20):
        yield b"".join(Connection.head(stream, section, True) for stream in range(start, start + 20, 2))


def forever(block: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.repeat(block)


def continuations() -> Iterator[bytes]:
    yield frame(HEADERS, END_STREAM, 1, literal(pseudo()))
    yield from itertools.repeat(frame(CONTINUATION, 0, 1, literal([("x", "y" * 1000)])) * 20)


def empty_continuations() -> Iterator[bytes]:
    yield frame(HEADERS, END_STREAM, 1, literal(pseudo()))
    yield from itertools.repeat(frame(CONTINUATION, 0, 1) * 500)


def on_open_stream(block: bytes) -> Callable[[], Iterator[bytes]]:
    def blocks() -> Iterator[bytes]:
        yield head(1, method="POST", ends=False)
        yield from itertools.repeat(block)

    return blocks


def bombs() -> Iterator[bytes]:
    """A small section that means a large one: an entry of 3,900 bytes, named 16,000 times in each."""
    entry = literal([*pseudo(), ("x-bomb", "y" * 3900)], http2.LITERAL)
    first = literal(pseudo()) + literal([("x-bomb", "y" * 3900)], http2.LITERAL_INDEXED)
    yield frame(HEADERS, END_HEADERS | END_STREAM, 1, first)
    section = literal(pseudo()) + integer(62, 7, 0x80) * 16_000
    assert len(section) < 16_384 < len(entry) * 10
    for stream in itertools.count(3, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, section)


def table_sizes() -> Iterator[bytes]:
    """The table emptied and filled again by every section."""
    sizes = (integer(0, 5, 0x20) + integer(4096, 5, 0x20)) * 3000
    for stream in itertools.count(1, 2):
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, sizes + literal(pseudo()))


def fields_many() -> Iterator[bytes]:
    section = literal([*pseudo(), *[("a", "")] * 3000])
    for stream in itertools.count(1, 2):
        yield Connection.head(stream, section, True)


def mixed_settings() -> Iterator[bytes]:
    """The first window, to and fro, beside streams that wait for it."""
    yield b"".join(head(stream, "/public/large") for stream in range(1, 101, 2))
    yield from itertools.repeat((raw_settings((http2.WINDOW, 0)) + raw_settings((http2.WINDOW, 65_535))) * 50)


FLOODS: dict[str, tuple[Callable[[], Iterator[bytes]], bool]] = {
    "R43 rapid reset": (resets, True),
    "R43 reset behind the answer": (ended_and_reset, True),
    "R43 resets of ours": (malformed, True),
    "R44 refused heads": (refused, True),
    "R44 CONTINUATION": (continuations, True),
    "R44 empty CONTINUATION": (empty_continuations, True),
    "R44 a compressed bomb": (bombs, True),
    "R44 table sizes": (table_sizes, False),
    "R44 many fields": (fields_many, True),
    "R45 SETTINGS": (forever(http2.settings(window=65_535) * 100), True),
    "R45 empty SETTINGS": (forever(frame(SETTINGS, 0, 0) * 100), True),
    "R45 windows by SETTINGS": (mixed_settings, True),
    "R45 acknowledgements": (forever(frame(SETTINGS, ACK, 0) * 500), True),
    "R45 PING": (forever(frame(PING, 0, 0, bytes(8)) * 500), True),
    "R45 answers to PING": (forever(frame(PING, ACK, 0, bytes(8)) * 500), True),
    "R45 PRIORITY": (forever(b"".join(frame(PRIORITY, 0, number, bytes(5)) for number in range(1, 999, 2))), True),
    "R45 unknown frames": (forever(frame(0xBE, 0, 0, bytes(8)) * 500), True),
    "R45 empty DATA": (on_open_stream(frame(DATA, 0, 1) * 500), True),
    "R45 DATA of padding alone": (on_open_stream(frame(DATA, 8, 1, b"\x00") * 500), True),
    "R45 windows of a byte": (on_open_stream(window_update(0, 1) * 500), True),
    "R45 windows of a stream's byte": (on_open_stream(window_update(1, 1) * 500), True),
    "R45 large windows": (on_open_stream(window_update(1, 300) * 500), True),
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_ends_its_connection_and_hurts_nobody_else(target: Target, case: str):
    blocks, must_end = FLOODS[case]
    connections = 0

    def attack(attacker: Attacker) -> None:
        nonlocal connections
        while attacker.goes_on:
            connections += 1
            with attacker.connection() as connection:
                attacker.pour(connection, blocks())

    attacker = under_attack(target, attack)
    assert attacker.sent > 10_000
    # One connection that lasted to the end was let do what it did.
    assert connections > 1 or not must_end, f"{attacker.sent} bytes on one connection"


def test_R43_a_client_whose_connections_end_at_once(target: Target):
    """Connection churn: a handshake, a request or none, and gone."""

    def attack(attacker: Attacker) -> None:
        for number in itertools.count():
            if not attacker.goes_on:
                return
            with attacker.connection() if number % 3 else contextlib.nullcontext() as connection:
                if connection is None:
                    connect(target.gateway.https_port).close()
                    continue
                connection.send(head(1))
                attacker.sent += 1
                if number % 3 == 2:
                    vanish(connection.socket)

    assert under_attack(target, attack, count=2).sent > 20


def test_R45_many_tiny_DATA_frames(target: Target):
    """A body in frames of a byte is dear and lawful; it holds up nobody."""

    def attack(attacker: Attacker) -> None:
        while attacker.goes_on:
            with attacker.connection() as connection:
                stream = connection.request("/public/x", method="POST", ends=False)
                for _ in range(60):
                    if not attacker.goes_on or not attacker.push(connection, frame(DATA, 0, stream, b"x") * 1000):
                        break

    under_attack(target, attack)


@pytest.mark.parametrize("window", [0, 1])
def test_R45_windows_that_never_open_on_100_streams(target: Target, window: int):
    """Large answers that nobody takes: each holds its buffer and no more."""
    resources = Resources(target.gateway)
    most = 0

    def attack(attacker: Attacker) -> None:
        nonlocal most
        with attacker.connection(window=window) as connection:
            connection.gives_window = False
            for number in range(99):
                connection.request(f"/public/large/{number}")
            while attacker.goes_on:
                most = max(most, resources.memory_growth)
                if window and not attacker.push(connection, b"".join(window_update(n, 1) for n in range(1, 199, 2))):
                    break
                time.sleep(0.05)

    under_attack(target, attack)
    # 99 answers of 4 MiB; what waits for each is bounded.
    assert most < 64 * MIB


def test_R45_a_reader_of_one_byte_at_a_time(target: Target):
    """The first window is a byte, and each byte that comes is paid back."""

    def attack(attacker: Attacker) -> None:
        while attacker.goes_on:
            with attacker.connection(window=1) as connection:
                stream = connection.request("/public/large/x")
                answer = connection.streams[stream]
                while attacker.goes_on and not answer.is_over and not connection.is_closed:
                    connection.socket.settimeout(0.5)
                    with contextlib.suppress(TimeoutError):
                        connection.read()

    under_attack(target, attack)


def test_R46_uploads_that_stand_still_on_100_streams(target: Target):
    resources = Resources(target.gateway)
    most = 0

    def attack(attacker: Attacker) -> None:
        nonlocal most
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                connection = stack.enter_context(attacker.connection())
                for number in range(99):
                    stream = connection.request(f"/public/{number}", [("content-length", "60000")], "POST", ends=False)
                    connection.send(frame(DATA, 0, stream, bytes(5000)))
            while attacker.goes_on:
                most = max(most, resources.memory_growth)
                time.sleep(0.05)

    under_attack(target, attack)
    assert most < 64 * MIB


def test_R46_heads_that_drip_by_CONTINUATION(target: Target):
    """Each connection is within a head; a byte of it comes now and then."""

    def attack(attacker: Attacker) -> None:
        section = literal([*pseudo(), ("x", "y" * 50)])
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(attacker.connection()) for _ in range(20)]
            for connection in connections:
                connection.send(frame(HEADERS, END_STREAM, 1, section[:1]))
            for byte in section[1:]:
                if not attacker.goes_on:
                    break
                for connection in connections:
                    connection.send(frame(CONTINUATION, 0, 1, bytes((byte,))))
                time.sleep(0.05)

    under_attack(target, attack)


def test_idle_connections_by_the_hundred(target: Target):
    def attack(attacker: Attacker) -> None:
        with contextlib.ExitStack() as stack:
            for _ in range(150):
                if attacker.goes_on:
                    stack.enter_context(attacker.connection())
            while attacker.goes_on:
                time.sleep(0.05)

    under_attack(target, attack)


# What a timer ends (R46)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, attacked: Target) -> Iterator[Gateway]:
    """Short timeouts towards clients."""
    ports = {"raw": attacked.upstream.port}
    gateway = Gateway(tmp_path_factory.mktemp("hasty"), ports, {"stop_timeout": "500ms", "workers": 1})
    times = dict.fromkeys(("handshake_timeout", "head_timeout", "body_timeout", "idle_timeout"), "500ms")
    gateway.configuration["listeners"][0].update(times)
    gateway.write()
    with gateway:
        yield gateway


def drip(connection: Connection, pieces: Iterator[bytes], seconds: float = 4) -> bool:
    """Sends a piece every 100 ms; whether stream 1 or the connection ended within the time."""
    connection.streams.setdefault(1, http2.Stream())
    deadline = time.monotonic() + seconds
    for piece in pieces:
        connection.send(piece)
        connection.socket.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            connection.read()
        if connection.is_closed or connection.streams[1].is_over:
            return True
        if time.monotonic() > deadline:
            return False
    return False


DRIPS: dict[str, tuple[bytes, Callable[[], Iterator[bytes]]]] = {
    "a head": (
        frame(HEADERS, END_STREAM, 1, literal(pseudo("/public/x"))),
        lambda: itertools.repeat(frame(CONTINUATION, 0, 1)),
    ),
    "a frame of a head": (
        frame(HEADERS, END_STREAM | END_HEADERS, 1, literal([*pseudo("/public/x"), ("x", "y" * 200)]))[:60],
        lambda: itertools.repeat(b"y"),
    ),
    "a body": (head(1, method="POST", ends=False), lambda: itertools.repeat(frame(DATA, 0, 1, b"x"))),
    "a frame of a body": (
        head(1, method="POST", ends=False) + frame(DATA, 0, 1, bytes(1000))[:9],
        lambda: itertools.repeat(b"x"),
    ),
    "a body that never begins": (head(1, method="POST", ends=False), lambda: itertools.repeat(b"")),
    "an empty body that never ends": (
        frame(HEADERS, END_HEADERS, 1, literal([*pseudo("/public/x", "POST"), ("content-length", "0")])),
        lambda: itertools.repeat(b""),
    ),
    "pings": (b"", lambda: (frame(PING, 0, 0, bytes(8)) for _ in itertools.count())),
    "a frame of an unknown type": (frame(0xBE, 0, 0, bytes(10_000))[:9], lambda: itertools.repeat(b"x")),
}


@pytest.mark.parametrize("case", DRIPS)
def test_R46_nobody_drips_for_ever(hasty: Gateway, case: str):
    beginning, pieces = DRIPS[case]
    with hasty.http2() as connection:
        connection.send(beginning)
        assert drip(connection, pieces()), "still open after eight times the timeout"


def test_R46_an_answer_that_nobody_takes_is_given_up(hasty: Gateway):
    """On its stream; another of the same connection goes on."""
    with hasty.http2(window=0) as connection:
        connection.gives_window = False
        stream = connection.request("/public/large")
        other = connection.request("/public/x", method="HEAD")
        assert connection.answer(other).status == 200
        answer = connection.answer(stream)
        assert (answer.is_ended, answer.status) == (False, 200)
        assert answer.reset_code is not None
        assert connection.get("/nothing", method="HEAD").status == 404
