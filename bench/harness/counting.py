"""Counts that do not depend on the clock: what one warm exchange costs in calls, allocations and instructions.

Each count is taken as a long run minus a short run of the same program, so that start, handshake and warm-up cancel.
All exchanges go one after another, over one connection unless the work is to shake hands: nothing is batched, and the
count is the same each time. Large bodies are counted by the MiB, everything else by the exchange.
"""

import dataclasses
import mmap
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import loads, profile, subjects, tools
from .checks import BODY
from .client import Client
from .credentials import Credentials, authorization
from .measure import SiteDirectory
from .processes import Failure, Process, Upstream, free_port
from .subjects import Site
from .works import GATEWAY, LARGE_BYTES, Work

WARM_EXCHANGES = 200
# Costly ones are fewer: so many ordinary exchanges count as one of them.
BULK_FACTOR, HANDSHAKE_FACTOR = 50, 5
TOOL_SECONDS_MAX = 300
# So many of the routes are asked, from first to last: fewer than warm-up has exchanges.
ROUTES_ASKED = 100
ROUTES_MAX = 1000
# Tables and pools of the C library settle in steps; a leak goes on.
GROWTH_EXCHANGES_FACTOR = 5
# Whether these reach the kernel depends on the clock that is asked for and on the machine (vdso(7)): counted apart.
CLOCK_READS = ("clock_gettime", "gettimeofday", "time")


@dataclass(frozen=True)
class Bench:
    """What is counted, and with what."""

    subject: str
    work: Work
    directory: Path
    credentials: Credentials
    # Exchanges that the long run has more than the short one, where they are ordinary ones.
    exchanges: int

    def scaled(self, exchanges: int) -> int:
        """How many of this work's exchanges stand for so many ordinary ones."""
        factor = BULK_FACTOR if self.work.bulk else HANDSHAKE_FACTOR if self.work.handshake else 1
        return max(1, exchanges // factor)

    @property
    def warm(self) -> int:
        """Exchanges of the short run."""
        return self.scaled(WARM_EXCHANGES)

    @property
    def counted(self) -> int:
        """Exchanges that the long run has more."""
        return self.scaled(self.exchanges)

    @property
    def units(self) -> int:
        """What these are, in the unit of the count."""
        return self.counted * (LARGE_BYTES >> 20 if self.work.bulk else 1)


class Traced(Process):
    """A proxy under strace, which ends when its child does."""

    def main_pid(self) -> int:
        """strace's child; strace itself would detach and leave it running."""
        return next((pid for pid in self.tree() if pid != self.pid), self.pid)


def countable(work: Work) -> Work:
    """The work with so few routes that it starts in seconds under valgrind; an exchange looks at its own alone."""
    return dataclasses.replace(work, routes=min(work.routes, ROUTES_MAX))


def system_calls(bench: Bench) -> Counter[str]:
    """Calls for one exchange, by name."""
    return _difference(bench, _system_calls_of_run)


def instructions(bench: Bench) -> dict[str, Counter[str]]:
    """What callgrind saw for one exchange.

    `own`: instructions in user mode by function, whose total is the figure; `allocating` and `references`: calls of the
    allocator, and those that count references, by caller.
    """
    all_kinds = _difference(bench, _profile_of_run)
    found: dict[str, Counter[str]] = {"own": Counter(), "allocating": Counter(), "references": Counter()}
    for (kind, name), count in all_kinds.items():
        found[kind][name] = count
    return found


def allocations(bench: Bench) -> float:
    """Calls of malloc, calloc, realloc and their like for one exchange."""
    with SiteDirectory(bench) as directory, Upstream(directory, None) as upstream:
        counter = directory / "allocations"
        counter.write_bytes(bytes(8))
        site = _site(bench, directory, upstream)
        environment = {"LD_PRELOAD": tools.allocation_shim(), "ALLOCATION_COUNTER": str(counter)}
        command = subjects.command(bench.subject, bench.work, site)
        with counter.open("rb") as file, Process(bench.subject, command, None, directory, environment) as proxy:
            page = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)
            proxy.wait_for_port(site.port)

            def allocations_of(exchanges: int) -> int:
                before = struct.unpack("=Q", page)[0]
                _exchange(bench, site, exchanges)
                return struct.unpack("=Q", page)[0] - before

            if allocations_of(bench.warm) == 0:
                raise Failure(f"{bench.subject}: the shim counts nothing: is the program linked statically?")
            short = allocations_of(bench.warm)
            return (allocations_of(bench.warm + bench.counted) - short) / bench.units


