"""Clients that abuse TCP, TLS and HTTP/1.1, and beside each of them, on the same worker, one that does not.

While an attack lasts, 99 of 100 requests of the good client are answered within a second; afterwards the gateway has
its memory and its descriptors back. `test_attacks_http2.py` has the same for HTTP/2, `test_attacks_time.py` the timers.
"""

import contextlib
import itertools
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from support.attacks import LARGE, Attacker, Target, under_attack
from support.gateway import DOMAIN, certificates
from support.resources import MIB, Resources, vanish
from support.wire import connect

HOST = f"Host: raw.{DOMAIN}\r\n".encode()
GET = b"GET /public/x HTTP/1.1\r\n" + HOST
POST = b"POST /public/x HTTP/1.1\r\n" + HOST
SINK = b"POST /public/sink HTTP/1.1\r\n" + HOST
LARGE_GET = b"GET /public/large HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CROWD = 100


class Peers(list[socket.socket]):
    """Many connections at once."""

    def __init__(self, stack: contextlib.ExitStack, attacker: Attacker, count: int, plain: bool, first: bytes = b""):
        super().__init__()
        for _ in range(count):
            if not attacker.goes_on:
                break
            peer = stack.enter_context(attacker.gateway.connect(plain=plain))
            peer.sendall(first)
            self.append(peer)

    def send(self, data: bytes) -> None:
        """To each that still takes it without a wait."""
        for peer in self:
            peer.settimeout(0.2)
            with contextlib.suppress(OSError):
                peer.sendall(data)


#: What each of a hundred connections sends first, and what then drips on each of them.
DRIPS: dict[str, tuple[bytes, bytes]] = {
    "slow heads": (GET + b"A: ", b"b"),
    "slow bodies": (POST + b"Content-Length: 99999\r\n\r\n", b"x" * 20),
    "slow chunks": (POST + CHUNKED, b"1\r\nx\r\n"),
    "half-open uploads": (POST + b"Content-Length: 60000\r\n\r\n" + bytes(5000), b""),
    "idle connections": (b"", b""),
    "idle behind an answer": (GET + b"\r\n", b""),
    "slow reads": (LARGE_GET, b""),
}


@pytest.mark.parametrize("plain", [True, False], ids=["http", "https"])
@pytest.mark.parametrize("case", DRIPS)
def test_R46_a_crowd_that_is_slow(target: Target, case: str, plain: bool):
    """Each is within its timers."""
    first, piece = DRIPS[case]
    resources = Resources(target.gateway)
    most = 0

    def attack(attacker: Attacker) -> None:
        nonlocal most
        with contextlib.ExitStack() as stack:
            peers = Peers(stack, attacker, CROWD, plain, first)
            while attacker.goes_on:
                if piece:
                    peers.send(piece)
                most = max(most, resources.memory_growth)
                time.sleep(0.02)

    under_attack(target, attack)
    # What waits for one reader is bounded, and far below what it asked for.
    assert most < 64 * MIB < CROWD * LARGE


