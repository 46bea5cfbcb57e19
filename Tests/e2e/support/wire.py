"""HTTP/1.1 on the wire: exact bytes out, and a strict reading of what came back.

The parser is written from RFC 9112 alone and shares nothing with the gateway's, so that an upstream which
reads what the gateway sent disagrees with it wherever one of the two is wrong.
"""

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
FIELD_VALUE = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.([01])")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9]) ([\t \x21-\x7e\x80-\xff]*)")
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[\t ]*;[\x21-\x7e\x80-\xff\t ]*)?)")


class Incomplete(Exception):
    """The bytes end before the message does."""


class Malformed(Exception):
    """The bytes are no HTTP/1.1 message."""


@dataclass
class Message:
    """A request or a response, with its body decoded and its fields in the order they came."""

    start: bytes
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def method(self) -> str:
        return self.start.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.start.split(b" ")[1].decode()

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    def all(self, name: str) -> list[str]:
        """The values of each line with this name, whatever its case."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        """The value of a field that may come once; None without it."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None


def take_request(data: bytes) -> tuple[Message, bytes]:
    """The first request in `data`, and what follows it."""
    message, rest = _take_head(data, REQUEST_LINE)
    if len(message.all("host")) != 1:
        raise Malformed("not exactly one Host")
    length = _framing(message)
    return _take_body(message, rest, length if length is not None else 0)


def take_response(data: bytes, to_method: str = "GET", closed: bool = True) -> tuple[Message, bytes]:
    """The first response in `data`, and what follows it; `closed` says whether the peer will send no more."""
    message, rest = _take_head(data, STATUS_LINE)
    if message.status < 200 or message.status in (204, 304) or to_method == "HEAD":
        return message, rest
    length = _framing(message)
    if length is None:
        if not closed:
            raise Incomplete("the body lasts until the connection closes")
        message.body = rest
        return message, b""
    return _take_body(message, rest, length)


def responses(data: bytes, *to_methods: str) -> list[Message]:
    """Every response in `data`, which was answered to requests with these methods (GET unless given)."""
    found, methods = [], list(to_methods)
    while data:
        method = methods[0] if methods else "GET"
        message, data = take_response(data, method)
        if message.status >= 200 and methods:
            methods.pop(0)
        found.append(message)
    return found


def _take_head(data: bytes, start_line: re.Pattern[bytes]) -> tuple[Message, bytes]:
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        raise Incomplete("the head does not end")
    lines = head.split(b"\r\n")
    if not start_line.fullmatch(lines[0]):
        raise Malformed(f"start line {lines[0]!r}")
    return Message(lines[0], [_field(line) for line in lines[1:]]), rest


def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    value = value.strip(b" \t")
    if not colon or not TOKEN.fullmatch(name) or not FIELD_VALUE.fullmatch(value):
        raise Malformed(f"field {line!r}")
    return name.decode("ascii"), value.decode("latin-1")


def _framing(message: Message) -> int | str | None:
    """The length of the body, or "chunked"; None where nothing says how long it is."""
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if codings:
        if lengths or [coding.lower() for coding in codings] != ["chunked"]:
            raise Malformed(f"framing {codings} with lengths {lengths}")
        return "chunked"
    if not lengths:
        return None
    if len(lengths) != 1 or not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
        raise Malformed(f"lengths {lengths}")
    return int(lengths[0])


def _take_body(message: Message, rest: bytes, length: int | str) -> tuple[Message, bytes]:
    if length == "chunked":
        return _take_chunks(message, rest)
    if len(rest) < length:
        raise Incomplete(f"{len(rest)} of {length} bytes")
    message.body, rest = rest[:length], rest[length:]
    return message, rest


def _take_chunks(message: Message, rest: bytes) -> tuple[Message, bytes]:
    blocks = []
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            raise Incomplete("a chunk's size does not end")
        match = CHUNK_LINE.fullmatch(line)
        if not match:
            raise Malformed(f"chunk line {line!r}")
        size = int(match[1], 16)
        if size == 0:
            break
        if len(rest) < size + 2:
            raise Incomplete("a chunk does not end")
        if rest[size : size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than it says")
        blocks.append(rest[:size])
        rest = rest[size + 2 :]
    while True:
        line, separator, rest = rest.partition(b"\r\n")
        if not separator:
            raise Incomplete("the trailers do not end")
        if not line:
            message.body = b"".join(blocks)
            return message, rest
        message.trailers.append(_field(line))


def connect(
    port: int,
    tls: ssl.SSLContext | None = None,
    name: str = "localhost",
    source: str | None = None,
    timeout: float = 10,
) -> socket.socket:
    """A connection to a loopback port, through TLS for the server `name` where a context is given."""
    peer = socket.create_connection(("127.0.0.1", port), timeout, (source, 0) if source else None)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.wrap_socket(peer, server_hostname=name) if tls else peer


def read_all(peer: socket.socket, timeout: float = 10) -> tuple[bytes, bool]:
    """What the peer sends until it closes (True) or until nothing came for `timeout` seconds (False)."""
    peer.settimeout(timeout)
    received = bytearray()
    while True:
        try:
            block = peer.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return bytes(received), False
        except (ConnectionResetError, ssl.SSLError):
            return bytes(received), True
        if not block:
            return bytes(received), True
        received += block


def read_response(peer: socket.socket, to_method: str = "GET", timeout: float = 10) -> Message:
    """One final response, read no further than it goes (more bytes behind it would be an error)."""
    peer.settimeout(timeout)
    received, closed = b"", False
    while True:
        try:
            message, rest = take_response(received, to_method, closed)
            if message.status < 200 and message.status != 101:
                received = rest
                continue
            assert message.status == 101 or not rest, f"bytes after the response: {rest[:80]!r}"
            return message
        except Incomplete:
            if closed:
                raise
            block = peer.recv(65536)
            received, closed = received + block, not block


def raw(
    port: int, data: bytes, tls: ssl.SSLContext | None = None, name: str = "localhost", timeout: float = 10
) -> tuple[bytes, bool]:
    """Sends these bytes and returns all that comes back, and whether the peer closed."""
    with connect(port, tls, name, timeout=timeout) as peer:
        # Refused before the end was read: the answer is still to be had.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(data)
        return read_all(peer, timeout)
