"""WebSocket through the gateway, by the classes 1 to 7 of the well-known list of cases: a tunnel changes nothing.

In each case one side sends frames, lawful or not, and the other is a strict end point that says messages back. What it
answers is held against RFC 6455, once without the gateway and then through it: the same frames, the same codes, the
same end, over both versions of HTTP and whichever side plays.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from support.gateway import Gateway
from support.processes import wait_until
from support.upstream import FakeUpstream, UpstreamConnection
from support.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    Stream,
    StreamOfHTTP2,
    Tunnel,
    close_payload,
    say_back,
    switched,
    take_frames,
    upgrade,
)
from support.wire import connect

NORMAL, PROTOCOL_ERROR, NOT_UTF8 = 1000, 1002, 1007
SECONDS_MAX = 20


@dataclass(frozen=True)
class Case:
    """What is sent and what must come back; `end` is the code of the Close that the case must lead to."""

    sends: tuple[Frame, ...]
    expected: tuple[Frame, ...] = ()
    #: How many octets go into one write: 0 for a write with everything, -1 for one with each frame.
    chop: int = 0
    #: Octets of the last frame that are never sent: the verdict must not wait for them.
    held_back: int = 0

    @property
    def closes_by_itself(self) -> bool:
        """Whether the end is part of the case, and not only how the conversation is brought to one."""
        return any(frame.opcode == CLOSE for frame in (*self.sends, *self.expected))

    def writes(self, is_masked: bool) -> Iterator[bytes]:
        frames = self.sends if self.closes_by_itself else (*self.sends, close())
        encoded = [frame.encode(is_masked) for frame in frames]
        if self.held_back:
            encoded[-1] = encoded[-1][: -self.held_back]
        if self.chop < 0:
            yield from encoded
            return
        whole = b"".join(encoded)
        size = self.chop or len(whole)
        yield from (whole[start : start + size] for start in range(0, len(whole), size))

    @property
    def answers(self) -> list[Frame]:
        return list(self.expected if self.closes_by_itself else (*self.expected, close()))


def text(payload: str | bytes, is_final: bool = True) -> Frame:
    return Frame(TEXT, payload.encode() if isinstance(payload, str) else payload, is_final)


def more(payload: str | bytes, is_final: bool = False) -> Frame:
    return Frame(CONTINUATION, payload.encode() if isinstance(payload, str) else payload, is_final)


def close(code: int = NORMAL, reason: bytes = b"") -> Frame:
    return Frame(CLOSE, close_payload(code, reason))


HELLO = text("Hello, world!")
#: What a failed connection is closed with; the reason is the end point's own affair.
FAILED, FAILED_TEXT = close(PROTOCOL_ERROR), close(NOT_UTF8)
CASES: dict[str, Case] = {}


def case(number: str, sends: list[Frame], *expected: Frame, chop: int = 0, held_back: int = 0) -> None:
    assert number not in CASES
    CASES[number] = Case(tuple(sends), expected, chop, held_back)


def in_octets(data: bytes, opcode: int = TEXT) -> list[Frame]:
    """A message of which each fragment is one octet."""
    last = len(data) - 1
    return [Frame(CONTINUATION if at else opcode, data[at : at + 1], at == last) for at in range(len(data))]


# 1: framing

SIZES = (0, 125, 126, 127, 128, 65_535, 65_536)
for kind, letter in ((TEXT, b"*"), (BINARY, b"\xfe")):
    for index, size in enumerate(SIZES):
        case(f"1.{kind}.{index + 1}", [Frame(kind, letter * size)], Frame(kind, letter * size))
    case(f"1.{kind}.8", [Frame(kind, letter * 65_536)], Frame(kind, letter * 65_536), chop=997)
    # Beyond the list: each of the small ones octet by octet.
    for index, size in enumerate(SIZES[:5]):
        case(f"1.{kind}.{index + 1}-octets", [Frame(kind, letter * size)], Frame(kind, letter * size), chop=1)

# 2: pings and pongs

for number, payload, chop in (
    *(("2.1", b"", 0), ("2.2", b"Hello, world!", 0), ("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", 0)),
    *(("2.4", b"\xfe" * 125, 0), ("2.6", b"\xfe" * 125, 1)),
):
    case(number, [Frame(PING, payload)], Frame(PONG, payload), chop=chop)
case("2.5", [Frame(PING, b"\xfe" * 126)], FAILED)
case("2.7", [Frame(PONG)])
case("2.8", [Frame(PONG, b"unsolicited")])
case("2.9", [Frame(PONG, b"unsolicited"), Frame(PING, b"asked")], Frame(PONG, b"asked"))
TEN = [b"payload-%d" % number for number in range(10)]
for number, chop in (("2.10", 0), ("2.11", 1)):
    case(number, [Frame(PING, name) for name in TEN], *(Frame(PONG, name) for name in TEN), chop=chop)

# 3: reserved bits

case("3.1", [Frame(TEXT, b"Hello", reserved=1)], FAILED)
for number, reserved, chop in (("3.2", 2, 0), ("3.3", 3, -1), ("3.4", 4, 1)):
    case(number, [HELLO, Frame(TEXT, b"again", reserved=reserved), Frame(PING)], HELLO, FAILED, chop=chop)
case("3.5", [Frame(BINARY, b"\x00\xff\xfe", reserved=5)], FAILED)
case("3.6", [Frame(PING, b"Hello", reserved=6)], FAILED)
case("3.7", [Frame(CLOSE, close_payload(NORMAL), reserved=7)], FAILED)

# 4: reserved opcodes

for group, first in (("4.1", 3), ("4.2", 11)):
    case(f"{group}.1", [Frame(first)], FAILED)
    case(f"{group}.2", [Frame(first + 1, b"reserved")], FAILED)
    for index, payload, chop in ((3, b"", 0), (4, b"reserved", -1), (5, b"reserved", 1)):
        sends = [HELLO, Frame(first + index - 1, payload), Frame(PING)]
        case(f"{group}.{index}", sends, HELLO, FAILED, chop=chop)

# 5: fragmentation

case("5.1", [Frame(PING, b"one", False), more("two", True)], FAILED)
case("5.2", [Frame(PONG, b"one", False), more("two", True)], FAILED)
TWO = [text("fragment1", False), more("fragment2", True)]
BETWEEN = [TWO[0], Frame(PING, b"ping"), TWO[1]]
JOINED = text("fragment1fragment2")
for index, chop in enumerate((0, -1, 1)):
    case(f"5.{3 + index}", TWO, JOINED, chop=chop)
    case(f"5.{6 + index}", BETWEEN, Frame(PONG, b"ping"), JOINED, chop=chop)
    case(f"5.{9 + index}", [more("nothing before", True), HELLO], FAILED, chop=chop)
    case(f"5.{12 + index}", [more("nothing before"), HELLO], FAILED, chop=chop)
case("5.15", [*TWO, more("nothing before"), HELLO], JOINED, FAILED)
for number, is_final in (("5.16", False), ("5.17", True)):
    case(number, [more("nothing before", is_final), text("begun", False), more("ended", True)] * 2, FAILED)
case("5.18", [text("fragment1", False), text("fragment2")], FAILED)
FIVE = [
    *(text("fragment1", False), more("fragment2"), Frame(PING, b"first")),
    *(more("fragment3"), more("fragment4"), Frame(PING, b"second"), more("fragment5", True)),
]
FIVE_JOINED = text("".join(f"fragment{number}" for number in range(1, 6)))
for number, chop in (("5.19", 0), ("5.20", -1)):
    case(number, FIVE, Frame(PONG, b"first"), Frame(PONG, b"second"), FIVE_JOINED, chop=chop)

# 6: UTF-8

case("6.1.1", [text("")], text(""))
case("6.1.2", [text("", False), more(""), more("", True)], text(""))
case("6.1.3", [text("", False), more("middle"), more("", True)], text("middle"))
GREETING, KOSME = "Hello-µ@ßöäüàá-UTF-8!!".encode(), "κόσμε".encode()
case("6.2.1", [text(GREETING)], text(GREETING))
case("6.2.2", [text(GREETING[:13], False), more(GREETING[13:], True)], text(GREETING))
case("6.2.3", in_octets(GREETING), text(GREETING))
case("6.2.4", in_octets(KOSME), text(KOSME))
SURROGATE = KOSME + b"\xed\xa0\x80" + b"edited"
case("6.3.1", [text(SURROGATE)], FAILED_TEXT)
case("6.3.2", in_octets(SURROGATE), FAILED_TEXT)
# The verdict comes with the first octet that cannot be: the message is never finished.
BEYOND = b"\xf4\x90\x80\x80"
case("6.4.1", [text(KOSME, False), more(BEYOND)], FAILED_TEXT)
case("6.4.2", [text(KOSME + BEYOND[:1], False), more(BEYOND[1:2])], FAILED_TEXT)
case("6.4.3", [text(KOSME + BEYOND + b"edited")], FAILED_TEXT, held_back=6)
case("6.4.4", [text(KOSME + BEYOND + b"edited")], FAILED_TEXT, held_back=8, chop=1)

#: Classes 6.5 to 6.23: sequences in their order.
SEQUENCES: dict[int, list[bytes]] = {
    5: [KOSME, KOSME + b" " + KOSME, GREETING + KOSME, KOSME * 20, "ß水𐍈".encode()],
    6: [KOSME[:length] for length in range(1, 12)],
    7: [b"\x00", b"\xc2\x80", b"\xe0\xa0\x80", b"\xf0\x90\x80\x80"],
    8: [b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80"],
    9: [b"\x7f", b"\xdf\xbf", b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf"],
    10: [b"\xf7\xbf\xbf\xbf", b"\xfb\xbf\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf\xbf"],
    11: [b"\xed\x9f\xbf", b"\xee\x80\x80", b"\xef\xbf\xbd", b"\xf4\x8f\xbf\xbf", BEYOND],
    12: [b"\x80", b"\xbf", *((b"\x80\xbf" * 3)[:length] for length in range(2, 7)), bytes(range(0x80, 0xC0))],
    13: [
        b"".join(bytes((first, 0x20)) for first in firsts)
        for firsts in (range(0xC0, 0xE0), range(0xE0, 0xF0), range(0xF0, 0xF8), range(0xF8, 0xFC), (0xFC, 0xFD))
    ],
    14: [
        *(b"\xc0", b"\xe0\x80", b"\xf0\x80\x80", b"\xf8\x80\x80\x80", b"\xfc\x80\x80\x80\x80"),
        *(b"\xdf", b"\xef\xbf", b"\xf7\xbf\xbf", b"\xfb\xbf\xbf\xbf", b"\xfd\xbf\xbf\xbf\xbf"),
    ],
    16: [b"\xfe", b"\xff", b"\xfe\xfe\xff\xff"],
    17: [b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    18: [b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    19: [b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    20: [b"\xed" + tail for tail in (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf", b"\xb0\x80", b"\xbe\x80")],
    21: [
        b"\xed" + high + b"\xed" + low
        for high in (b"\xa0\x80", b"\xad\xbf", b"\xae\x80", b"\xaf\xbf")
        for low in (b"\xb0\x80", b"\xbf\xbf")
    ],
    22: [chr(plane << 16 | last).encode() for last in (0xFFFE, 0xFFFF) for plane in range(17)],
    23: [chr(number).encode() for number in range(0xFFF9, 0x10000)],
}
SEQUENCES[15] = [b"".join(SEQUENCES[14])]
SEQUENCES[20].append(b"\xed\xbf\xbf")


def is_utf8(data: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        data.decode()
        return True
    return False


for group, sequences in SEQUENCES.items():
    for index, sequence in enumerate(sequences):
        answer = text(sequence) if is_utf8(sequence) else FAILED_TEXT
        case(f"6.{group}.{index + 1}", [text(sequence)], answer)
        if len(sequence) > 1:
            # Beyond the list: cut within its code points.
            case(f"6.{group}.{index + 1}-fragments", in_octets(sequence), answer)

# 7: the end

case("7.1.1", [HELLO, close()], HELLO, close())
case("7.1.2", [close(), close()], close())
case("7.1.3", [close(), Frame(PING)], close())
case("7.1.4", [close(), HELLO], close())
case("7.1.5", [text("fragment1", False), close(), more("fragment2", True)], close())
LONG = text("BAsd7&jh23" * 26_214)
case("7.1.6", [LONG, HELLO, close(), Frame(PING)], LONG, HELLO, close())
case("7.3.1", [Frame(CLOSE)], Frame(CLOSE))
case("7.3.2", [Frame(CLOSE, b"a")], FAILED)
case("7.3.3", [close()], close())
case("7.3.4", [close(NORMAL, b"Hello World!")], close(NORMAL, b"Hello World!"))
case("7.3.5", [close(NORMAL, b"*" * 123)], close(NORMAL, b"*" * 123))
case("7.3.6", [close(NORMAL, b"*" * 124)], FAILED)
case("7.5.1", [close(NORMAL, SURROGATE)], FAILED_TEXT)
LAWFUL = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
for index, code in enumerate(LAWFUL):
    case(f"7.7.{index + 1}", [close(code)], close(code))
for index, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)):
    case(f"7.9.{index + 1}", [close(code)], FAILED)
for index, code in enumerate((5000, 65_535)):
    case(f"7.13.{index + 1}", [close(code)], FAILED)


# Playing


def play(tunnel: Tunnel, played: Case, is_client: bool) -> list[Frame]:
    """Sends what the case sends, and returns what came back up to the end, which must be an orderly one."""
    has_closed = not played.closes_by_itself or any(frame.opcode == CLOSE for frame in played.sends)
    for data in played.writes(is_masked=is_client):
        tunnel.send(data)
    received, frames = b"", []
    while data := tunnel.receive():
        whole, received = take_frames(received + data)
        frames += whole
        if any(frame.opcode == CLOSE for frame in whole):
            if not has_closed:
                tunnel.send(Frame(CLOSE, whole[-1].payload[:2]).encode(is_client))
            # It is the server who ends the transport (section 7.1.1).
            if not is_client:
                tunnel.end()
    tunnel.end()
    assert not received, "the last frame is cut off"
    return frames


def shown(frames: list[Frame]) -> list[str]:
    """Frames without the words of an end point that fails a connection."""
    codes = (close_payload(PROTOCOL_ERROR), close_payload(NOT_UTF8))
    return [
        str(Frame(CLOSE, frame.payload[:2]) if frame.opcode == CLOSE and frame.payload[:2] in codes else frame)
        for frame in frames
    ]


class EndPoints:
    """The upstream's side: it says back, or it plays the case that the path names."""

    def __init__(self):
        self.played: dict[str, Future[list[Frame]]] = {}

    def __call__(self, connection: UpstreamConnection) -> None:
        request = connection.read_request()
        connection.peer.settimeout(SECONDS_MAX)
        connection.send(switched(request))
        tunnel = Stream(connection.peer)
        name = request.target.rpartition("/")[2]
        if name == "echo":
            say_back(tunnel, is_client=False)
            return
        outcome = self.played[name]
        try:
            outcome.set_result(play(tunnel, CASES[name.partition("~")[0]], is_client=False))
        except BaseException as error:
            outcome.set_exception(error)


