"""One way to ask over either version of HTTP, so that a rule can be tried over both."""

import contextlib
from dataclasses import dataclass, field

from .gateway import Gateway
from .http2 import END_HEADERS, END_STREAM, HEADERS, Connection, Fields, Stream, frame, pseudo
from .wire import Incomplete, Message, connect, read_all, responses

VERSIONS = ("HTTP/1.1", "HTTP/2")
HOST = "raw.demo.localhost"
#: Requests on one HTTP/2 connection that are refused before it is left: its account of glitches is another test's.
REFUSALS_MAX = 30


@dataclass
class Answer:
    """What came back; without a status there was no answer, and `error` is the code that said so, if one did."""

    status: int | None = None
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: int | None = None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    @property
    def is_refused(self) -> bool:
        """By an error of the client's, or without an answer."""
        return self.status is None or 400 <= self.status < 500


class Client:
    """Asks one gateway, one request at a time."""

    version: str

    def __init__(self, gateway: Gateway, source: str | None = None):
        self.gateway = gateway
        self.source = source

    def ask(
        self,
        target: str,
        fields: Fields = (),
        method: str = "GET",
        host: str = HOST,
        body: bytes | None = None,
        trailers: Fields = (),
    ) -> Answer:
        """One request; a body without a length of its own is sent as the version does that."""
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()


class OverHTTP1(Client):
    """A connection for each request, without TLS."""

    version = "HTTP/1.1"

    def ask(self, target, fields=(), method="GET", host=HOST, body=None, trailers=()) -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in fields)]
        names = {name.lower() for name, _ in fields}
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n" % len(body) + body + b"\r\n" if body else b""
            body += b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1") + b"\r\n"
        data = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + (body or b"")
        with connect(self.gateway.plain_port, source=self.source) as peer:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.sendall(data)
            received, closed = read_all(peer)
        assert closed, "the connection stays open"
        return read(received, method)


def read(received: bytes, method: str = "GET") -> Answer:
    """The final answer in these bytes, all there are."""
    try:
        final: list[Message] = [answer for answer in responses(received, method) if answer.status >= 200]
    except Incomplete:
        return Answer()
    assert len(final) <= 1, f"{len(final)} answers to one request"
    return Answer(final[0].status, final[0].fields, final[0].body) if final else Answer()


class OverHTTP2(Client):
    """A stream for each request, on one connection as long as that lasts. Names are sent in small letters."""

    version = "HTTP/2"

    def __init__(self, gateway: Gateway, source: str | None = None):
        super().__init__(gateway, source)
        self._connection: Connection | None = None
        self._refusals = 0

    @property
    def connection(self) -> Connection:
        """The one that the next request will use."""
        if self._connection and (self._connection.is_closed or self._refusals >= REFUSALS_MAX):
            self.close()
        if not self._connection:
            self._connection = self.gateway.http2(source=self.source)
            self._refusals = 0
        return self._connection

    def ask(self, target, fields=(), method="GET", host=HOST, body=None, trailers=()) -> Answer:
        lowered = [(name.lower(), value) for name, value in fields]
        return self.send([*pseudo(target, method, host), *lowered], body, trailers)

    def send(self, fields: Fields, body: bytes | None = None, trailers: Fields = (), huffman: bool = False) -> Answer:
        """One request of exactly these fields."""
        connection = self.connection
        number = connection.next_stream
        connection.next_stream += 2
        stream = connection.streams[number] = Stream()
        raw = [tuple(part.encode("latin-1") if isinstance(part, str) else part for part in pair) for pair in fields]
        connection.send(connection.head(number, connection.encoder.encode(raw, huffman=huffman), body is None))
        if body is not None:
            connection.upload(number, body, ends=not trailers)
        if trailers:
            block = connection.block([(name.lower(), value) for name, value in trailers])
            connection.send(frame(HEADERS, END_STREAM | END_HEADERS, number, block))
        connection.until(lambda: stream.is_over or connection.is_closed, "the request is answered")
        if not stream.is_ended:
            self._refusals += 1
            return Answer(error=connection.goaway if stream.reset_code is None else stream.reset_code)
        if stream.status >= 400:
            self._refusals += 1
        return Answer(stream.status, stream.fields, stream.body)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def client_of(version: str, gateway: Gateway, source: str | None = None) -> Client:
    return (OverHTTP2 if version == "HTTP/2" else OverHTTP1)(gateway, source)
