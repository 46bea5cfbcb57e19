"""Counts that do not depend on the clock: what one warm exchange costs in calls, allocations and instructions.

Each count is taken as a long run minus a short run of the same program, so that start, handshake and warm-up cancel.
All exchanges go one after another over one connection: nothing is batched, and the count is the same each time.
"""

import mmap
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import profile, subjects, tools
from .checks import BODY
from .client import Client
from .credentials import Credentials
from .measure import SiteDirectory
from .processes import Failure, Process, Upstream, free_port
from .subjects import Site
from .works import Work

WARM_EXCHANGES = 200
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
    # Exchanges that the long run has more than the short one.
    exchanges: int


class Traced(Process):
    """A proxy under strace, which ends when its child does."""

    def main_pid(self) -> int:
        """strace's child; strace itself would detach and leave it running."""
        return next((pid for pid in self.tree() if pid != self.pid), self.pid)


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
            with Client(site.port, bench.work.tls) as client:
                _exchange(bench, client, WARM_EXCHANGES)
                before = struct.unpack("=Q", page)[0]
                if before == 0:
                    raise Failure(f"{bench.subject}: the shim counts nothing: is the program linked statically?")
                _exchange(bench, client, bench.exchanges)
                return (struct.unpack("=Q", page)[0] - before) / bench.exchanges


def resident_kib(bench: Bench) -> tuple[float, float]:
    """Resident memory after warm-up, and its growth over five times as many exchanges as are counted, in KiB."""
    with SiteDirectory(bench) as directory, Upstream(directory, None) as upstream:
        site = _site(bench, directory, upstream)
        with Process(bench.subject, subjects.command(bench.subject, bench.work, site), None, directory) as proxy:
            proxy.wait_for_port(site.port)
            with Client(site.port, bench.work.tls) as client:
                _exchange(bench, client, WARM_EXCHANGES + bench.exchanges)
                before = proxy.resident_bytes()
                _exchange(bench, client, bench.exchanges * GROWTH_EXCHANGES_FACTOR)
                return before / 1024, (proxy.resident_bytes() - before) / 1024


def _difference(bench: Bench, count_of_run: Callable[[Bench, int], Counter]) -> Counter:
    short = count_of_run(bench, WARM_EXCHANGES)
    long = count_of_run(bench, WARM_EXCHANGES + bench.exchanges)
    names = {*short, *long}
    return Counter({name: (long[name] - short[name]) / bench.exchanges for name in names})


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
        _run(bench, directory, command, exchanges, Process)
        counts: Counter[tuple[str, str]] = Counter()
        for path in directory.glob("callgrind.*"):
            own, calls = profile.read(path)
            counts.update({("own", name): count for name, count in own.items()})
            counts.update({("allocating", name): count for name, count in profile.allocating(calls).items()})
            counts.update({("references", name): count for name, count in profile.counting_references(calls).items()})
    if not counts:
        raise Failure(f"callgrind counted nothing of {bench.subject}")
    return counts


def _run(bench: Bench, directory: Path, tool: list[str], exchanges: int, kind: type[Process]) -> None:
    with Upstream(directory, None) as upstream:
        site = _site(bench, directory, upstream)
        command = [*tool, *subjects.command(bench.subject, bench.work, site)]
        with kind(bench.subject, command, None, directory) as proxy:
            proxy.wait_for_port(site.port)
            with Client(site.port, bench.work.tls) as client:
                _exchange(bench, client, exchanges)


def _site(bench: Bench, directory: Path, upstream: Upstream) -> Site:
    return Site(directory, free_port(), upstream.port, bench.credentials)


def _exchange(bench: Bench, client: Client, count: int) -> None:
    fields = [("Authorization", f"Bearer {bench.credentials.token}")] if bench.work.tokens else []
    request = client.request("/", fields)
    for _ in range(count):
        answer = client.exchange(request)
        if answer.status != 200 or answer.body != BODY:
            raise Failure(f"{bench.subject}: {answer.status} {answer.body[:300]!r}")
