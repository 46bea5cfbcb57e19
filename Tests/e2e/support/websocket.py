"""WebSocket on the wire (RFC 6455): the handshake, frames as a test wants them, tunnels of both versions of HTTP.

Frames are written and read here, from the RFC alone; the strict end point that says messages back is `wsproto`'s.
"""

import base64
import contextlib
import hashlib
import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from . import http2
from .wire import Message

CONTINUATION, TEXT, BINARY = 0x0, 0x1, 0x2
CLOSE, PING, PONG = 0x8, 0x9, 0xA

KEY = base64.b64encode(bytes(16)).decode()
MASK = b"\x37\xfa\x21\x3d"


def accept_for(key: str) -> bytes:
    """The answer to this `Sec-WebSocket-Key` (section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest()
    return base64.b64encode(digest)


def switched(request: Message) -> bytes:
    """What a server answers to this handshake."""
    accept = accept_for(request.get("sec-websocket-key"))
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack(">H", code) + reason


@dataclass(frozen=True)
class Frame:
    """One frame (section 5.2), lawful or not."""

    opcode: int
    payload: bytes = b""
    is_final: bool = True
    #: The three bits beside the first, of which no extension has been agreed on.
    reserved: int = 0

    def encode(self, is_masked: bool) -> bytes:
        length = len(self.payload)
        first = self.is_final << 7 | self.reserved << 4 | self.opcode
        mask_bit = is_masked << 7
        if length < 126:
            head = struct.pack(">BB", first, mask_bit | length)
        elif length < 65_536:
            head = struct.pack(">BBH", first, mask_bit | 126, length)
        else:
            head = struct.pack(">BBQ", first, mask_bit | 127, length)
        return head + MASK + masked(self.payload, MASK) if is_masked else head + self.payload

    def __str__(self) -> str:
        shown = self.payload if len(self.payload) < 40 else self.payload[:40] + b"..."
        return f"{self.opcode:X}{'' if self.is_final else '+'} {len(self.payload)} {shown!r}"


def masked(data: bytes, key: bytes) -> bytes:
    """These octets under this key, or from under it (section 5.3)."""
    long_key = (key * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(long_key)).to_bytes(len(data))


def take_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning, and what follows them."""
    frames, start = [], 0
    while len(data) >= start + 2:
        first, second = data[start], data[start + 1]
        length, at = second & 127, start + 2
        if length >= 126:
            size = 2 if length == 126 else 8
            if len(data) < at + size:
                break
            length, at = int.from_bytes(data[at : at + size]), at + size
        key, at = (data[at : at + 4], at + 4) if second & 128 else (b"", at)
        if len(data) < at + length:
            break
        payload = data[at : at + length]
        frames.append(Frame(first & 15, masked(payload, key) if key else payload, bool(first & 128), first >> 4 & 7))
        start = at + length
    return frames, data[start:]


# Tunnels


class Tunnel(Protocol):
    """A way for octets in both directions, each of which ends by itself."""

    def send(self, data: bytes) -> None: ...

    def receive(self) -> bytes:
        """What comes next; nothing at the end."""

    def end(self) -> None:
        """Says that no more will be sent."""

    def close(self) -> None: ...


class Stream:
    """A TCP connection that has switched protocols."""

    def __init__(self, peer: socket.socket, received: bytes = b""):
        self.peer = peer
        self._received = received

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)

    def receive(self) -> bytes:
        data, self._received = self._received, b""
        return data or self.peer.recv(262_144)

    def end(self) -> None:
        # Whoever was quicker has closed already.
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.peer.close()


def upgrade(peer: socket.socket, path: str, fields: bytes = b"") -> Stream:
    """Switches a connection of HTTP/1.1 to a WebSocket."""
    peer.settimeout(20)
    peer.sendall(
        f"GET {path} HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n".encode()
        + fields
        + b"\r\n"
    )
    received = b""
    while b"\r\n\r\n" not in received:
        block = peer.recv(65_536)
        assert block, received
        received += block
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert accept_for(KEY) in head
    return Stream(peer, rest)


class StreamOfHTTP2:
    """A WebSocket within a stream of HTTP/2 (RFC 8441), alone on its connection."""

    def __init__(self, connection: http2.Connection, path: str):
        self.connection = connection
        self.number = connection.open(http2.connect_fields(path), ends=False)
        self.answer = connection.streams[self.number]
        connection.until(lambda: self.answer.fields or self.answer.is_over, "the tunnel is open")
        assert self.answer.status == 200, self.answer

    def send(self, data: bytes) -> None:
        self.connection.upload(self.number, data, ends=False)

    def receive(self) -> bytes:
        self.connection.until(lambda: self.answer.body or self.answer.is_over, "octets come")
        data, self.answer.body = self.answer.body, b""
        if not data and self.answer.reset_code is not None:
            raise ConnectionResetError(f"the stream was reset with {self.answer.reset_code}")
        return data

    def end(self) -> None:
        self.connection.data(self.number, b"", ends=True)

    def close(self) -> None:
        self.connection.close()


# The strict end point


def say_back(tunnel: Tunnel, is_client: bool) -> None:
    """Answers each message with itself and all else as the RFC wants it, until the connection is over."""
    connection = Connection(ConnectionType.CLIENT if is_client else ConnectionType.SERVER)
    pieces: list[str | bytes] = []
    while data := tunnel.receive():
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, TextMessage | BytesMessage):
                pieces.append(event.data)
                if event.message_finished:
                    whole = type(event.data)().join(pieces)
                    pieces.clear()
                    tunnel.send(connection.send(type(event)(data=whole)))
            elif isinstance(event, Ping):
                tunnel.send(connection.send(event.response()))
            elif isinstance(event, CloseConnection):
                tunnel.send(connection.send(event.response()))
                # The server is the one who ends the transport (section 7.1.1), even if the client has more to say.
                if not is_client:
                    tunnel.end()
                while tunnel.receive():
                    pass
                tunnel.end()
                return
            else:
                assert isinstance(event, Pong)
