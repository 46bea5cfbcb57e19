"""A good client and its own upstream, in a process of their own, so that nothing but the gateway holds them up.

`python -m support.bystander` prints the upstream's port. A line with a port has it ask the gateway there over and over,
the next line ends that, and what came of it is printed as JSON.
"""

import json
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from . import http2, sanitizer
from .upstream import FakeUpstream
from .wire import connect

AUTHORITY = "good.demo.localhost"
#: Requests that must have been answered while an attack lasts; it goes on until they are.
ENOUGH = 20


class Bystander:
    """The tests' end of it."""

    def __init__(self, certificates: Path):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.bystander", certificates / "ca.pem"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.upstream_port = int(self._process.stdout.readline())
        self._seconds: list[float] = []
        self._failures: list[str] = []
        #: So many of its requests have been answered that something can be said of them.
        self.has_enough = threading.Event()

    def start(self, port: int) -> None:
        self.has_enough.clear()
        self._tell(str(port))
        threading.Thread(target=self._wait_until_enough, daemon=True).start()

    def _wait_until_enough(self) -> None:
        assert self._process.stdout.readline() == "enough\n"
        self.has_enough.set()

    def stop(self) -> None:
        # It says so in any case, behind the last of its requests if not before.
        self._tell("stop")
        assert self.has_enough.wait(60), "the good client ended"
        said = json.loads(self._process.stdout.readline())
        self._seconds, self._failures = said["seconds"], said["failures"]

    def check(self) -> None:
        """99 of 100 of its requests were answered within a second, and all of them rightly."""
        assert not self._failures, self._failures[0]
        late = sum(seconds > sanitizer.PATIENCE for seconds in self._seconds)
        assert len(self._seconds) >= ENOUGH, f"only {len(self._seconds)} requests were answered"
        worst = max(self._seconds)
        assert late <= max(1, len(self._seconds) // 100), f"{late} of {len(self._seconds)} late, {worst:.1f} s at worst"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)

    def _tell(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()


def ask(port: int, tls: ssl.SSLContext, is_over: threading.Event) -> dict[str, list]:
    """Requests on one connection, which nothing should end, until told."""
    seconds, failures = [], []
    with http2.Connection(connect(port, tls, AUTHORITY)) as connection:
        while not is_over.is_set():
            began = time.monotonic()
            try:
                answer = connection.get("/", authority=AUTHORITY)
            except AssertionError as error:
                return {"seconds": seconds, "failures": [*failures, str(error)]}
            if (answer.status, answer.body) != (200, b"ok"):
                failures.append(str(answer))
            connection.streams.clear()
            seconds.append(time.monotonic() - began)
            if len(seconds) == ENOUGH:
                print("enough", flush=True)
            time.sleep(0.003)
    return {"seconds": seconds, "failures": failures}


def main() -> None:
    tls = ssl.create_default_context(cafile=sys.argv[1])
    tls.set_alpn_protocols(["h2"])
    with FakeUpstream() as upstream:
        print(upstream.port, flush=True)
        for line in sys.stdin:
            is_over, outcome = threading.Event(), {}
            thread = threading.Thread(target=lambda p=int(line), e=is_over, o=outcome: o.update(ask(p, tls, e)))
            thread.start()
            sys.stdin.readline()
            is_over.set()
            thread.join()
            if len(outcome["seconds"]) < ENOUGH:
                print("enough", flush=True)
            print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
