"""Processes of a measurement: started on one core, read through /proc, stopped by id."""

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from . import tools

PROXY_CPU = 0
LOAD_CPU = 1
DESCRIPTORS_MAX = 16_384
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 20.0
# Idle is who used no more than this in this time.
IDLE_SECONDS = 0.3
IDLE_TICKS_MAX = 1
PR_SET_PDEATHSIG = 1
# Variables that a gateway reads; those of whoever measures must not change what is measured.
CONFIGURING = ("GATEWAY_", "JWT_", "IAM_")
CONFIGURING_EXACTLY = ("AUTH_CACHE_TTL", "DATABASE_URL", "PORT", "REDIS_URL")

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """A measurement that means nothing: a process failed, or an answer was wrong."""


def raise_descriptor_limit() -> None:
    """Enough descriptors for thousands of connections, here and in every process started from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_MAX, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def free_port() -> int:
    """A loopback port that nothing listens on, chosen by the kernel."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what: str, is_true: Callable[[], bool], seconds: float = START_SECONDS_MAX) -> None:
    """Asks until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.01)


def accepts(port: int) -> bool:
    """Whether a loopback port accepts connections."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(CONFIGURING) and name not in CONFIGURING_EXACTLY
    }


def _prepare_child() -> None:
    # Runs between fork and exec. A child goes when we do, even if we are killed.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A program, pinned to one core if `cpu` says so, with its output in a file; a context manager that ends it."""

    def __init__(
        self,
        name: str,
        command: list[str],
        cpu: int | None,
        directory: Path,
        environment: dict[str, str] | None = None,
        pipe: bool = False,
    ):
        self.name = name
        self.output = directory / f"{name}.out"
        with self.output.open("wb") as output:
            self._popen = subprocess.Popen(
                command if cpu is None else [tools.find("taskset"), "-c", str(cpu), *command],
                cwd=directory,
                env={**_environment(), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else output,
                stderr=output,
                preexec_fn=_prepare_child,
            )
        self.pid = self._popen.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def first_line(self) -> str:
        """The first line of standard output (`pipe=True`)."""
        return self._popen.stdout.readline().decode().strip()

    def remaining_output(self, seconds: float) -> str:
        """Waits for the end and returns what standard output had (`pipe=True`)."""
        try:
            return self._popen.communicate(timeout=seconds)[0].decode()
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.name} did not end within {seconds:.0f} s") from error

    def is_running(self) -> bool:
        """Whether the program still runs."""
        return self._popen.poll() is None

    def check_running(self) -> None:
        """Fails with the program's last words if it has ended."""
        if not self.is_running():
            raise Failure(f"{self.name} ended with {self._popen.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of what the program wrote."""
        return self.output.read_text(errors="replace")[-2000:]

    def wait_for_port(self, port: int) -> None:
        """Waits until the program accepts connections."""

        def is_ready() -> bool:
            self.check_running()
            return accepts(port)

        wait_until(f"{self.name} accepts on port {port}", is_ready)

    def wait_until_idle(self) -> None:
        """Waits until the program has done what it does after its start beside its work, such as hashing a password."""

        def is_idle() -> bool:
            self.check_running()
            before = self.cpu_seconds()
            time.sleep(IDLE_SECONDS)
            return self.cpu_seconds() - before <= IDLE_TICKS_MAX / TICKS_PER_SECOND

        wait_until(f"{self.name} is idle", is_idle)

    def interrupt(self) -> None:
        """SIGINT, which makes wrk stop and report."""
        self._popen.send_signal(signal.SIGINT)

    def stop(self) -> None:
        """SIGTERM and, if that does not help, SIGKILL."""
        if self.is_running():
            os.kill(self.main_pid(), signal.SIGTERM)
            try:
                self._popen.wait(timeout=STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._popen.kill()
                self._popen.wait()
                print(f"note: {self.name} did not end within {STOP_SECONDS_MAX:.0f} s of SIGTERM and was killed")
        if self._popen.stdout is not None:
            self._popen.stdout.close()

    def main_pid(self) -> int:
        """The process that is asked to end."""
        return self.pid

    def tree(self) -> list[int]:
        """The process and its descendants."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += [int(child) for child in children.read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """User and system time of the tree: all threads, ended children included."""
        return sum(sum(_stat(pid)[11:15]) for pid in self.tree()) / TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Resident memory of the tree."""
        total = 0
        for pid in self.tree():
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) * 1024
        return total


def _stat(pid: int) -> list[int]:
    # Fields from the third on (proc(5)): the second, the name, may hold spaces and parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) if field.lstrip("-").isdigit() else 0 for field in fields]


def busy_seconds(cpu: int) -> float:
    """Time that a core was not idle, whoever used it; time stolen by the hypervisor included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *times = line.split()
        if name == f"cpu{cpu}":
            user, nice, system, _, _, irq, softirq, steal = (int(time) for time in times[:8])
            return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND
    raise Failure(f"there is no CPU {cpu}: a measurement needs two cores")


class Upstream(Process):
    """bench/native/upstream.c on the load's core, with the numbers it keeps."""

    def __init__(self, directory: Path, cpu: int | None = LOAD_CPU):
        counters = directory / "upstream.counters"
        super().__init__("upstream", [tools.upstream(), "tcp", str(counters)], cpu, directory, pipe=True)
        line = self.first_line()
        if not line:
            raise Failure(f"the upstream did not start:\n{self.last_words()}")
        self.port = int(line)
        with counters.open("rb") as file:
            self._counters = mmap.mmap(file.fileno(), 24, prot=mmap.PROT_READ)

    @property
    def requests(self) -> int:
        """Requests answered since the start."""
        return struct.unpack_from("=Q", self._counters, 0)[0]

    @property
    def connections(self) -> int:
        """Connections accepted since the start."""
        return struct.unpack_from("=Q", self._counters, 8)[0]

    @property
    def large_bytes(self) -> int:
        """Bytes of large bodies, sent and received, since the start."""
        return struct.unpack_from("=Q", self._counters, 16)[0]
