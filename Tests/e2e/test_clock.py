"""The clock on the wall is set, forth and back: timers and limits take no notice, credentials go by the new time.

The gateway alone sees another time, by a library that is loaded before its own; the machine's clock is never touched.
"""

import contextlib
import email.utils
import shutil
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import sanitizer
from support.gateway import COOKIE, Gateway, route
from support.processes import wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import Message, read_response

HOUR = 3600
TEN_YEARS = 10 * 365 * 24 * HOUR
HOST = b"Host: raw.demo.localhost\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST + b"\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Clock:
    """The time that a gateway sees."""

    def __init__(self, folder: Path):
        self.library, self._file = folder / "wall_clock.so", folder / "wall_clock"
        compiler = shutil.which("cc") or shutil.which("clang")
        assert compiler, "a C compiler is needed; that of the Swift toolchain does"
        source = Path(__file__).parent / "support/wall_clock.c"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", self.library, source], check=True)
        self._file.write_bytes(bytes(8))
        self.offset = 0

    def step_to(self, offset: int) -> None:
        """From now on it is off by so many seconds."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", offset))
        self.offset = offset

    @property
    def seconds(self) -> float:
        return time.time() + self.offset

    def prefix(self) -> list[str]:
        """A command that becomes the gateway, with this clock."""
        # What a sanitizer needs stays loaded, too.
        libraries = f"{self.library} {sanitizer.ENVIRONMENT.get('LD_PRELOAD', '')}"
        return ["env", f"LD_PRELOAD={libraries}", f"WALL_CLOCK_FILE={self._file}"]


def script(connection: UpstreamConnection) -> None:
    while request := connection.read_request():
        if request.target == "/public/upgrade":
            connection.send(SWITCHED)
            while block := connection.read_some():
                connection.send(block)
            return
        if request.target == "/public/slow":
            time.sleep(1)
        connection.send(OK)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
def clocked(clock: Clock, upstream: FakeUpstream, start_gateway: Callable[..., Gateway]) -> Gateway:
    upstream.script = script
    gateway = start_gateway({"raw": upstream.port}, {"workers": 1}, is_started=False, prefix=clock.prefix())
    gateway.configuration["authentication"]["session"]["cache_ttl"] = "1s"
    gateway.configuration["limits"] = {"few": {"rate": "2/second", "key": "address"}}
    gateway.configuration["routes"].append(route("raw", "/few", public=True, limit="few"))
    gateway.write()
    return gateway.start()


def ask(gateway: Gateway, path: str = "/public/x", fields: str = "") -> Message:
    with gateway.connect() as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\n".encode() + HOST + fields.encode() + b"\r\n")
        return read_response(peer)


def shows(answer: Message, clock: Clock) -> bool:
    return abs(email.utils.parsedate_to_datetime(answer.get("Date")).timestamp() - clock.seconds) < 30


@pytest.mark.parametrize("offset", [-HOUR, HOUR, TEN_YEARS])
def test_what_is_open_goes_on_and_no_timer_fires(clocked: Gateway, clock: Clock, offset: int):
    with clocked.connect() as idle, clocked.connect() as slow, clocked.connect() as tunnel, clocked.http2() as streams:
        idle.sendall(GET)
        assert read_response(idle).status == 200
        tunnel.sendall(
            b"GET /public/upgrade HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert read_response(tunnel).status == 101
        assert streams.get("/public/x").status == 200
        for step in (offset, 0):
            slow.sendall(GET.replace(b"/x", b"/slow"))
            clock.step_to(step)
            wait_until(lambda: shows(ask(clocked, "/nothing"), clock), "the gateway has the new time")
            idle.sendall(GET)
            assert read_response(idle).status == 200
            tunnel.sendall(b"still there")
            assert tunnel.recv(100) == b"still there"
            assert streams.get("/public/x").status == 200
            assert read_response(slow).status == 200
            with clocked.connect(plain=False) as fresh:
                fresh.sendall(GET)
                assert read_response(fresh).status == 200
        durations = [line["duration_ms"] for line in clocked.events() if line.get("path") == "/public/slow"]
        assert len(durations) == 2 and all(900 < duration < 20_000 for duration in durations)


def test_tokens_are_judged_by_the_new_time_also_when_they_are_remembered(clocked: Gateway, clock: Clock):
    bearer = f"Authorization: Bearer {clocked.mint()}\r\n"
    assert ask(clocked, "/private/x", bearer).status == 200
    for offset, status in [(24 * HOUR, 401), (0, 200), (-HOUR, 401), (0, 200), (TEN_YEARS, 401), (0, 200)]:
        clock.step_to(offset)
        wait_until(lambda: shows(ask(clocked, "/nothing"), clock), "the gateway has the new time")
        assert ask(clocked, "/private/x", bearer).status == status, offset


def test_sessions_end_by_the_new_time(clocked: Gateway, clock: Clock):
    client = clocked.sign_in("user@example.com")
    cookie = f"Cookie: {COOKIE}={client.cookies[COOKIE]}\r\n"
    for offset, status in [(0, 200), (24 * HOUR, 401), (0, 200), (-HOUR, 200), (TEN_YEARS, 401)]:
        clock.step_to(offset)
        wait_until(lambda: shows(ask(clocked, "/nothing"), clock), "the gateway has the new time")
        assert ask(clocked, "/private/x", cookie).status == status, offset
    # A sign-in of then makes a session of then.
    later = clocked.sign_in("pm@example.com", source="127.0.0.2")
    cookie = f"Cookie: {COOKIE}={later.cookies[COOKIE]}\r\n"
    assert ask(clocked, "/private/x", cookie).status == 200


def test_a_session_is_believed_no_longer_because_the_clock_was_set_back(clocked: Gateway, clock: Clock):
    """What another process has ended is noticed after `cache_ttl`, whatever the clock on the wall does meanwhile."""
    client = clocked.sign_in("user@example.com")
    cookie = f"Cookie: {COOKIE}={client.cookies[COOKIE]}\r\n"
    assert ask(clocked, "/private/x", cookie).status == 200
    clock.step_to(-HOUR)
    with contextlib.closing(sqlite3.connect(clocked.folder / "gateway.db")) as database, database:
        database.execute("DELETE FROM sessions")
    wait_until(lambda: ask(clocked, "/private/x", cookie).status == 401, "the session has ended")


@pytest.mark.parametrize("offset", [-HOUR, HOUR, TEN_YEARS])
def test_limits_in_memory_neither_open_nor_lock(clocked: Gateway, clock: Clock, offset: int):
    limits_hold(clocked, clock, offset)


def test_limits_in_redis_go_by_the_time_of_redis(
    clock: Clock, upstream: FakeUpstream, start_gateway: Callable[..., Gateway], redis_server
):
    _, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, {"workers": 1}, is_started=False, prefix=clock.prefix())
    gateway.configuration["redis"] = {"url": f"redis://127.0.0.1:{port}"}
    gateway.configuration["limits"] = {
        "few": {"rate": "2/second", "key": "address", "store": "redis", "on_store_error": "deny"}
    }
    gateway.configuration["routes"].append(route("raw", "/few", public=True, limit="few"))
    gateway.write()
    gateway.start()
    wait_until(lambda: ask(gateway, "/few").status == 200, "Redis is there")
    for offset in (-HOUR, HOUR, TEN_YEARS, 0):
        limits_hold(gateway, clock, offset)


def limits_hold(gateway: Gateway, clock: Clock, offset: int) -> None:
    """Two of a second pass, those beyond do not, and a moment later there are more: by the steady clock."""
    for step in (offset, 0):
        with gateway.connect() as peer:
            began = time.monotonic()
            statuses = []
            clock.step_to(step)
            for _ in range(40):
                peer.sendall(b"GET /few HTTP/1.1\r\n" + HOST + b"\r\n")
                answer = read_response(peer)
                statuses.append(answer.status)
                if answer.status == 429:
                    assert int(answer.get("Retry-After")) <= 1
            # A bucket of two, and two more for each second that it took.
            assert statuses.count(200) <= 2 + 2 * (time.monotonic() - began) + 1
            assert set(statuses) <= {200, 429} and 429 in statuses
        wait_until(lambda: ask(gateway, "/few").status == 200, "there is room again", timeout=10)


def test_a_stop_waits_as_long_as_it_says(clocked: Gateway, clock: Clock):
    with clocked.connect() as slow:
        slow.sendall(GET.replace(b"/x", b"/slow"))
        clock.step_to(TEN_YEARS)
        wait_until(lambda: shows(ask(clocked, "/nothing"), clock), "the gateway has the new time")
        clocked.stop()
        assert read_response(slow).status == 200
    assert "gateway.stop_timeout" not in clocked.log()
