"""The load tools: what each work is asked by, and what the tool says at the end.

Every tool begins at once and goes on until it is told to stop, so that the measured time can lie anywhere within; only
h2load has to be told beforehand how long that will be.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from . import tools
from .credentials import authorization
from .processes import LOAD_CPU, Failure, Process
from .subjects import Site
from .works import BULK_CONNECTIONS, HTTP2_CONNECTIONS, HTTP2_STREAMS, Work

WARM_SECONDS = 0.5
# What h2load needs to begin, and what reading the clocks may take.
SLACK_SECONDS = 1.0


@dataclass(frozen=True)
class Report:
    """What a tool says of the whole of its run."""

    answers: int
    in_flight_max: int
    p50_microseconds: float | None = None
    p99_microseconds: float | None = None


@dataclass(frozen=True)
class Load:
    """One tool with its arguments."""

    name: str
    command: list[str]
    environment: dict[str, str]
    is_interrupted: bool
    # From all it printed; raises Failure if that is not what was wanted.
    report: Callable[[str], Report]

    def process(self, site: Site) -> Process:
        """The running tool, on the load's core."""
        return Process(self.name, self.command, LOAD_CPU, site.directory, self.environment, pipe=True)

    def finish(self, process: Process, seconds: float) -> Report:
        """Stops the tool and reads its report."""
        if self.is_interrupted:
            process.interrupt()
        printed = process.remaining_output(seconds + 20)
        try:
            return self.report(printed)
        except Failure as error:
            raise Failure(f"{error}\n{printed[-1500:]}{process.last_words()}") from error


def load(work: Work, site: Site, connections: int, seconds: float) -> Load:
    """The tool for a work."""
    if work.handshake:
        return _handshakes(work, site, connections)
    if work.bulk:
        return _bulk(work, site)
    if work.pace:
        return _paced(work, site, connections)
    return _h2load(work, site, seconds) if work.http2 else _wrk(work, site, connections)


def counted_command(work: Work, site: Site, count: int) -> list[str]:
    """The tool that asks `count` times over one connection, one after the other, and ends."""
    if work.handshake:
        return [tools.handshakes(), str(site.port), work.handshake, "1", str(count)]
    if work.bulk:
        return [tools.bulk(), str(site.port), work.bulk, "1", str(count)]
    return [*_h2load_command(work, site, 1, 1), "-n", str(count), _url(work, site)]


def answers_counted(work: Work, printed: str) -> int:
    """How many good answers the tool of `counted_command` had."""
    return check_h2load(printed) if work.http2 else _said(printed)["requests"]


def check_h2load(printed: str) -> int:
    """How many good answers h2load counted; there may be no others, and all over the wanted TLS."""
    for wanted in ("TLSv1.3", "Cipher: TLS_AES_128_GCM_SHA256", "Temp Key: X25519", "Application protocol: h2"):
        if wanted not in printed:
            raise Failure(f"h2load does not speak '{wanted}'")
    requests = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", printed)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", printed)
    if requests is None or statuses is None:
        raise Failure("h2load did not report")
    done, succeeded, *bad = (int(number) for number in requests.groups())
    good, *others = (int(number) for number in statuses.groups())
    if done == 0 or succeeded != done or good < done or any(bad) or any(others):
        raise Failure("h2load counted errors")
    return done


def _wrk(work: Work, site: Site, connections: int) -> Load:
    command = [tools.find("wrk"), "-t", "1", "-c", str(connections), "-d", "600s"]
    command += ["-s", str(tools.BENCH / "load.lua")]
    environment = {}
    if work.tokens == 1:
        command += ["-H", ": ".join(authorization(site.tokens(work).token))]
    elif work.tokens:
        environment["BENCH_TOKENS"] = str(site.tokens(work).tokens_file)
    if work.routes > 1:
        paths = work.paths
        # The same order in each round and for every proxy.
        random.Random(work.routes).shuffle(paths)
        file = site.directory / "paths.txt"
        file.write_text("\n".join(paths) + "\n")
        environment["BENCH_PATHS"] = str(file)

    def report(printed: str) -> Report:
        said = _said(printed)
        errors = {name: said[name] for name in ("connect", "read", "write", "status", "timeout") if said[name]}
        if errors:
            raise Failure(f"wrk counted errors: {errors}")
        return Report(said["requests"], connections)

    return Load("wrk", [*command, _url(work, site)], environment, True, report)


def _handshakes(work: Work, site: Site, connections: int) -> Load:
    def report(printed: str) -> Report:
        said = _said(printed)
        # To have a ticket, each place begins with one full handshake.
        wrong = said["resumed"] > 0 if work.handshake == "full" else said["full"] > connections
        if wrong:
            raise Failure(f"not every handshake is {work.handshake}")
        return Report(said["requests"], connections)

    command = [tools.handshakes(), str(site.port), work.handshake, str(connections), "0"]
    return Load("handshakes", command, {}, True, report)


def _bulk(work: Work, site: Site) -> Load:
    def report(printed: str) -> Report:
        return Report(_said(printed)["requests"], BULK_CONNECTIONS)

    return Load("bulk", [tools.bulk(), str(site.port), work.bulk, str(BULK_CONNECTIONS), "0"], {}, True, report)


def _paced(work: Work, site: Site, connections: int) -> Load:
    def report(printed: str) -> Report:
        said = _said(printed)
        return Report(said["requests"], connections, said["p50"], said["p99"])

    command = [tools.paced(), str(site.port), str(work.pace), str(connections), f"{WARM_SECONDS * 1000:.0f}"]
    return Load("paced", command, {}, True, report)


def _h2load(work: Work, site: Site, seconds: float) -> Load:
    def report(printed: str) -> Report:
        return Report(check_h2load(printed), HTTP2_CONNECTIONS * HTTP2_STREAMS)

    command = _h2load_command(work, site, HTTP2_CONNECTIONS, HTTP2_STREAMS)
    command += ["-D", f"{(WARM_SECONDS + seconds + SLACK_SECONDS) * 1000:.0f}ms", _url(work, site)]
    return Load("h2load", command, {}, False, report)


def _h2load_command(work: Work, site: Site, connections: int, streams: int) -> list[str]:
    command = [tools.find("h2load"), "-t", "1", "-c", str(connections), "-m", str(streams)]
    command += ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "--groups", "X25519", "--npn-list", "h2"]
    if work.tokens:
        command += ["-H", ": ".join(authorization(site.tokens(work).token))]
    return command


def _url(work: Work, site: Site) -> str:
    return f"{'https' if work.tls else 'http'}://127.0.0.1:{site.port}/"


def _said(printed: str) -> dict:
    for line in printed.splitlines():
        if line.startswith("BENCH "):
            return json.loads(line.removeprefix("BENCH "))
    raise Failure("the load tool did not report")
