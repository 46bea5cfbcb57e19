"""TLS clients of the standard library and of OpenSSL's command line."""

import socket
import ssl
import subprocess
from dataclasses import dataclass

from .authority import Issued
from .wire import Incomplete, read_response

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def context(
    authorities: str,
    *,
    version: ssl.TLSVersion | None = None,
    certificate: Issued | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=authorities)
    made.check_hostname = False
    if version:
        made.minimum_version = made.maximum_version = version
    if certificate:
        made.load_cert_chain(certificate.path, certificate.key_path)
    if ciphers:
        made.set_ciphers(ciphers)
    return made


@dataclass
class Exchange:
    """What came of one request over a connection of its own; `status` is `None` where there was none."""

    status: int | None
    body: bytes = b""
    session: ssl.SSLSession | None = None
    was_resumed: bool = False
    certificate: bytes | None = None


def ask(
    port: int,
    made: ssl.SSLContext,
    asked: str | None,
    host: str,
    path: str = "/",
    session: ssl.SSLSession | None = None,
    fields: str = "",
) -> Exchange:
    """One GET for `host` after a handshake for `asked`."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            with made.wrap_socket(plain, server_hostname=asked, session=session) as peer:
                peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
                answer = read_response(peer)
                return Exchange(
                    answer.status, answer.body, peer.session, peer.session_reused, peer.getpeercert(binary_form=True)
                )
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError, Incomplete):
        return Exchange(None)


def s_client(port: int, *arguments: str, request: bytes = b"") -> str:
    """What OpenSSL's client says of a connection, on which it sends `request`."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments]
    done = subprocess.run(command, input=request, capture_output=True, timeout=20, check=False)
    return done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