@pytest.fixture(scope="module")
def tunnelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    with FakeUpstream(EndPoints()) as upstream:
        changes = {"workers": 1, "stop_timeout": "1s"}
        with Gateway(tmp_path_factory.mktemp("tunnels"), {"raw": upstream.port}, changes) as gateway:
            yield gateway, upstream
        assert not upstream.errors


@contextlib.contextmanager
def opened(gateway: Gateway, upstream: FakeUpstream, way: str, path: str) -> Iterator[Tunnel]:
    if way == "HTTP/2":
        tunnel: Tunnel = StreamOfHTTP2(gateway.http2(), path)
    else:
        tunnel = upgrade(connect(upstream.port if way == "none" else gateway.plain_port), path)
    try:
        yield tunnel
    finally:
        tunnel.close()


def outcome_of(gateway: Gateway, upstream: FakeUpstream, way: str, player: str, name: str) -> list[str]:
    """What the strict end point answered to this case, with this in between."""
    if player == "client":
        with opened(gateway, upstream, way, "/public/echo") as tunnel:
            return shown(play(tunnel, CASES[name], is_client=True))
    key = f"{name}~{way[-1]}"
    played = upstream.script.played[key] = Future()
    with opened(gateway, upstream, way, f"/public/{key}") as tunnel:
        say_back(tunnel, is_client=True)
        return shown(played.result(SECONDS_MAX))


