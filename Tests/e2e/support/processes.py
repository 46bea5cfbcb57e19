"""Programs that the tests start: found a port, waited for by a condition, stopped by their own process id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import sanitizer

#: The repository.
ROOT = Path(__file__).resolve().parents[3]


_given_ports: set[int] = set()


def free_port() -> int:
    """A TCP port that was free a moment ago, and that nobody here was given before."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def wait_until(condition: Callable[[], object], what: str, timeout: float = 20, pause: float = 0.02) -> object:
    """The first true value of `condition`; a failure that says `what` was awaited, after `timeout` seconds."""
    deadline = time.monotonic() + timeout * sanitizer.PATIENCE
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain until {what}")
        time.sleep(pause)


def accepts(port: int) -> bool:
    """Whether somebody listens on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Program:
    """A child process whose output goes to a file; `environment`, where given, is all that it gets."""

    def __init__(self, arguments: list[str | Path], log: Path, environment: dict[str, str] | None = None, **options):
        self.log = log
        self._output = log.open("ab")
        self.process = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=environment,
            **options,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_it_listens(self, port: int, timeout: float = 20) -> None:
        def listening() -> bool:
            assert self.is_running, f"ended with {self.process.returncode}:\n{self.output()[-2000:]}"
            return accepts(port)

        wait_until(listening, f"port {port} answers", timeout)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, timeout: float = 20) -> int:
        """Asks it to end, waits, and returns its exit code; killed by force when it does not end in time."""
        if self.is_running:
            self.signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not end within {timeout} s of SIGTERM") from None
        finally:
            self._output.close()

    def kill(self) -> None:
        """Ends it as a crash would: without a chance to finish anything."""
        self.process.kill()
        self.process.wait()
        self._output.close()


def start_gunicorn(
    name: str,
    application: str,
    folder: Path,
    variables: dict[str, str] | None = None,
    workers: tuple[str, ...] = ("--threads", "32"),
) -> tuple[Program, int]:
    """One of the sample applications, with its state in `folder`, and the port it listens on."""
    port = free_port()
    sample = ROOT / "examples" / name
    environment = {**os.environ, "SAMPLE_STATE_DIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    if name == "django":
        Program(
            [sys.executable, sample / "manage.py", "migrate", "--verbosity", "0"], folder / "migrate.log", environment
        ).process.wait(60)
    arguments = [sys.executable, "-m", "gunicorn", "--chdir", sample, "--bind", f"127.0.0.1:{port}", *workers]
    arguments += ["--keep-alive", "30", "--log-level", "warning", "--worker-tmp-dir", folder, application]
    program = Program(arguments, folder / f"{name}.log", environment)
    program.wait_until_it_listens(port)
    return program, port


def start_redis(folder: Path, port: int | None = None) -> tuple[Program, int]:
    """A Redis server of our own that writes nothing to disk."""
    port = port or free_port()
    arguments = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    program = Program(arguments, folder / f"redis-{port}.log", cwd=folder)
    program.wait_until_it_listens(port)
    return program, port