def test_a_crowd_that_reads_a_byte_at_a_time(target: Target):
    def attack(attacker: Attacker) -> None:
        with contextlib.ExitStack() as stack:
            peers = Peers(stack, attacker, CROWD // 4, plain=True, first=LARGE_GET)
            while attacker.goes_on:
                for peer in peers:
                    peer.settimeout(0.2)
                    with contextlib.suppress(TimeoutError):
                        peer.recv(1)

    under_attack(target, attack)


# Floods: sent over and over, on a new connection whenever one has ended


def header_flood() -> Iterator[bytes]:
    """Fields without end."""
    yield GET
    yield from itertools.repeat(b"X-Field: " + b"y" * 100 + b"\r\n")


def full_heads() -> Iterator[bytes]:
    """As many fields as a head may have and more, again and again."""
    yield from itertools.repeat(GET + b"a:\r\n" * 3000 + b"\r\n")


def tiny_chunks() -> Iterator[bytes]:
    yield SINK + CHUNKED
    yield from itertools.repeat(b"1\r\nx\r\n" * 2000)


def chunk_extensions() -> Iterator[bytes]:
    yield SINK + CHUNKED
    yield from itertools.repeat(b"1;" + b"a" * 60 + b"\r\nx\r\n")


def empty_lines() -> Iterator[bytes]:
    yield from itertools.repeat(b"\r\n" * 2000)


def pipelined() -> Iterator[bytes]:
    """Requests without end, of which no answer is read for long."""
    yield from itertools.repeat((GET + b"\r\n") * 50)


def refused() -> Iterator[bytes]:
    yield from itertools.repeat(b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n")


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "header flood": header_flood,
    "full heads": full_heads,
    "tiny chunks": tiny_chunks,
    "chunk extensions": chunk_extensions,
    "empty lines": empty_lines,
    "pipelined requests": pipelined,
    "refused requests": refused,
}


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_hurts_nobody_else(target: Target, case: str):
    def attack(attacker: Attacker) -> None:
        while attacker.goes_on:
            with attacker.gateway.connect() as peer:
                for block in FLOODS[case]():
                    if not attacker.goes_on or not push(attacker, peer, block):
                        break

    assert under_attack(target, attack).sent > 10_000


def test_an_answer_in_tiny_chunks_hurts_nobody_else(target: Target):
    """Without end, and read as fast as it comes."""

    def attack(attacker: Attacker) -> None:
        with attacker.gateway.connect() as peer:
            peer.sendall(b"GET /public/tiny-chunks HTTP/1.1\r\n" + HOST + b"\r\n")
            while attacker.goes_on and (block := peer.recv(1 << 20)):
                attacker.sent += len(block)

    assert under_attack(target, attack).sent > 1_000_000


def push(attacker: Attacker, peer: socket.socket, block: bytes) -> bool:
    """Sends a block, and throws away what has come; `False` when the connection is over, or stands still."""
    try:
        peer.settimeout(2)
        peer.sendall(block)
        attacker.sent += len(block)
        peer.setblocking(False)
        while peer.recv(65_536):
            pass
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def test_connections_that_end_at_once(target: Target):
    def attack(attacker: Attacker) -> None:
        for number in itertools.count():
            if not attacker.goes_on:
                return
            peer = attacker.gateway.connect()
            if number % 3:
                peer.sendall(GET + b"\r\n")
            attacker.sent += 1
            if number % 2:
                vanish(peer)
            else:
                peer.close()

    assert under_attack(target, attack, count=2).sent >= 10


# Handshakes


def flights(tls: ssl.SSLContext, attacker: Attacker) -> Iterator[socket.socket]:
    """Handshakes begun, each dropped after another of the client's flights."""
    for stage in itertools.cycle(range(5)):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.wrap_bio(incoming, outgoing, server_hostname=f"raw.{DOMAIN}")
        with contextlib.suppress(ssl.SSLWantReadError):
            session.do_handshake()
        hello = outgoing.read()
        peer = connect(attacker.gateway.https_port)
        with contextlib.suppress(OSError):
            if stage == 1:
                peer.sendall(hello[: len(hello) // 2])
            elif stage >= 2:
                peer.sendall(hello)
            if stage >= 3:
                # The server has paid for its signature.
                incoming.write(peer.recv(16_384))
            if stage == 4:
                with contextlib.suppress(ssl.SSLError):
                    session.do_handshake()
                answer = outgoing.read()
                peer.sendall(answer[: len(answer) // 2])
        yield peer


@pytest.mark.parametrize("stays", [False, True], ids=["dropped", "left open"])
@pytest.mark.parametrize("is_old", [False, True], ids=["TLS 1.3", "TLS 1.2"])
def test_handshakes_begun_and_dropped_at_each_stage(target: Target, is_old: bool, stays: bool):
    tls = ssl.create_default_context(cafile=str(certificates() / "ca.pem"))
    tls.maximum_version = ssl.TLSVersion.TLSv1_2 if is_old else ssl.TLSVersion.TLSv1_3

    def attack(attacker: Attacker) -> None:
        with contextlib.ExitStack() as stack:
            for peer in flights(tls, attacker):
                attacker.sent += 1
                if stays and attacker.sent < 150:
                    stack.enter_context(peer)
                elif attacker.sent % 2:
                    vanish(peer)
                else:
                    peer.close()
                if not attacker.goes_on:
                    return

    assert under_attack(target, attack, count=2).sent >= 10


def test_whole_handshakes_without_a_request(target: Target):
    """Each is a signature for the server, and nothing more."""

    def attack(attacker: Attacker) -> None:
        while attacker.goes_on:
            attacker.gateway.connect(plain=False).close()
            attacker.sent += 1

    assert under_attack(target, attack, count=2).sent > 2


def test_second_handshakes_asked_for_over_and_over(target: Target):
    """TLS 1.2 lets a client ask for one at any time, and each would cost the server a signature."""
    said: list[str] = []

    def attack(attacker: Attacker) -> None:
        while attacker.goes_on:
            command = ["openssl", "s_client", "-connect", f"127.0.0.1:{attacker.gateway.https_port}", "-tls1_2"]
            command += ["-servername", f"raw.{DOMAIN}"]
            done = subprocess.run(command, input=b"R\n" * 5, capture_output=True, timeout=20, check=False)
            said.append((done.stdout + done.stderr).decode(errors="replace"))
            attacker.sent += 1

    under_attack(target, attack, count=2)
    assert said
    for one in said:
        assert "RENEGOTIATING" in one
        assert "no renegotiation" in one or "alert handshake failure" in one