@pytest.mark.parametrize("name", CASES)
def test_a_client_plays(tunnelled: tuple[Gateway, FakeUpstream], name: str):
    check(*tunnelled, "client", name)


#: Frames that a client would never mask pass the other way; the sequences need no second reading fragment by fragment.
@pytest.mark.parametrize("name", [name for name in CASES if not name.endswith("-fragments")])
def test_an_upstream_plays(tunnelled: tuple[Gateway, FakeUpstream], name: str):
    check(*tunnelled, "upstream", name)


def check(gateway: Gateway, upstream: FakeUpstream, player: str, name: str) -> None:
    alone = outcome_of(gateway, upstream, "none", player, name)
    assert alone == shown(CASES[name].answers), "the end point itself is not strict"
    for way in ("HTTP/1.1", "HTTP/2"):
        assert outcome_of(gateway, upstream, way, player, name) == alone, way


# What lasts

MIB = 1024 * 1024


@pytest.mark.parametrize("kind", [TEXT, BINARY], ids=["text", "binary"])
@pytest.mark.parametrize("way", ["HTTP/1.1", "HTTP/2"])
def test_messages_of_4_MiB_pass_both_ways(tunnelled: tuple[Gateway, FakeUpstream], way: str, kind: int):
    """Whole, and in fragments with a ping between any two of them."""
    unit = "κόσμε 0123456789".encode() if kind == TEXT else bytes(range(256))
    message = (unit * (4 * MIB // len(unit) + 1))[: 4 * MIB - (4 * MIB) % len(unit)]
    message += b"." * (4 * MIB - len(message))
    size = 256 * 1024
    pieces = [message[start : start + size] for start in range(0, len(message), size)]
    fragments = [Frame(CONTINUATION if at else kind, piece, at == len(pieces) - 1) for at, piece in enumerate(pieces)]
    sends = [Frame(kind, message)]
    for at, fragment in enumerate(fragments):
        sends += [fragment] if at == len(fragments) - 1 else [fragment, Frame(PING, b"%d" % at)]
    pongs = [Frame(PONG, b"%d" % at) for at in range(len(fragments) - 1)]
    whole = Frame(kind, message)
    with opened(*tunnelled, way, "/public/echo") as tunnel:
        assert play(tunnel, Case(tuple(sends), chop=-1), is_client=True) == [whole, *pongs, whole, close()]


#: The whole of it takes 72 seconds: WEBSOCKET_PINGS=3600.
PINGS = int(os.environ.get("WEBSOCKET_PINGS", "200"))
PING_EVERY, IDLE_SECONDS = 0.02, 1


@pytest.fixture
def impatient(tunnelled: tuple[Gateway, FakeUpstream], start_gateway) -> Gateway:
    """A tunnel may be silent for a second."""
    gateway = start_gateway({"raw": tunnelled[1].port}, {"workers": 1, "stop_timeout": "1s"}, is_started=False)
    for listener in gateway.configuration["listeners"][:2]:
        listener["tunnel_idle_timeout"] = f"{IDLE_SECONDS}s"
    gateway.write()
    return gateway.start()


@pytest.mark.timeout(120 + PINGS * PING_EVERY * 6)
def test_pings_keep_a_tunnel_open_and_silence_ends_it(impatient: Gateway, tunnelled: tuple[Gateway, FakeUpstream]):
    """So many pings, one each 20 ms, of which each is answered; a tunnel's time is one second."""

    def keep_alive(way: str) -> tuple[int, float]:
        """How many were answered before the tunnel ended, and the longest that it was silent for."""
        longest, last = 0.0, time.monotonic()
        begun, received = last, b""
        with opened(impatient, tunnelled[1], way, "/public/echo") as tunnel:
            for number in range(PINGS):
                time.sleep(max(0, begun + number * PING_EVERY - time.monotonic()))
                name = b"%d" % number
                tunnel.send(Frame(PING, name).encode(is_masked=True))
                frames: list[Frame] = []
                while not frames:
                    try:
                        data = tunnel.receive()
                    except OSError:
                        data = b""
                    longest, last = max(longest, time.monotonic() - last), time.monotonic()
                    if not data:
                        return number, longest
                    frames, received = take_frames(received + data)
                assert frames == [Frame(PONG, name)]
            # And now nobody says anything.
            assert tunnel.receive() == b""
            assert time.monotonic() - last > IDLE_SECONDS * 0.9
        return PINGS, longest

    def lasts(way: str) -> bool:
        # A machine that held this client up for as long has ended the tunnel, and rightly: then it begins anew.
        for _ in range(5):
            answered, longest = keep_alive(way)
            if answered == PINGS:
                return True
            assert longest > IDLE_SECONDS * 0.9, (
                f"{way}: ended at ping {answered}, never silent for more than {longest} s"
            )
        return False

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lasts, ("HTTP/1.1", "HTTP/2"))) == [True, True]
    wait_until(lambda: impatient.log().count('"error_step":"tunnel.idle"') >= 2, "the log says so")
