"""Fixtures: the applications, the scripted upstream and one gateway before them, shared by the whole run."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import sanitizer
from support.attacks import Target, attacked_gateway
from support.echo import Echo
from support.gateway import Gateway, binary
from support.processes import Program, start_gunicorn, start_redis
from support.upstream import FakeUpstream

_getaddrinfo = socket.getaddrinfo


def _loopback_names(host, *arguments, **options):
    """Names below localhost are this machine (RFC 6761 section 6.3); not every C library knows."""
    name = host.decode() if isinstance(host, bytes) else host
    if name and name.endswith(".localhost"):
        host = "127.0.0.1"
    return _getaddrinfo(host, *arguments, **options)


socket.getaddrinfo = _loopback_names


def pytest_sessionstart() -> None:
    try:
        binary()
    except AssertionError as error:
        pytest.exit(str(error), returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if reason := sanitizer.reason_to_leave_out(item.nodeid):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def flask_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from _sample("flask", "app:app", tmp_path_factory)


@pytest.fixture(scope="session")
def django_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    yield from _sample("django", "wsgi:application", tmp_path_factory)


def _sample(name: str, application: str, factory: pytest.TempPathFactory) -> Iterator[int]:
    program, port = start_gunicorn(name, application, factory.mktemp(name))
    yield port
    program.stop()


@pytest.fixture(scope="session")
def raw_upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def _shared_gateway(
    flask_port: int, django_port: int, raw_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    upstreams = {"flask": flask_port, "django": django_port, "raw": raw_upstream.port}
    with Gateway(tmp_path_factory.mktemp("gateway"), upstreams) as gateway:
        yield gateway


@pytest.fixture
def gateway(_shared_gateway: Gateway, raw_upstream: FakeUpstream) -> Iterator[Gateway]:
    """The gateway that most tests share; none of them may change or end it, nor leave it dead."""
    raw_upstream.forget()
    yield _shared_gateway
    assert _shared_gateway.program.is_running, f"the gateway died:\n{_shared_gateway.log()[-3000:]}"
    assert not raw_upstream.errors


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Starts gateways of a test's own, each in a folder of its own; they are stopped, in good order, at its end.

    With `is_started=False` the test changes the configuration and starts it itself.
    """
    started: list[Gateway] = []

    def start(upstreams: dict[str, int], changes: dict | None = None, is_started: bool = True, **options) -> Gateway:
        folder = tmp_path / f"gateway-{len(started)}"
        folder.mkdir()
        started.append(Gateway(folder, upstreams, changes, **options))
        return started[-1].start() if is_started else started[-1]

    with contextlib.ExitStack() as stack:
        yield start
        # Each is stopped, whatever becomes of the others.
        for gateway in started:
            stack.callback(gateway.stop)


@pytest.fixture
def upstream() -> Iterator[FakeUpstream]:
    """A scripted upstream of the test's own."""
    with FakeUpstream() as upstream:
        yield upstream
        assert not upstream.errors


@pytest.fixture(scope="module")
def _echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    with FakeUpstream(Echo()) as upstream:
        with Gateway(tmp_path_factory.mktemp("echo"), {"raw": upstream.port}, {"workers": 1}) as gateway:
            yield gateway, upstream


@pytest.fixture
def echo_upstream(_echoing: tuple[Gateway, FakeUpstream]) -> FakeUpstream:
    return _echoing[1]


@pytest.fixture
def echo(echo_upstream: FakeUpstream) -> Iterator[Echo]:
    """The script behind `echo_gateway`; what it holds back is let go at the end of the test."""
    echo_upstream.script.release.clear()
    yield echo_upstream.script
    echo_upstream.script.release.set()


@pytest.fixture
def echo_gateway(_echoing: tuple[Gateway, FakeUpstream], echo: Echo) -> Iterator[Gateway]:
    """A gateway with one worker whose answers show whose they are; what was smuggled must never show upstream."""
    gateway, upstream = _echoing
    upstream.forget()
    yield gateway
    assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"
    assert not upstream.errors
    assert b"smuggled" not in upstream.everything_received()


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with attacked_gateway(tmp_path_factory.mktemp("attacks")) as target:
        yield target


@pytest.fixture
def target(attacked: Target) -> Iterator[Target]:
    """A gateway to attack, beside which stands a good client; it must outlive the test."""
    yield attacked
    gateway = attacked.gateway
    assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"
    assert not attacked.upstream.errors


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[Program, int]]:
    program, port = start_redis(tmp_path)
    yield program, port
    if program.is_running:
        program.stop()
