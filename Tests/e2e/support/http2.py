"""HTTP/2 on the wire: frames as a test wants them, lawful or not, and what came back, stream by stream.

Frames are written and read here, from RFC 9113 alone; header compression is the `hpack` package's.
"""

import contextlib
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11

#: Settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
TABLE_SIZE, ENABLE_PUSH, STREAMS_MAX, WINDOW, FRAME_SIZE, FIELD_BYTES = range(1, 7)
CONNECT_PROTOCOL = 8

Fields = list[tuple[str | bytes, str | bytes]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(**values: int) -> bytes:
    numbers = {"window": WINDOW, "frame_size": FRAME_SIZE, "table_size": TABLE_SIZE, "push": ENABLE_PUSH}
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", numbers[name], value) for name, value in values.items()))


def window_update(stream: int, count: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", count))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def raw_settings(*pairs: tuple[int, int]) -> bytes:
    """SETTINGS with these identifiers and values, in this order, known or not."""
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", number, value) for number, value in pairs))


# Header compression by hand, for what the package would not write (RFC 7541)

LITERAL, LITERAL_NEVER, LITERAL_INDEXED = 0x00, 0x10, 0x40


def integer(value: int, prefix: int, pattern: int = 0) -> bytes:
    """An integer with a prefix of so many bits, below the bits of `pattern` (section 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes((pattern | value,))
    data, value = bytes((pattern | most,)), value - most
    while value >= 128:
        data, value = data + bytes((value & 127 | 128,)), value >> 7
    return data + bytes((value,))


def string(text: bytes) -> bytes:
    """A string without Huffman's code (section 5.2)."""
    return integer(len(text), 7) + text


def literal(fields: Fields, pattern: int = LITERAL) -> bytes:
    """A field section of literals with new names (section 6.2); it needs no table, and by default leaves none."""
    pairs = [[part.encode("latin-1") if isinstance(part, str) else part for part in pair] for pair in fields]
    return b"".join(bytes((pattern,)) + string(name) + string(value) for name, value in pairs)


def pseudo(path: str = "/", method: str = "GET", authority: str = "raw.demo.localhost") -> Fields:
    """The pseudo fields of a lawful request."""
    return [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]


def connect_fields(path: str, **more: str) -> Fields:
    """An extended CONNECT for a WebSocket (RFC 8441 section 4); a name of `more` replaces one that is there."""
    fields = {**dict(pseudo(path, "CONNECT")), ":protocol": "websocket", "sec-websocket-version": "13"}
    return list({**fields, **more}.items())


@dataclass
class Stream:
    """What came back on one stream."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[list[tuple[str, str]]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    is_ended: bool = False
    reset_code: int | None = None

    @property
    def status(self) -> int | None:
        return int(dict(self.fields)[":status"]) if self.fields else None

    @property
    def is_over(self) -> bool:
        return self.is_ended or self.reset_code is not None

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


class Connection:
    """A client that does what it is told to, and nothing else but to acknowledge settings."""

    def __init__(self, raw: socket.socket, opens: bool = True, timeout: float = 20, **values: int):
        self.socket = raw
        self.timeout = timeout
        self.encoder, self.decoder = Encoder(), Decoder()
        self.streams: dict[int, Stream] = {}
        self.next_stream = 1
        self.settings: dict[int, int] = {}
        self.goaway: int | None = None
        self.goaway_stream: int | None = None
        self.is_closed = False
        self.pongs: list[bytes] = []
        self.gives_window = True
        #: What the peer has given more than at the beginning, by stream; 0 is the connection.
        self.window_given: dict[int, int] = {}
        self.acknowledgements = 0
        #: What may still be sent, on the connection (0) and on each stream that has said so.
        self.windows: dict[int, int] = {0: 65_535}
        #: The longest frame that the peer may send.
        self.frame_size_max = values.get("frame_size", 16_384)
        self._input = b""
        self._block: tuple[int, int, bytes] | None = None
        if opens:
            self.send(PREFACE + settings(**values))

    # Out

    def send(self, data: bytes) -> None:
        """Sends bytes as they are; a peer that is gone shows when reading."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def block(self, fields: Fields) -> bytes:
        """A field section, names and values as they are."""
        raw = [tuple(part.encode("latin-1") if isinstance(part, str) else part for part in pair) for pair in fields]
        return self.encoder.encode(raw, huffman=False)

    def request(
        self,
        path: str = "/",
        fields: Fields = (),
        method: str = "GET",
        authority: str = "raw.demo.localhost",
        ends: bool = True,
        body: bytes | None = None,
    ) -> int:
        """Opens a stream with a lawful head and returns its number."""
        return self.open([*pseudo(path, method, authority), *fields], ends=ends and body is None, body=body)

    def open(self, fields: Fields, ends: bool = True, body: bytes | None = None) -> int:
        """Opens a stream with exactly these fields."""
        stream = self.next_stream
        self.next_stream += 2
        self.streams[stream] = Stream()
        self.send(self.head(stream, self.block(fields), ends))
        if body is not None:
            self.data(stream, body)
        return stream

    @staticmethod
    def head(stream: int, block: bytes, ends: bool) -> bytes:
        """HEADERS, and CONTINUATION where it does not fit."""
        parts = [block[start : start + 16_384] for start in range(0, max(len(block), 1), 16_384)]
        data = b""
        for index, part in enumerate(parts):
            flags = END_HEADERS if index == len(parts) - 1 else 0
            kind = CONTINUATION if index else HEADERS
            data += frame(kind, flags | (END_STREAM if ends and index == 0 else 0), stream, part)
        return data

    def data(self, stream: int, body: bytes, ends: bool = True) -> None:
        """DATA frames, whatever the window."""
        parts = [body[start : start + 16_384] for start in range(0, max(len(body), 1), 16_384)]
        for index, part in enumerate(parts):
            self.send(frame(DATA, END_STREAM if ends and index == len(parts) - 1 else 0, stream, part))

    def upload(self, stream: int, body: bytes, ends: bool = True) -> None:
        """DATA frames within the windows that the peer gives, until its answer is over or the connection is."""
        first = self.settings.get(WINDOW, 65_535)
        answer, start = self.streams[stream], 0
        while start < len(body) or (ends and not body):
            given = self.windows.setdefault(stream, 0)
            room = min(first + given, self.windows[0], 16_384)
            if body and room <= 0:
                self.until(
                    lambda: answer.is_over or self.windows[0] > 0 and first + self.windows[stream] > 0,
                    "there is window or an answer",
                )
                if answer.is_over:
                    return
                continue
            part = body[start : start + room]
            start += len(part)
            self.windows[0] -= len(part)
            self.windows[stream] -= len(part)
            self.send(frame(DATA, END_STREAM if ends and start == len(body) else 0, stream, part))
            if not body:
                return

    # In

    def read(self) -> bool:
        """Takes what comes next, at least one frame; `False` when the peer has closed."""
        while len(self._input) < 9 or len(self._input) < 9 + self._length():
            try:
                received = self.socket.recv(65_536)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
                received = b""
            if not received:
                self.is_closed = True
                return False
            self._input += received
        length = self._length()
        kind, flags = self._input[3], self._input[4]
        stream = struct.unpack(">I", self._input[5:9])[0] & 0x7FFF_FFFF
        payload, self._input = self._input[9 : 9 + length], self._input[9 + length :]
        assert length <= self.frame_size_max, "a frame longer than allowed"
        self._take(kind, flags, stream, payload)
        return True

    def until(self, is_true, what: str) -> None:
        """Reads until a condition holds; fails when the peer closes first, or after the timeout."""
        deadline = time.monotonic() + self.timeout
        while not is_true():
            left = deadline - time.monotonic()
            assert left > 0, f"timed out while waiting until {what}"
            self.socket.settimeout(left)
            try:
                is_open = self.read()
            except TimeoutError:
                raise AssertionError(f"timed out while waiting until {what}") from None
            assert is_open or is_true(), f"closed before {what}; GOAWAY {self.goaway}"

    def answer(self, stream: int) -> Stream:
        """The whole answer of a stream, or its reset."""
        self.until(lambda: self.streams[stream].is_over, f"stream {stream} is over")
        return self.streams[stream]

    def get(self, path: str = "/", fields: Fields = (), **options) -> Stream:
        return self.answer(self.request(path, fields, **options))

    def until_closed(self) -> None:
        """Reads until the peer has closed."""
        deadline = time.monotonic() + self.timeout
        while not self.is_closed:
            left = deadline - time.monotonic()
            assert left > 0, "timed out while waiting until the peer closes"
            self.socket.settimeout(left)
            try:
                self.read()
            except TimeoutError:
                raise AssertionError("timed out while waiting until the peer closes") from None

    def ping(self) -> None:
        """Waits until everything sent before was read."""
        count = len(self.pongs)
        self.send(frame(PING, 0, 0, struct.pack(">Q", count)))
        self.until(lambda: len(self.pongs) > count, "a ping is answered")

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _length(self) -> int:
        return int.from_bytes(self._input[:3])

    def _take(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            self._take_block(kind, flags, number, payload)
            return
        assert self._block is None, "a frame within a field section"
        if kind == SETTINGS and not flags & ACK:
            assert number == 0
            self.settings |= dict(struct.iter_unpack(">HI", payload))
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == SETTINGS:
            self.acknowledgements += 1
        elif kind == DATA:
            stream = self.streams[number]
            assert not stream.is_over, "DATA behind the end of a stream"
            stream.body += payload
            stream.is_ended = bool(flags & END_STREAM)
            if payload and self.gives_window:
                self.send(window_update(0, len(payload)) + window_update(number, len(payload)))
        elif kind == RST_STREAM:
            self.streams[number].reset_code = struct.unpack(">I", payload)[0]
        elif kind == GOAWAY:
            last, self.goaway = struct.unpack(">II", payload[:8])
            self.goaway_stream = last
        elif kind == PING:
            if flags & ACK:
                self.pongs.append(payload)
            else:
                self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            self.window_given[number] = self.window_given.get(number, 0) + struct.unpack(">I", payload)[0]
            self.windows[number] = self.windows.get(number, 0) + struct.unpack(">I", payload)[0]
        else:
            raise AssertionError(f"an unexpected frame of type {kind}")

    def _take_block(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        assert not flags & (PADDED | WITH_PRIORITY), "a server has no reason to pad"
        if kind == HEADERS:
            assert self._block is None, "HEADERS within a field section"
            self._block = (number, flags, payload)
        else:
            assert self._block and self._block[0] == number, "CONTINUATION of another stream"
            self._block = (number, self._block[1], self._block[2] + payload)
        if not flags & END_HEADERS:
            return
        (number, first_flags, block), self._block = self._block, None
        fields = [(_text(name), _text(value)) for name, value in self.decoder.decode(block, raw=True)]
        assert all(name == name.lower() for name, _ in fields)
        stream = self.streams[number]
        assert not stream.is_over, "HEADERS behind the end of a stream"
        if stream.fields:
            stream.trailers = fields
        elif dict(fields)[":status"].startswith("1"):
            stream.interim.append(fields)
            return
        else:
            stream.fields = fields
        stream.is_ended = bool(first_flags & END_STREAM)


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
