"""Buffered bodies: an application with one worker is free while clients dribble, and nothing is left behind."""

import contextlib
import hashlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.gateway import DOMAIN, Gateway, binary, environment, route
from support.http2 import Connection, reset, window_update
from support.processes import start_gunicorn, wait_until
from support.resources import MIB, Resources, vanish
from support.upstream import FakeUpstream, UpstreamConnection
from support.wire import read_all, take_response

KIB = 1024
MEMORY, FILE = 64 * KIB, 256 * KIB
PROTOCOLS = pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
#: More than the sockets between the gateway and a client that does not read hold.
LARGE = 12 * MIB


class Client:
    """One request with its answer over either protocol, at the pace of a test."""

    def __init__(self, gateway: Gateway, protocol: str, host: str = "raw", reads: bool = True):
        self.host = host
        self.stream = 0
        self.sent = 0
        self.h2: Connection | None = None
        if protocol == "h2":
            self.h2 = gateway.http2(host, timeout=60)
            self.h2.gives_window = reads
            self.socket = self.h2.socket
        else:
            self.socket = socket.socket()
            if not reads:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            self.socket.settimeout(20)
            self.socket.connect(("127.0.0.1", gateway.plain_port))

    def ask(self, path: str) -> "Client":
        if self.h2:
            self.stream = self.h2.request(path, authority=f"{self.host}.{DOMAIN}")
        else:
            self.socket.sendall(self._head("GET", path) + b"\r\n")
        return self

    def begin(self, path: str, length: int | None, method: str = "POST") -> "Client":
        """The head of a request; without a length the body's end tells it."""
        if self.h2:
            fields = [("content-length", str(length))] if length is not None else []
            self.stream = self.h2.request(path, fields, method, f"{self.host}.{DOMAIN}", ends=False)
        else:
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
            self.is_chunked = length is None
            self.socket.sendall(self._head(method, path) + framing + b"\r\n\r\n")
        return self

    def send(self, body: bytes, ends: bool = False) -> "Client":
        """A part of the body, no more than the window at a time."""
        if self.h2:
            for start in range(0, len(body), 16 * KIB):
                part = body[start : start + 16 * KIB]
                self.sent += len(part)
                self.h2.until(self._has_window, "there is window")
                self.h2.data(self.stream, part, ends=False)
            if ends:
                self.h2.data(self.stream, b"")
        elif self.is_chunked:
            self.socket.sendall(
                (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if ends else b"")
            )
        else:
            self.socket.sendall(body)
        return self

    def answer(self) -> tuple[int, bytes]:
        """Status and body, read as fast as they come."""
        if self.h2:
            if not self.h2.gives_window:
                self.h2.gives_window = True
                self.h2.send(window_update(0, 64 * MIB) + window_update(self.stream, 64 * MIB))
            stream = self.h2.answer(self.stream)
            return stream.status, bytes(stream.body)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
        received, _ = read_all(self.socket, 20)
        message, rest = take_response(received)
        assert not rest
        return message.status, message.body

    def leave(self) -> None:
        vanish(self.socket)

    def _has_window(self) -> bool:
        # What a client has before it knows the settings is what the gateway gives each stream.
        return self.h2.streams[self.stream].is_over or self.sent <= 65_535 + self.h2.window_given.get(self.stream, 0)

    def _head(self, method: str, path: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nHost: {self.host}.{DOMAIN}\r\nConnection: close\r\n".encode()


def body_of(size: int) -> bytes:
    """Bytes of which no part looks like another."""
    return b"".join(b"%07d," % number for number in range(size // 8 + 1))[:size]


def buffered_routes(host: str = "raw") -> list[dict]:
    return [
        route(host, "/request/**", public=True, buffer_request=True),
        route(host, "/response/**", public=True, buffer_response=True),
        route(host, "/plain/**", public=True),
    ]


def events_of(gateway: Gateway, path: str) -> list[dict]:
    """The ends of exchanges below a path."""
    return [event for event in gateway.events() if event.get("path", "").startswith(path)]


def scripted(connection: UpstreamConnection) -> None:
    """Answers with as many bytes as the path's last segment says, in the framing that the one before it names."""
    while request := connection.read_request():
        framing, size = request.target.split("/")[-2:]
        body = body_of(int(size)) if size.isdigit() else b"ok"
        kind = b"Content-Type: text/event-stream\r\n" if framing == "events" else b"X-Accel-Buffering: yes\r\n"
        if framing == "chunked":
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)
            connection.send(head + body + b"\r\n0\r\n\r\n")
        else:
            connection.send(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def _buffering(tmp_path_factory: pytest.TempPathFactory, spool: Path) -> Iterator[tuple[Gateway, FakeUpstream]]:
    with FakeUpstream(scripted) as upstream:
        caps = {"request_memory_bytes_max": MEMORY, "file_bytes_max": FILE, "folder": str(spool)}
        changes = {"buffering": caps, "routes": buffered_routes(), "workers": 1}
        with Gateway(tmp_path_factory.mktemp("buffering"), {"raw": upstream.port}, changes) as gateway:
            yield gateway, upstream


@pytest.fixture
def gateway(_buffering: tuple[Gateway, FakeUpstream], spool: Path) -> Iterator[Gateway]:
    gateway, upstream = _buffering
    upstream.forget()
    yield gateway
    assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"
    assert not upstream.errors
    wait_until(lambda: gateway.metrics()["body_file_bytes"] == 0, "the files have given their room back")
    assert not list(spool.iterdir()), "no file ever has a name"


@pytest.fixture
def own_upstream(_buffering: tuple[Gateway, FakeUpstream]) -> FakeUpstream:
    return _buffering[1]


# An application with one worker


@pytest.fixture(scope="module")
def before_one_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before the Flask sample, which gunicorn serves with one worker: one request at a time."""
    program, port = start_gunicorn("flask", "app:app", tmp_path_factory.mktemp("flask"), workers=("--workers", "1"))
    routes = [
        route("flask", "/upload", public=True, buffer_request=True),
        route("flask", "/stream", public=True, buffer_response=True),
        route("flask", "/", public=True),
    ]
    with Gateway(tmp_path_factory.mktemp("one-worker"), {"flask": port}, {"routes": routes}) as gateway:
        yield gateway
    program.stop()


@PROTOCOLS
def test_one_worker_serves_others_while_ten_clients_dribble_their_uploads(before_one_worker: Gateway, protocol: str):
    body = body_of(200 * KIB)
    clients = [Client(before_one_worker, protocol, "flask").begin("/upload", len(body)) for _ in range(10)]
    for part in (body[: 100 * KIB], body[100 * KIB : -1]):
        for client in clients:
            client.send(part)
        assert before_one_worker.get("flask").status_code == 200
    wait_until(lambda: before_one_worker.metrics()["body_file_bytes"] > 0, "some of it is in files")
    for client in clients:
        client.send(body[-1:], ends=True)
        status, answer = client.answer()
        assert status == 200 and hashlib.sha256(body).hexdigest().encode() in answer
    wait_until(lambda: before_one_worker.metrics()["body_file_bytes"] == 0, "the files are gone")


@PROTOCOLS
def test_one_worker_serves_others_while_ten_clients_do_not_read(before_one_worker: Gateway, protocol: str):
    chunks = LARGE // MIB if protocol == "http/1.1" else 2
    before = before_one_worker.metrics()["buffered_responses_total"]
    path = f"/stream?chunks={chunks}&bytes={MIB}"
    clients = [Client(before_one_worker, protocol, "flask", reads=False).ask(path) for _ in range(10)]
    for _ in range(3):
        assert before_one_worker.get("flask").status_code == 200
    assert before_one_worker.metrics()["buffered_responses_total"] == before + 10
    for client in clients:
        status, answer = client.answer()
        assert status == 200 and len(answer) == chunks * MIB
        assert answer.startswith(b"0:.") and answer[-MIB:].startswith(b"%d:." % (chunks - 1))
    wait_until(lambda: before_one_worker.metrics()["body_file_bytes"] == 0, "the files are gone")


# Requests


@PROTOCOLS
@pytest.mark.parametrize("has_length", [True, False])
@pytest.mark.parametrize("size", [0, 1, MEMORY, MEMORY + 1, MEMORY + FILE])
def test_a_request_goes_on_whole(
    gateway: Gateway, own_upstream: FakeUpstream, protocol: str, has_length: bool, size: int
):
    body = body_of(size)
    client = Client(gateway, protocol).begin("/request/x", size if has_length else None)
    client.send(body[: size // 2])
    assert not own_upstream.requests
    client.send(body[size // 2 :], ends=True)
    assert client.answer() == (200, b"ok")
    (request,) = own_upstream.requests
    assert request.body == body and request.all("content-length") == [str(size)]
    assert not request.all("transfer-encoding")


@PROTOCOLS
@pytest.mark.parametrize("has_length", [True, False])
def test_a_request_beyond_the_caps_is_refused(
    gateway: Gateway, own_upstream: FakeUpstream, protocol: str, has_length: bool
):
    size = MEMORY + FILE + 1
    client = Client(gateway, protocol).begin("/request/x", size if has_length else None)
    if not has_length:
        client.send(body_of(size))
    assert client.answer()[0] == 413
    assert not own_upstream.requests and not own_upstream.connections


@PROTOCOLS
@pytest.mark.parametrize("size", [10, MEMORY + FILE - 1])
def test_nothing_of_a_request_whose_client_leaves_reaches_the_application(
    gateway: Gateway, own_upstream: FakeUpstream, protocol: str, size: int
):
    before = gateway.metrics()["buffered_requests_total"]
    client = Client(gateway, protocol).begin("/request/x", MEMORY + FILE).send(body_of(size))
    wait_until(lambda: gateway.metrics()["buffered_requests_total"] == before + 1, "it is being gathered")
    if size > MEMORY + 32 * KIB:
        wait_until(lambda: gateway.metrics()["body_file_bytes"] > 0, "some of it is in a file")
    client.leave()
    wait_until(lambda: gateway.metrics()["body_file_bytes"] == 0, "the file has given its room back")
    assert Client(gateway, protocol).ask("/plain/x").answer()[0] == 200
    assert [request.target for request in own_upstream.requests] == ["/plain/x"]


def test_a_stream_that_is_reset_leaves_the_others_alone(gateway: Gateway, own_upstream: FakeUpstream):
    with gateway.http2() as connection:
        gone, kept = (connection.request("/request/x", method="POST", ends=False) for _ in range(2))
        for number in range(1, 7):
            for stream in (gone, kept):
                connection.data(stream, body_of(32 * KIB), ends=False)
                connection.until(
                    lambda sent=number * 32 * KIB, of=stream: connection.window_given.get(of, 0) >= sent,
                    "the window is open again",
                )
        wait_until(lambda: gateway.metrics()["body_file_bytes"] > 2 * 64 * KIB, "some of both is in files")
        connection.send(reset(gone))
        connection.data(kept, b"")
        assert connection.answer(kept).status == 200
    assert [len(request.body) for request in own_upstream.requests] == [6 * 32 * KIB]


def test_a_files_owner_alone_may_read_it(gateway: Gateway, spool: Path):
    client = Client(gateway, "http/1.1").begin("/request/x", MEMORY + FILE).send(body_of(MEMORY + FILE - 1))
    folder = Path(f"/proc/{gateway.program.pid}/fd")

    def body_files() -> list[os.stat_result]:
        found = []
        for link in folder.iterdir():
            try:
                if link.readlink().is_relative_to(spool) and link.is_file():
                    found.append(link.stat())
            except FileNotFoundError:
                continue
        return found

    (status,) = wait_until(body_files, "it has a file")
    assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_nlink == 0
    client.send(b"x", ends=True)
    assert client.answer()[0] == 200


# Answers


@PROTOCOLS
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_waits_for_its_client_and_the_application_does_not(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, protocol: str, framing: str
):
    upstream.script = scripted
    gateway = start_gateway({"raw": upstream.port}, {"routes": buffered_routes(), "workers": 1})
    size = LARGE if protocol == "http/1.1" else 2 * MIB
    client = Client(gateway, protocol, reads=False).ask(f"/response/{framing}/{size}")
    wait_until(lambda: gateway.metrics()["upstream_connections_idle"] == 1, "the application has given it all")
    assert gateway.metrics()["body_file_bytes"] > 0
    assert client.answer() == (200, body_of(size))
    wait_until(lambda: gateway.metrics()["body_file_bytes"] == 0, "the file has given its room back")
    (event,) = wait_until(lambda: events_of(gateway, "/response/"), "it is logged")
    assert event["status"] == 200 and event["response_bytes"] == size and "error_step" not in event


@PROTOCOLS
def test_events_are_passed_on_as_they_come(gateway: Gateway, protocol: str):
    before = gateway.metrics()["buffered_responses_total"]
    client = Client(gateway, protocol, reads=False).ask(f"/response/events/{LARGE}")
    assert client.answer() == (200, body_of(LARGE))
    assert gateway.metrics()["buffered_responses_total"] == before


@PROTOCOLS
def test_a_client_that_leaves_its_answer_leaves_no_file(gateway: Gateway, protocol: str):
    for _ in range(3):
        client = Client(gateway, protocol, reads=False).ask(f"/response/length/{LARGE}")
        wait_until(lambda: gateway.metrics()["body_file_bytes"] > 0, "some of it is in a file")
        client.leave()
        wait_until(lambda: gateway.metrics()["body_file_bytes"] == 0, "the file has given its room back")


@PROTOCOLS
def test_memory_is_bounded_whatever_the_size(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, protocol: str
):
    upstream.script = scripted
    gateway = start_gateway({"raw": upstream.port}, {"routes": buffered_routes(), "workers": 1})
    Client(gateway, protocol, reads=False).ask(f"/response/length/{MIB}").answer()
    resources = Resources(gateway)
    client = Client(gateway, protocol, reads=False).ask(f"/response/length/{24 * MIB}")
    wait_until(lambda: gateway.metrics()["body_file_bytes"] > 16 * MIB, "most of it is in a file")
    assert resources.memory_growth < 6 * MIB
    assert client.answer() == (200, body_of(24 * MIB))
    assert resources.memory_growth < 6 * MIB
    client.socket.close()
    resources.wait_for_descriptors()


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


@PROTOCOLS
def test_a_full_disk_refuses_uploads_and_slows_answers(
    small_disk: Path, start_gateway: Callable[..., Gateway], upstream: FakeUpstream, protocol: str
):
    upstream.script = scripted
    gateway = start_gateway(
        {"raw": upstream.port}, {"routes": buffered_routes(), "buffering": {"folder": str(small_disk)}}
    )
    size = 2 * MIB
    client = Client(gateway, protocol).begin("/request/x", size)
    # The last bytes are not even needed.
    with contextlib.suppress(OSError):
        client.send(body_of(size - 1))
    assert client.answer()[0] == 503
    assert not upstream.requests, "no part of it reached the application"
    (event,) = wait_until(lambda: events_of(gateway, "/request/"), "it is logged")
    assert (event["status"], event["error_side"], event["error_step"]) == (503, "gateway", "request.buffer")
    wait_until(lambda: gateway.metrics()["body_file_bytes"] == 0, "the file has given its room back")
    # What is small enough passes, and so does an answer of any size.
    fits = body_of(512 * KIB)
    assert Client(gateway, protocol).begin("/request/x", len(fits)).send(fits, ends=True).answer() == (200, b"ok")
    slow = Client(gateway, protocol, reads=False).ask(f"/response/length/{LARGE}")
    wait_until(lambda: gateway.metrics()["body_file_errors_total"] > 1, "the disk is full")
    assert slow.answer() == (200, body_of(LARGE))


def test_a_file_size_limit_of_the_system_kills_nobody(start_gateway: Callable[..., Gateway], upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, {"routes": buffered_routes()})
    limit = psutil.Process(gateway.program.pid)
    limit.rlimit(psutil.RLIMIT_FSIZE, (MIB, limit.rlimit(psutil.RLIMIT_FSIZE)[1]))
    answer, _ = gateway.raw(
        b"POST /request/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n" % (2 * MIB) + body_of(2 * MIB)
    )
    assert take_response(answer, "POST")[0].status == 503
    assert not upstream.requests
    assert Client(gateway, "http/1.1").ask("/plain/x").answer()[0] == 200


def test_a_folder_that_cannot_be_used_is_told_before_anything_is_served(tmp_path: Path, upstream: FakeUpstream):
    folder = tmp_path / "nowhere"
    gateway = Gateway(
        tmp_path, {"raw": upstream.port}, {"routes": buffered_routes(), "buffering": {"folder": str(folder)}}
    )
    arguments = [binary(), "run", "--dev", "--config", gateway.configuration_file]
    done = subprocess.run(arguments, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert (
        f"buffering.folder: bodies cannot be kept in files: open '{folder}': No such file or directory" in done.stderr
    )
    check = gateway.command("check", "--config", gateway.configuration_file, check=False)
    assert f"the folder '{folder}' for bodies that are buffered cannot be found" in check.stdout + check.stderr
    # Where nothing is buffered, nothing is needed.
    gateway.configuration["routes"] = [route("raw", "/plain/**", public=True)]
    gateway.write()
    with gateway:
        assert Client(gateway, "http/1.1").ask("/plain/x").answer()[0] == 200


def test_without_a_folder_one_of_its_own_is_made_which_nobody_else_may_hold(tmp_path: Path, upstream: FakeUpstream):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    gateway = Gateway(tmp_path, {"raw": upstream.port}, {"routes": buffered_routes()})
    arguments = [binary(), "run", "--dev", "--config", gateway.configuration_file]
    own = temporary / f"auth-gateway-{os.geteuid()}"
    variables = environment(TMPDIR=str(temporary))

    def refused() -> str:
        done = subprocess.run(arguments, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        return done.stderr

    own.mkdir(mode=0o755)
    assert f"'{own}' is not this user's alone" in refused()
    own.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    own.symlink_to(elsewhere)
    assert f"'{own}' is not this user's alone" in refused()
    own.unlink()
    os.environ["TMPDIR"] = str(temporary)
    try:
        with gateway:
            assert stat.S_IMODE(own.stat().st_mode) == 0o700
            client = Client(gateway, "http/1.1").begin("/request/x", MIB).send(body_of(MIB), ends=True)
            assert client.answer() == (200, b"ok")
    finally:
        del os.environ["TMPDIR"]


# Reload and stop


@PROTOCOLS
def test_a_reload_leaves_what_is_being_gathered_alone(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, tmp_path: Path, protocol: str
):
    gateway = start_gateway({"raw": upstream.port}, {"routes": buffered_routes()})
    body = body_of(300 * KIB)
    client = Client(gateway, protocol).begin("/request/x", len(body)).send(body[: 200 * KIB])
    wait_until(lambda: gateway.metrics()["body_file_bytes"] > 0, "some of it is in a file")
    folder = tmp_path / "other"
    folder.mkdir()
    gateway.configuration["buffering"] = {"folder": str(folder), "request_memory_bytes_max": 4096, "file_bytes_max": 0}
    gateway.reload()
    wait_until(lambda: gateway.metrics()["config_reloads_total"] == 1, "the new file is taken")
    refused = Client(gateway, protocol).begin("/request/x", 4097)
    assert refused.answer()[0] == 413, "what is new falls under the new caps"
    assert not upstream.requests
    client.send(body[200 * KIB :], ends=True)
    assert client.answer() == (200, b"ok")
    assert upstream.requests[-1].body == body
    gateway.configuration["buffering"] = {"folder": str(tmp_path / "missing")}
    gateway.reload()
    wait_until(lambda: gateway.metrics()["config_reload_failures_total"] == 1, "a folder that is not there is refused")


@PROTOCOLS
def test_a_stop_lets_what_is_being_gathered_finish(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, protocol: str
):
    upstream.script = scripted
    gateway = start_gateway({"raw": upstream.port}, {"routes": buffered_routes()})
    body = body_of(300 * KIB)
    client = Client(gateway, protocol).begin("/request/x", len(body)).send(body[: 200 * KIB])
    reader = Client(gateway, protocol, reads=False).ask(f"/response/length/{LARGE}")
    wait_until(lambda: gateway.metrics()["upstream_connections_idle"] == 1, "the application has given it all")
    gateway.program.signal(signal.SIGTERM)
    wait_until(lambda: "gateway.draining" in gateway.log(), "it is draining")
    client.send(body[200 * KIB :], ends=True)
    assert client.answer() == (200, b"ok")
    assert reader.answer() == (200, body_of(LARGE))
    for each in (client, reader):
        each.socket.close()


def test_an_expectation_is_met_without_the_application(gateway: Gateway, own_upstream: FakeUpstream):
    head = b"PUT /request/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"
    with gateway.connect() as peer:
        peer.sendall(head + b"Connection: close\r\n\r\n")
        assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not own_upstream.requests and not own_upstream.connections
        peer.sendall(b"hello")
        received, _ = read_all(peer)
    assert take_response(received, "PUT")[0].status == 200
    (request,) = own_upstream.requests
    assert request.body == b"hello" and request.get("expect") is None
