"""The disk is full, the queue is full: what needs them is refused with its reason, everything else goes on."""

import concurrent.futures
import contextlib
import itertools
import json
import os
import secrets
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateway import ACCOUNTS, COOKIE, Gateway
from support.processes import wait_until
from support.resources import MIB, Resources, vanish
from support.upstream import FakeUpstream
from support.wire import Message, read_response, responses

HOST = b"Host: raw.demo.localhost\r\n"
USER = "user@example.com"
_addresses = (f"127.3.{high}.{low}" for high, low in itertools.product(range(1, 250), repeat=2))


def post(gateway: Gateway, path: str, body: bytes = b"", fields: str = "", timeout: float = 20) -> Message:
    """A call of the identity service, from an address that nobody used before."""
    head = f"POST {path} HTTP/1.1\r\nHost: iam.demo.localhost\r\nContent-Type: application/json\r\n{fields}"
    with gateway.connect(source=next(_addresses)) as peer:
        peer.sendall(head.encode() + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        return read_response(peer, "POST", timeout)


def sign_in(gateway: Gateway, name: str, password: str) -> Message:
    return post(gateway, "/api/auth/login", f'{{"username":"{name}","password":"{password}"}}'.encode())


def token_of(answer: Message) -> str:
    return answer.get("set-cookie").split(";")[0].partition("=")[2]


def status_with(gateway: Gateway, cookie: str) -> int:
    fields = f"Cookie: {COOKIE}={cookie}\r\n".encode()
    request = b"GET /private/x HTTP/1.1\r\n" + HOST + fields + b"Connection: close\r\n\r\n"
    return responses(gateway.raw(request)[0])[0].status


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB in memory."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def on_small_disk(small_disk: Path, tmp_path: Path, upstream: FakeUpstream) -> Iterator[Gateway]:
    """A gateway whose database and access log are on the small disk."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    gateway = Gateway(folder, {"raw": upstream.port}, {"log": {"access": str(small_disk / "access.log")}})
    gateway.configuration["identity"]["database"] = str(small_disk / "gateway.db")
    gateway.write()
    with gateway:
        yield gateway


def fill(folder: Path) -> Path:
    """Leaves no byte free; what it returns makes room when it is deleted."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    assert os.statvfs(folder).f_bavail == 0
    return filler


def is_intact(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_full_disk_stops_sign_in_and_nothing_else(on_small_disk: Gateway, small_disk: Path, upstream: FakeUpstream):
    gateway = on_small_disk
    old, fresh = (token_of(sign_in(gateway, USER, ACCOUNTS[USER])) for _ in range(2))
    assert status_with(gateway, old) == 200
    filler = fill(small_disk)
    refused = [sign_in(gateway, name, ACCOUNTS[name]) for name in list(ACCOUNTS)[:4]]
    # Until the log of the database needs a page more, a change may still find room.
    assert [answer.status for answer in refused[-2:]] == [503, 503]
    for answer in refused:
        assert answer.status == 200 or (answer.status == 503 and answer.get("Retry-After"))
        assert answer.status == 200 or not answer.all("set-cookie")
        assert b"sqlite" not in answer.body.lower() and b"disk" not in answer.body.lower()
    assert status_with(gateway, old) == 200, "a session that is remembered"
    assert status_with(gateway, fresh) == 200, "a session that has to be looked up"
    assert status_with(gateway, secrets.token_urlsafe(32)) == 401
    out = post(gateway, "/api/auth/logout", fields=f"Cookie: {COOKIE}={old}\r\n")
    assert out.status == 503 and out.get("Retry-After"), "nobody is told that a session has ended which has not"
    events = [event for event in gateway.events() if event.get("reason") == "store"]
    assert events and all("full" in event["error"] for event in events), "the log says why"
    filler.unlink()
    assert sign_in(gateway, USER, ACCOUNTS[USER]).status == 200
    assert post(gateway, "/api/auth/logout", fields=f"Cookie: {COOKIE}={old}\r\n").status == 200
    assert status_with(gateway, old) == 401
    assert status_with(gateway, fresh) == 200
    gateway.stop()
    assert is_intact(small_disk / "gateway.db")


def test_a_full_disk_takes_lines_of_the_log_and_no_request(on_small_disk: Gateway, small_disk: Path):
    gateway, log = on_small_disk, small_disk / "access.log"

    def asks(name: bytes, count: int) -> None:
        for number in range(count):
            head = b"GET /public/%s-%d HTTP/1.1\r\n" % (name, number)
            answer, _ = gateway.raw(head + HOST + b"Connection: close\r\n\r\n")
            assert responses(answer)[0].status == 200

    asks(b"before", 3)
    wait_until(lambda: "/public/before-2" in log.read_text(), "the log has lines before the disk is full")
    filler = fill(small_disk)
    # Enough for the room that the last page of the log still has.
    asks(b"full", 50)
    filler.unlink()
    ask = b"GET /public/afterwards HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    wait_until(lambda: gateway.raw(ask)[0] and "/public/afterwards" in log.read_text(), "it is written again")
    paths = [json.loads(line)["path"] for line in log.read_text().split("\n")[:-1]]
    assert paths[:3] == [f"/public/before-{number}" for number in range(3)]
    lost = 50 - sum(path.startswith("/public/full-") for path in paths)
    assert lost > 0
    assert gateway.metrics()["access_log_lines_dropped"] == lost, "what is lost is counted, and nothing else"


def test_a_crash_a_start_and_a_stop_on_a_full_disk_lose_nothing(on_small_disk: Gateway, small_disk: Path):
    gateway = on_small_disk
    session = token_of(sign_in(gateway, USER, ACCOUNTS[USER]))
    filler = fill(small_disk)
    gateway.kill()
    gateway.start()
    assert status_with(gateway, session) == 200
    gateway.stop()
    assert is_intact(small_disk / "gateway.db")
    filler.unlink()
    gateway.start()
    gateway.stop()
    fill(small_disk)
    # The files beside the database are gone, and there is no room to make them.
    refused = gateway.command("run", "--dev", "--config", gateway.configuration_file, check=False)
    assert refused.returncode == 1
    assert "identity.database" in refused.stderr and str(small_disk) in refused.stderr, "it says where"
    filler.unlink()
    assert is_intact(small_disk / "gateway.db")
    gateway.start()
    assert status_with(gateway, session) == 200
    assert sign_in(gateway, USER, ACCOUNTS[USER]).status == 200


# Queues


@pytest.fixture
def one_worker(upstream: FakeUpstream, start_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway with one worker, which keeps no connection to its upstream."""
    endpoint = {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"timeout": "0s"}}
    return start_gateway({"raw": upstream.port}, {"workers": 1, "upstreams": {"raw": endpoint}})


def health(gateway: Gateway) -> Message:
    request = b"GET /healthz HTTP/1.1\r\nHost: iam.demo.localhost\r\nConnection: close\r\n\r\n"
    return responses(gateway.raw(request)[0])[0]


class Bystander(threading.Thread):
    """Somebody else's requests, one after the other; how long the slowest took, in seconds."""

    def __init__(self, gateway: Gateway):
        super().__init__(daemon=True)
        self.gateway, self.slowest, self.statuses = gateway, 0.0, set()
        self._finished = threading.Event()

    def run(self) -> None:
        with self.gateway.connect() as peer:
            while not self._finished.is_set():
                began = time.monotonic()
                peer.sendall(b"GET /public/bystander HTTP/1.1\r\n" + HOST + b"\r\n")
                self.statuses.add(read_response(peer).status)
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.01)  # One of many, not a load.

    def __enter__(self) -> "Bystander":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self.join(10)


def test_too_many_sign_ins_at_once_are_503_and_hold_nobody_else_up(one_worker: Gateway):
    gateway = one_worker
    assert sign_in(gateway, "nobody-0@example.com", "x").status == 401
    resources = Resources(gateway)
    with Bystander(gateway) as bystander, concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda number: sign_in(gateway, f"nobody-{number}@example.com", "x"), range(1, 201)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {401, 503}
    assert statuses.count(503) >= 200 - 64 - os.cpu_count() * 40
    assert all(answer.get("Retry-After") for answer in answers if answer.status == 503)
    assert bystander.statuses == {200}
    assert bystander.slowest < 1
    assert sign_in(gateway, USER, ACCOUNTS[USER]).status == 200, "afterwards all is well"
    assert any(event.get("reason") == "overloaded" for event in gateway.events())
    resources.wait_for_descriptors()
    assert resources.memory_growth < 64 * MIB


def test_exchanges_beyond_the_queue_of_the_identity_service_are_503(one_worker: Gateway):
    """Sign-outs wait for a lock on the database; 256 of the worker may, the next ones are told to come again."""
    gateway = one_worker
    session = token_of(sign_in(gateway, USER, ACCOUNTS[USER]))
    resources = Resources(gateway)

    def sign_out(_: int) -> Message:
        return post(gateway, "/api/auth/logout", fields=f"Cookie: {COOKIE}={secrets.token_urlsafe(32)}\r\n")

    lock = sqlite3.connect(gateway.folder / "gateway.db", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    try:
        with Bystander(gateway) as bystander, concurrent.futures.ThreadPoolExecutor(300) as pool:
            waiting = [pool.submit(sign_out, number) for number in range(300)]
            wait_until(lambda: sum(call.done() for call in waiting) >= 44, "those beyond are answered", timeout=4)
            time.sleep(0.3)  # Time in which others could be answered too early.
            early = [call.result() for call in waiting if call.done()]
            assert [answer.status for answer in early] == [503] * 44
            assert all(answer.get("Retry-After") for answer in early)
            full = health(gateway)
            assert full.status == 503 and full.get("Retry-After"), "every path of the service waits its turn"
            assert status_with(gateway, session) == 200, "who is signed in is let through"
            lock.execute("ROLLBACK")
            answers = [call.result() for call in waiting]
    finally:
        lock.close()
    assert bystander.statuses == {200}
    assert bystander.slowest < 1
    assert sorted(answer.status for answer in answers) == [200] * 256 + [503] * 44
    steps = [event.get("error_step") for event in gateway.events()]
    assert steps.count("handler.queue") >= 44
    assert health(gateway).status == 200
    resources.wait_for_descriptors()


def test_sign_ins_that_nobody_waits_for_any_more_make_room(one_worker: Gateway):
    gateway = one_worker
    resources = Resources(gateway)
    head = b"POST /api/auth/login HTTP/1.1\r\nHost: iam.demo.localhost\r\nContent-Type: application/json\r\n"
    peers = []
    for number in range(60):
        body = b'{"username":"nobody-%d@example.com","password":"x"}' % number
        peers.append(gateway.connect(source=next(_addresses)))
        peers[-1].sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    for peer in peers:
        vanish(peer)
    resources.wait_for_descriptors()
    assert sign_in(gateway, USER, ACCOUNTS[USER]).status == 200, "somebody who waits is served"
    reasons = [event["reason"] for event in gateway.events() if event.get("event") == "auth.login.failed"]
    assert reasons.count("unknown_account") < 30, "passwords that nobody waits for are not hashed"
