"""One measurement: a fresh proxy, right answers, load, CPU time for one request."""

import dataclasses
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import checks, loads, subjects, tools
from .client import connect, tls_context
from .credentials import Credentials
from .processes import LOAD_CPU, PROXY_CPU, Failure, Process, Upstream, busy_seconds, free_port, wait_until
from .subjects import Site
from .works import LARGE_BYTES, Work

IN_FLIGHT_SLACK = 8


@dataclass(frozen=True)
class Sample:
    """What one round said of one proxy at one work."""

    work: str
    subject: str
    round: int
    # CPU time of the proxy's process tree for one request, in microseconds; for large bodies, for 10 MiB.
    cpu_microseconds: float
    requests: int
    requests_per_second: float
    # Share of the measured time for which somebody else kept the proxy's core busy.
    disturbance: float
    upstream_connections: int
    # For large bodies alone.
    gigabytes_per_cpu_second: float | None = None
    # From the time that a request was due, at a fixed rate alone.
    p50_microseconds: float | None = None
    p99_microseconds: float | None = None


@dataclass(frozen=True)
class Conditions:
    """What holds for all measurements of a run."""

    directory: Path
    credentials: Credentials
    seconds: float
    connections: int


def sample(subject: str, work: Work, round_number: int, conditions: Conditions) -> Sample:
    """Measures once, with processes of its own."""
    with SiteDirectory(conditions) as directory, Upstream(directory) as upstream:
        if not work.redis:
            return _sample_behind(subject, work, round_number, conditions, upstream, directory, None)
        with Redis(directory) as redis:
            return _sample_behind(subject, work, round_number, conditions, upstream, directory, redis.port)


def idle_kib(subject: str, work: Work, count: int, conditions: Conditions) -> float:
    """Resident memory for one idle TLS connection, in KiB."""
    with SiteDirectory(conditions) as directory, Upstream(directory) as upstream:
        site = Site(directory, free_port(), upstream.port, conditions.credentials)
        with Process(subject, subjects.command(subject, work, site), PROXY_CPU, directory) as proxy:
            proxy.wait_for_port(site.port)
            checks.check_answers(subject, work, site)
            proxy.wait_until_idle()
            context = tls_context()
            # What is made at the first handshakes, and what grows by steps, is no connection's cost.
            _close([connect(site.port, context) for _ in range(50)])
            before = _settled_bytes(proxy)
            connections = [connect(site.port, context) for _ in range(count)]
            after = _settled_bytes(proxy)
            proxy.check_running()
            _close(connections)
    return (after - before) / count / 1024


def _sample_behind(subject, work, round_number, conditions, upstream, directory, redis_port) -> Sample:
    site = Site(directory, free_port(), upstream.port, conditions.credentials, redis_port)
    if work.limit and round_number == 0:
        low = checks.with_low_rate(dataclasses.replace(site, port=free_port()))
        with Process(f"{subject}-limited", subjects.command(subject, work, low), PROXY_CPU, directory) as proxy:
            proxy.wait_for_port(low.port)
            checks.check_limit(subject, work, low)
    with Process(subject, subjects.command(subject, work, site), PROXY_CPU, directory) as proxy:
        proxy.wait_for_port(site.port)
        checks.check_answers(subject, work, site)
        proxy.wait_until_idle()
        result = _load(subject, work, round_number, conditions, site, proxy, upstream)
        if work.log:
            log = subjects.log_file(site)
            wait_until(f"{subject} writes its access log", lambda: checks.is_log_written(log), 5)
        return result


def _load(subject, work, round_number, conditions, site, proxy, upstream) -> Sample:
    first_request, first_connection = upstream.requests, upstream.connections
    load = loads.load(work, site, conditions.connections, conditions.seconds)
    with load.process(site) as tool:
        # Handshakes, filling caches and pools: every token or route once, at least.
        warm_until = time.monotonic() + loads.WARM_SECONDS
        warm_requests = first_request + (max(work.tokens, work.routes) * 11 // 10 if work.is_varied else 0)

        def is_warm() -> bool:
            tool.check_running()
            proxy.check_running()
            return time.monotonic() >= warm_until and upstream.requests > warm_requests

        wait_until(f"{subject}, {work.name}: the proxy answers", is_warm, loads.WARM_SECONDS + 30)
        before = _reading(work, proxy, upstream)
        time.sleep(conditions.seconds)
        after = _reading(work, proxy, upstream)
        try:
            report = load.finish(tool, conditions.seconds)
        except Failure as error:
            raise Failure(f"{subject}, {work.name}: {error}") from error
    proxy.check_running()
    _check_load(subject, work, report, upstream.requests - first_request)
    elapsed, cpu, busy, requests = (end - start for start, end in zip(before, after, strict=True))
    if requests == 0 or cpu == 0:
        raise Failure(f"{subject}, {work.name}: nothing happened in {elapsed:.1f} s")
    return Sample(
        work=work.name,
        subject=subject,
        round=round_number,
        cpu_microseconds=cpu / requests * 1e6,
        requests=int(requests),
        requests_per_second=requests / elapsed,
        disturbance=max(0.0, (busy - cpu) / elapsed),
        upstream_connections=upstream.connections - first_connection,
        gigabytes_per_cpu_second=requests * LARGE_BYTES / 1e9 / cpu if work.bulk else None,
        p50_microseconds=report.p50_microseconds,
        p99_microseconds=report.p99_microseconds,
    )


def _reading(work: Work, proxy: Process, upstream: Upstream) -> tuple[float, float, float, float]:
    # A large body is many readings long: what is under way counts by its bytes.
    requests = upstream.large_bytes / LARGE_BYTES if work.bulk else upstream.requests
    return (time.monotonic(), proxy.cpu_seconds(), busy_seconds(PROXY_CPU), requests)


def _check_load(subject: str, work: Work, report: loads.Report, forwarded: int) -> None:
    # What the tool had in flight when it stopped has reached the upstream and not the tool.
    if not -IN_FLIGHT_SLACK <= forwarded - report.answers <= report.in_flight_max + IN_FLIGHT_SLACK:
        raise Failure(
            f"{subject}, {work.name}: the load tool got {report.answers} answers, the upstream gave {forwarded}"
        )


class SiteDirectory(tempfile.TemporaryDirectory):
    """A folder for one proxy, removed with what it holds; names in configurations are absolute."""

    def __init__(self, conditions: Conditions):
        super().__init__(dir=conditions.directory, prefix="site-")

    def __enter__(self) -> Path:
        return Path(super().__enter__())


class Redis(Process):
    """A Redis of our own on the load's core, in memory alone."""

    def __init__(self, directory: Path):
        self.port = free_port()
        command = [tools.find("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--save", ""]
        super().__init__("redis-server", [*command, "--appendonly", "no"], LOAD_CPU, directory)
        self.wait_for_port(self.port)


def _settled_bytes(proxy: Process) -> int:
    """Resident memory once two readings agree: handshakes may still be worked off."""
    readings = [0]

    def is_settled() -> bool:
        time.sleep(0.1)
        readings.append(proxy.resident_bytes())
        return readings[-1] == readings[-2]

    wait_until(f"{proxy.name}: memory settles", is_settled, 20)
    return readings[-1]


def _close(connections: list) -> None:
    for connection in connections:
        connection.close()