def resident_kib(bench: Bench) -> tuple[float, float]:
    """Resident memory after warm-up, and its growth over five times as many exchanges as are counted, in KiB."""
    with SiteDirectory(bench) as directory, Upstream(directory, None) as upstream:
        site = _site(bench, directory, upstream)
        with Process(bench.subject, subjects.command(bench.subject, bench.work, site), None, directory) as proxy:
            proxy.wait_for_port(site.port)
            _exchange(bench, site, bench.warm + bench.counted)
            before = proxy.resident_bytes()
            _exchange(bench, site, bench.counted * GROWTH_EXCHANGES_FACTOR)
            return before / 1024, (proxy.resident_bytes() - before) / 1024


def _difference(bench: Bench, count_of_run: Callable[[Bench, int], Counter]) -> Counter:
    short = count_of_run(bench, bench.warm)
    long = count_of_run(bench, bench.warm + bench.counted)
    names = {*short, *long}
    return Counter({name: (long[name] - short[name]) / bench.units for name in names})


def _system_calls_of_run(bench: Bench, exchanges: int) -> Counter[str]:
    with SiteDirectory(bench) as directory:
        table = directory / "strace.txt"
        command = [tools.find("strace"), "-f", "-c", "-U", "calls,name", "-o", str(table)]
        _run(bench, directory, command, exchanges, Traced)
        lines = (line.split() for line in table.read_text().splitlines())
        calls = {line[1]: int(line[0]) for line in lines if len(line) == 2 and line[0].isdigit() and line[1] != "total"}
    if not calls:
        raise Failure(f"strace counted no call of {bench.subject}")
    return Counter(calls)


def _profile_of_run(bench: Bench, exchanges: int) -> Counter[tuple[str, str]]:
    with SiteDirectory(bench) as directory:
        command = [tools.find("valgrind"), "--quiet", "--tool=callgrind", "--trace-children=yes"]
        command.append(f"--callgrind-out-file={directory}/callgrind.%p")
        gateway = tools.gateway_without_debug_info(directory) if bench.subject == GATEWAY else None
        _run(bench, directory, command, exchanges, Process, gateway)
        counts: Counter[tuple[str, str]] = Counter()
        for path in directory.glob("callgrind.*"):
            own, calls = profile.read(path)
            counts.update({("own", name): count for name, count in own.items()})
            counts.update({("allocating", name): count for name, count in profile.allocating(calls).items()})
            counts.update({("references", name): count for name, count in profile.counting_references(calls).items()})
    if not counts:
        raise Failure(f"callgrind counted nothing of {bench.subject}")
    return counts


def _run(
    bench: Bench, directory: Path, tool: list[str], exchanges: int, kind: type[Process], gateway: str | None = None
) -> None:
    with Upstream(directory, None) as upstream:
        site = dataclasses.replace(_site(bench, directory, upstream), gateway=gateway)
        command = [*tool, *subjects.command(bench.subject, bench.work, site)]
        with kind(bench.subject, command, None, directory) as proxy:
            proxy.wait_for_port(site.port)
            _exchange(bench, site, exchanges)


def _site(bench: Bench, directory: Path, upstream: Upstream) -> Site:
    return Site(directory, free_port(), upstream.port, bench.credentials)


def _exchange(bench: Bench, site: Site, count: int) -> None:
    """So many exchanges, each with the right answer."""
    if bench.work.handshake or bench.work.bulk or bench.work.http2:
        _exchange_by_tool(bench, site, count)
        return
    fields = [authorization(site.tokens(bench.work).token)] if bench.work.tokens else []
    with Client(site.port, bench.work.tls) as client:
        paths = bench.work.paths
        requests = [client.request(path, fields) for path in paths[:: max(1, len(paths) // ROUTES_ASKED)]]
        for index in range(count):
            answer = client.exchange(requests[index % len(requests)])
            if answer.status != 200 or answer.body != BODY:
                raise Failure(f"{bench.subject}: {answer.status} {answer.body[:300]!r}")


def _exchange_by_tool(bench: Bench, site: Site, count: int) -> None:
    result = subprocess.run(
        loads.counted_command(bench.work, site, count),
        capture_output=True,
        text=True,
        check=False,
        timeout=TOOL_SECONDS_MAX,
    )
    answers = loads.answers_counted(bench.work, result.stdout) if result.returncode == 0 else 0
    if answers != count:
        raise Failure(f"{bench.subject}: {answers} answers for {count} requests\n{result.stdout}{result.stderr}")
