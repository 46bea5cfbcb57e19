"""One measurement: a fresh proxy, right answers, load, CPU time for one request."""

import dataclasses
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import checks, subjects, tools
from .client import connect, tls_context
from .credentials import Credentials
from .processes import LOAD_CPU, PROXY_CPU, Failure, Process, Upstream, busy_seconds, free_port, wait_until
from .subjects import Site
from .works import Work

WARM_SECONDS = 0.5
IN_FLIGHT_SLACK = 8


@dataclass(frozen=True)
class Sample:
    """What one round said of one proxy at one work."""

    work: str
    subject: str
    round: int
    # CPU time of the proxy's process tree for one request, in microseconds.
    cpu_microseconds: float
    requests: int
    requests_per_second: float
    # Share of the measured time for which somebody else kept the proxy's core busy.
    disturbance: float
    upstream_connections: int


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
        result = _load(subject, work, round_number, conditions, site, proxy, upstream)
        if work.log:
            log = subjects.log_file(site)
            wait_until(f"{subject} writes its access log", lambda: checks.is_log_written(log), 5)
        return result


def _load(subject, work, round_number, conditions, site, proxy, upstream) -> Sample:
    first_request, first_connection = upstream.requests, upstream.connections
    with Process(
        "wrk", _wrk(work, conditions, site), LOAD_CPU, site.directory, _wrk_environment(work, site), True
    ) as wrk:
        # Handshakes, filling caches and pools: every token once, at least.
        warm_until = time.monotonic() + WARM_SECONDS
        warm_requests = first_request + work.tokens * 11 // 10

        def is_warm() -> bool:
            wrk.check_running()
            proxy.check_running()
            return time.monotonic() >= warm_until and upstream.requests > warm_requests

        wait_until(f"{subject}, {work.name}: the proxy answers", is_warm, WARM_SECONDS + 30)
        before = _reading(proxy, upstream)
        time.sleep(conditions.seconds)
        after = _reading(proxy, upstream)
        wrk.interrupt()
        report = _wrk_report(wrk)
    proxy.check_running()
    _check_load(subject, work, conditions, report, upstream.requests - first_request)
    elapsed, cpu, busy, requests = (end - start for start, end in zip(before, after, strict=True))
    return Sample(
        work=work.name,
        subject=subject,
        round=round_number,
        cpu_microseconds=cpu / requests * 1e6,
        requests=int(requests),
        requests_per_second=requests / elapsed,
        disturbance=max(0.0, (busy - cpu) / elapsed),
        upstream_connections=upstream.connections - first_connection,
    )


def _reading(proxy: Process, upstream: Upstream) -> tuple[float, float, float, int]:
    return (time.monotonic(), proxy.cpu_seconds(), busy_seconds(PROXY_CPU), upstream.requests)


def _wrk(work: Work, conditions: Conditions, site: Site) -> list[str]:
    command = [tools.find("wrk"), "-t", "1", "-c", str(conditions.connections), "-d", "600s"]
    command += ["-s", str(tools.BENCH / "load.lua")]
    if work.tokens == 1:
        command += ["-H", f"Authorization: Bearer {site.credentials.token}"]
    return [*command, f"{'https' if work.tls else 'http'}://127.0.0.1:{site.port}/"]


def _wrk_environment(work: Work, site: Site) -> dict[str, str]:
    return {"BENCH_TOKENS": str(site.credentials.tokens_file)} if work.tokens > 1 else {}


def _wrk_report(wrk: Process) -> dict[str, int]:
    for line in wrk.remaining_output(20).splitlines():
        if line.startswith("BENCH "):
            return json.loads(line.removeprefix("BENCH "))
    raise Failure(f"wrk did not report:\n{wrk.last_words()}")


def _check_load(subject: str, work: Work, conditions: Conditions, report: dict[str, int], forwarded: int) -> None:
    errors = {name: report[name] for name in ("connect", "read", "write", "status", "timeout") if report[name]}
    if errors:
        raise Failure(f"{subject}, {work.name}: wrk counted errors: {errors}")
    # What wrk had in flight when it stopped has reached the upstream and not wrk.
    if not -IN_FLIGHT_SLACK <= forwarded - report["requests"] <= conditions.connections + IN_FLIGHT_SLACK:
        raise Failure(f"{subject}, {work.name}: wrk got {report['requests']} answers, the upstream gave {forwarded}")


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
