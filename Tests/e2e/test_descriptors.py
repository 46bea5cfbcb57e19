"""Descriptors used up: what is open goes on, what comes is turned away at once, and all is well again afterwards."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateway import ACCOUNTS, Gateway
from support.processes import wait_until
from support.resources import Resources, vanish
from support.upstream import FakeUpstream
from support.wire import Message, read_response

HOST = b"Host: raw.demo.localhost\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def frugal(
    upstream: FakeUpstream, start_gateway: Callable[..., Gateway], tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[Gateway, Resources]:
    """A gateway that keeps no connection to its upstream, so that each exchange needs a descriptor of its own.

    It has one worker, or as many as the test says.
    """
    endpoint = {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"timeout": "0s"}}
    changes = {"upstreams": {"raw": endpoint}, "log": {"access": str(tmp_path / "access.log")}}
    changes["workers"] = getattr(request, "param", 1)
    gateway = start_gateway({"raw": upstream.port}, changes)
    assert ask(gateway).status == 200, "warm"
    gateway.metrics()
    return gateway, Resources(gateway)


def ask(gateway: Gateway, request: bytes = GET) -> Message:
    with gateway.connect() as peer:
        return ask_on(peer, request)


def ask_on(peer: socket.socket, request: bytes = GET) -> Message:
    peer.sendall(request)
    return read_response(peer, request.split(b" ")[0].decode())


def sign_in_on(peer: socket.socket) -> Message:
    user = "user@example.com"
    body = f'{{"username":"{user}","password":"{ACCOUNTS[user]}"}}'.encode()
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: iam.demo.localhost\r\nContent-Type: application/json\r\n"
    return ask_on(peer, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@contextlib.contextmanager
def crowd(gateway: Gateway, count: int) -> Iterator[list[socket.socket]]:
    """Clients that connect and say nothing; gone at the end."""
    peers = [gateway.connect() for _ in range(count)]
    try:
        yield peers
    finally:
        for peer in peers:
            vanish(peer)


def turned_away(peers: list[socket.socket]) -> int:
    """How many of these connections the gateway has closed."""
    count = 0
    for peer in peers:
        peer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            try:
                count += peer.recv(1) == b""
            except ConnectionError:
                count += 1
    return count


def is_served(gateway: Gateway) -> bool:
    try:
        return ask(gateway).status == 200
    except Exception:
        return False


def test_who_comes_when_descriptors_are_used_up_is_turned_away_at_once(frugal):
    gateway, resources = frugal
    resources.allow_descriptors(20)
    with crowd(gateway, 200) as peers:
        wait_until(lambda: turned_away(peers) >= 178, "those beyond are closed")
        assert turned_away(peers) < 190, "those that find room are kept"
        began = resources.cpu_seconds
        time.sleep(0.5)  # The time over which it must not spin.
        assert resources.cpu_seconds - began < 0.1
    wait_until(lambda: is_served(gateway), "it serves again")
    assert gateway.metrics()["connections_refused_total"] >= 178
    resources.wait_for_descriptors()


def test_an_exchange_that_finds_no_descriptor_is_502_and_reaches_nobody(frugal, upstream: FakeUpstream):
    gateway, resources = frugal
    with gateway.connect() as peer:
        assert ask_on(peer).status == 200
        resources.allow_descriptors(8)
        with crowd(gateway, 40) as peers:
            wait_until(lambda: turned_away(peers) >= 30, "those beyond are closed")
            reached = len(upstream.requests)
            for _ in range(20):
                assert ask_on(peer).status in (502, 503)
            assert ask_on(peer, GET.replace(b"public", b"private")).status == 401
            assert len(upstream.requests) == reached
        wait_until(lambda: ask_on(peer).status == 200, "the same connection is served again")
    resources.wait_for_descriptors()


def test_the_database_and_the_log_work_while_descriptors_are_used_up_and_afterwards(frugal, tmp_path: Path):
    gateway, resources = frugal
    log = tmp_path / "access.log"
    with gateway.connect() as peer:
        assert ask_on(peer).status == 200
        resources.allow_descriptors(8)
        with crowd(gateway, 40) as peers:
            wait_until(lambda: turned_away(peers) >= 30, "those beyond are closed")
            assert sign_in_on(peer).status == 200
            log.rename(tmp_path / "access.log.1")
            gateway.program.signal(signal.SIGUSR1)
            gateway.program.signal(signal.SIGHUP)
            wait_until(lambda: "config.refused" in gateway.log(), "a file that cannot be opened changes nothing")
            assert ask_on(peer, GET.replace(b"/x", b"/meanwhile")).status in (502, 503)
            assert ask_on(peer, GET.replace(b"public", b"private")).status == 401
        wait_until(lambda: ask_on(peer).status == 200, "the same connection is served again")
        gateway.program.signal(signal.SIGUSR1)
        wait_until(log.exists, "the log is open again")
        ask_on(peer, GET.replace(b"/x", b"/afterwards"))
        wait_until(lambda: "/public/afterwards" in log.read_text(), "it is written again")
        lines = (tmp_path / "access.log.1").read_text() + log.read_text()
        assert "/public/meanwhile" in lines, "the old file is kept until there is another one"
        assert sign_in_on(peer).status == 200
        gateway.reload()
        wait_until(lambda: gateway.metrics()["config_last_reload_success"] == 1, "a reload succeeds again")
    resources.wait_for_descriptors()


@pytest.mark.parametrize("frugal", [3], indirect=True)
def test_workers_that_compete_for_the_last_descriptors_serve_again(frugal):
    gateway, resources = frugal
    for _ in range(10):
        resources.allow_descriptors(4)
        with crowd(gateway, 60) as peers:
            assert turned_away(peers) < 60
        wait_until(lambda: is_served(gateway), "it serves again", timeout=5)
    resources.allow_all_descriptors()
    assert all(is_served(gateway) for _ in range(20))
    resources.wait_for_descriptors()


def test_a_spare_descriptor_that_was_lost_comes_back(frugal):
    """Where not even the spare one can be had, clients wait; where it can be had again, they are turned away."""
    gateway, resources = frugal
    resources.allow_descriptors(-20)
    with crowd(gateway, 1) as peers:
        began = resources.cpu_seconds
        time.sleep(0.2)  # Time in which it tries, and must not spin.
        assert resources.cpu_seconds - began < 0.1
        resources.allow_all_descriptors()
        assert ask_on(peers[0]).status == 200
    resources.wait_for_descriptors()
    resources.allow_descriptors(20)
    with crowd(gateway, 100) as peers:
        wait_until(lambda: turned_away(peers) >= 78, "those beyond are closed, not left waiting", timeout=2)
