"""An upstream that says back what it was asked, so that an answer shows whose it is."""

import threading

from .upstream import UpstreamConnection


class Echo:
    """A script: each answer's body is the method, the target and the beginning of the body of its request.

    Targets with `/held/` are answered once `release` is set, `/size/N` with N bytes. A connection that the gateway
    keeps goes on with the script that it began with: use one of these for as long as a gateway lives.
    """

    def __init__(self):
        self.release = threading.Event()

    def __call__(self, connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            if "/held/" in request.target:
                self.release.wait(20)
            body = said_back(request.method, request.target, request.body)
            if "/size/" in request.target:
                body = bytes(int(request.target.rsplit("/", 1)[1]))
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
            connection.send(head if request.method == "HEAD" else head + body)


def said_back(method: str, target: str, body: bytes = b"") -> bytes:
    """The body of the answer to this request."""
    return f"{method} {target} {len(body)} ".encode() + body[:64]
