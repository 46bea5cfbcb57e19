"""A keep-alive HTTP client of few lines: one connection, one request at a time, exact bytes."""

import socket
import ssl
from dataclasses import dataclass

from .processes import Failure

SECONDS_MAX = 120


@dataclass(frozen=True)
class Answer:
    """A response; field names in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


def tls_context() -> ssl.SSLContext:
    """Certificates are not checked: they were made a moment ago by the same program."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(port: int, context: ssl.SSLContext | None) -> socket.socket:
    """A connection to a loopback port, after its handshake."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost") if context else plain


class Client:
    """One connection; a context manager that closes it."""

    def __init__(self, port: int, tls: bool):
        self.socket = connect(port, tls_context() if tls else None)
        self._host = f"localhost:{port}"
        self._received = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, path: str = "/", fields: list[tuple[str, str]] | None = None, body: bytes | None = None) -> bytes:
        """The bytes of a GET, or of a POST if there is a body, for `exchange`."""
        lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in fields or []]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")

    def exchange(self, request: bytes) -> Answer:
        """Sends a request and reads its whole response, which must have a Content-Length."""
        self.socket.sendall(request)
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            self._read()
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "content-length" not in fields:
            raise Failure(f"an answer without Content-Length: {first} {fields}")
        start, length = end + 4, int(fields["content-length"])
        while len(self._received) < start + length:
            self._read()
        body = bytes(self._received[start : start + length])
        del self._received[: start + length]
        return Answer(int(first.split(" ")[1]), fields, body)

    def _read(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Failure(f"the connection ended within an answer, after {bytes(self._received[-1000:])!r}")
        self._received += data
