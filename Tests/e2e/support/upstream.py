"""An upstream made of a script: it records every byte it gets, and answers or dies as a test says."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from .wire import Incomplete, Message, take_request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class UpstreamConnection:
    """One connection that the gateway opened, as the script sees it."""

    def __init__(self, peer: socket.socket, owner: "FakeUpstream", number: int):
        self.peer = peer
        self.owner = owner
        #: Counted from 0 in the order of acceptance.
        self.number = number
        self.received = b""
        self._unread = b""

    def read_request(self) -> Message | None:
        """The next request, complete with its body; None when the gateway closed instead."""
        while True:
            try:
                request, self._unread = take_request(self._unread)
            except Incomplete:
                block = self.peer.recv(65536)
                if not block:
                    return None
                self.received += block
                self._unread += block
                continue
            self.owner.record(request)
            return request

    def read_head(self) -> bytes:
        """Bytes until an empty line, unparsed; for scripts that do not care for the body."""
        while b"\r\n\r\n" not in self._unread:
            block = self.peer.recv(65536)
            if not block:
                break
            self.received += block
            self._unread += block
        head, self._unread = self._unread, b""
        return head

    def peek(self) -> bytes:
        """What comes next, left where it is; nothing where the gateway has closed."""
        return self._unread or self.peer.recv(65536, socket.MSG_PEEK)

    def read_some(self) -> bytes:
        """Whatever came, for upgraded connections."""
        taken, self._unread = self._unread, b""
        return taken or self.peer.recv(65536)

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread that waits in recv would keep the connection open behind a mere close.
        self.peer.shutdown(socket.SHUT_RD)
        self.peer.close()


Script = Callable[[UpstreamConnection], None]


def answer_always(response: bytes = OK) -> Script:
    """The ordinary script: the same response to each request, for as long as the connection lasts."""

    def script(connection: UpstreamConnection) -> None:
        while connection.read_request():
            connection.send(response)

    return script


class FakeUpstream:
    """Listens on a port of the kernel's choice; each connection runs `script` in a thread of its own.

    `receive_bytes` is how much the kernel takes before the script does.
    """

    def __init__(
        self,
        script: Script | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        receive_bytes: int | None = None,
    ):
        self.script = script or answer_always()
        self.requests: list[Message] = []
        self.connections: list[UpstreamConnection] = []
        #: What went wrong in a script, other than the gateway's going away; a test's last look.
        self.errors: list[Exception] = []
        self._changed = threading.Condition()
        self._listener = socket.create_server((address, port), backlog=256)
        if receive_bytes:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def record(self, request: Message) -> None:
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def wait_for_requests(self, count: int, timeout: float = 10) -> list[Message]:
        """The requests, once there are `count` of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout), (
                f"{len(self.requests)} of {count} requests came"
            )
            return list(self.requests)

    def forget(self) -> None:
        """Starts the record anew, for the next test."""
        with self._changed:
            self.requests.clear()
            self.connections.clear()
            self.errors.clear()

    def everything_received(self) -> bytes:
        """Each byte that came, parsed or not."""
        return b"".join(connection.received + connection._unread for connection in list(self.connections))

    def close(self) -> None:
        self._listener.close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.peer.close()

    def __enter__(self) -> "FakeUpstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = UpstreamConnection(peer, self, len(self.connections))
            self.connections.append(connection)
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: UpstreamConnection) -> None:
        try:
            self.script(connection)
        except OSError:
            pass  # The gateway went away, or the test is over.
        except Exception as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                connection.peer.shutdown(socket.SHUT_RDWR)
            connection.peer.close()
