"""A soak: the gateway at full load for a long time, among reloads, deaths of upstreams and departures of clients.

`python -m soak SECONDS` (by `make soak`) fails when an answer is lost or another's, when memory or descriptors grow, or
when the gateway does not end in good order. Every answer that is checked says whose it is; wrk and h2load, where they
are installed, add the load that a client in Python cannot make.

A request is lost when neither an answer comes nor a lawful sign that none will: one of 502, 503 and 504, an answer that
is visibly cut off, or the reset of its stream. The end of a connection is a sign only behind `Connection: close`.
"""

import contextlib
import itertools
import json
import random
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

import psutil
from support import http2
from support.gateway import Gateway, certificates, route
from support.processes import ROOT, Program, free_port, wait_until
from support.resources import MIB, vanish
from support.upstream import FakeUpstream, UpstreamConnection
from support.websocket import StreamOfHTTP2, switched, upgrade
from support.wire import connect

HOST = "raw.demo.localhost"
#: The answers that say that an upstream died, or that the gateway had none to ask.
EXCUSED = {502, 503, 504}
PATIENCE = 60
BATCH_BYTES_MAX = 50_000
#: What memory may grow by while it is watched, beside a twentieth of what it is.
GROWTH_MAX = 4 * MIB
#: Descriptors come and go with connections, within a tenth; a leak of one for each reload or death would be many more.
DESCRIPTORS_GROWTH_MAX = 8
#: In less time nothing can be told of growth.
SECONDS_JUDGED_MIN = 120
#: Deaths of upstreams explain so many of all answers.
EXCUSED_SHARE_MAX = 0.05


# The upstream: each answer says whose it is


def said(method: str, target: str, body: bytes) -> bytes:
    """The only right answer to this request; `/size/N/` in the target makes it longer."""
    line = f"{method} {target} {len(body)} {zlib.crc32(body):08x}\n".encode()
    if "/size/" not in target:
        return line
    size = int(target.split("/size/")[1].split("/")[0])
    return (line * (size // len(line) + 1))[: max(size, len(line))]


def application(environ, start_response):
    """The same answer by gunicorn's workers."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = said(environ["REQUEST_METHOD"], environ["PATH_INFO"], body)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


def answer_all(connection: UpstreamConnection) -> None:
    while request := connection.read_request():
        connection.owner.requests.clear()
        connection.received = b""
        if request.get("upgrade"):
            connection.send(switched(request))
            while data := connection.read_some():
                connection.send(data)
            return
        answer = said(request.method, request.target, request.body)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)


def serve(port: int) -> None:
    class Forgetful(FakeUpstream):
        """Keeps no list of the connections that it had."""

        def _run(self, connection: UpstreamConnection) -> None:
            super()._run(connection)
            with contextlib.suppress(ValueError):
                self.connections.remove(connection)

    with Forgetful(answer_all, port=port):
        signal.pause()


# The clients: each a process, which counts what came of its requests until it is told to end


class Requests:
    """Requests of which no two are alike."""

    def __init__(self, name: str):
        self._name = name
        self._numbers = itertools.count()
        self.chance = random.Random(name)

    def next(self) -> tuple[str, str, bytes]:
        kind = self.chance.random()
        place = "gunicorn" if kind < 0.02 else "public"
        target = f"/{place}/{self._name}/{next(self._numbers)}"
        if kind > 0.9:
            target = f"/{place}/size/{self.chance.randrange(200_000)}{target}"
        if self.chance.random() < 0.3:
            return "POST", target, self.chance.randbytes(self.chance.randrange(40_000))
        return "GET", target, b""


class Outcomes(Counter):
    """Kinds of ends; what must not be is kept in words, too."""

    def __init__(self):
        super().__init__()
        self.complaints: list[str] = []

    def complain(self, kind: str, words: str) -> None:
        self[kind] += 1
        if len(self.complaints) < 20:
            self.complaints.append(f"{kind}: {words}")

    def judge(self, status: int, body: bytes, request: tuple[str, str, bytes]) -> None:
        """What a whole answer is."""
        if status == 200 and body == said(*request):
            self["right"] += 1
        elif status in EXCUSED:
            self[f"excused {status}"] += 1
        else:
            self.complain("wrong", f"{request[0]} {request[1]}: {status} {body[:200]!r}")


class HTTP1Reader:
    """Answers with a Content-Length, one after the other."""

    def __init__(self, peer: socket.socket):
        self._file = peer.makefile("rb")

    def read(self) -> tuple[int, bytes, bool] | None:
        """Status, body, and whether the connection ends behind it; nothing where the peer has closed instead."""
        line = self._file.readline()
        if not line:
            return None
        status, length, closes = int(line.split()[1]), None, False
        while (field := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = field.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"connection":
                closes = b"close" in value.lower()
        if not field or length is None:
            raise ConnectionError("cut within a head")
        body = self._file.read(length)
        if len(body) < length:
            raise ConnectionError("cut within a body")
        return status, body, closes


def ask_http1(port: int, tls: ssl.SSLContext | None, requests: Requests, outcomes: Outcomes, is_over) -> None:
    """Batches of pipelined requests on one connection after another."""
    while not is_over():
        with connect(port, tls, HOST, timeout=PATIENCE) as peer:
            reader = HTTP1Reader(peer)
            goes_on = True
            while goes_on and not is_over():
                batch = [requests.next() for _ in range(requests.chance.choice((1, 1, 4, 16)))]
                # What is sent before the first answer is read must fit into the kernel's buffers.
                while len(batch) > 1 and sum(len(body) for _, _, body in batch) > BATCH_BYTES_MAX:
                    batch.pop()
                goes_on = ask_batch(peer, reader, batch, outcomes)


def ask_batch(peer: socket.socket, reader: HTTP1Reader, batch: list, outcomes: Outcomes) -> bool:
    data = b"".join(
        f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n".encode()
        + (b"Content-Length: %d\r\n" % len(body) if method == "POST" else b"")
        + b"\r\n"
        + body
        for method, target, body in batch
    )
    send_quietly(peer, data)
    for index, request in enumerate(batch):
        try:
            answer = reader.read()
        except TimeoutError:
            outcomes.complain("lost", f"no answer to {request[:2]} within {PATIENCE} s")
            return False
        except (OSError, ssl.SSLError):
            # Cut off, and the rest of the batch with it: all of them may be asked again.
            outcomes["cut"] += 1
            outcomes["unasked"] += len(batch) - index - 1
            return False
        if answer is None:
            outcomes.complain("lost", f"the connection ended before the answer to {request[:2]}")
            return False
        status, body, closes = answer
        outcomes.judge(status, body, request)
        if closes:
            outcomes["unasked"] += len(batch) - index - 1
            return False
    return True


def send_quietly(peer: socket.socket, data: bytes) -> None:
    """An early answer may end the connection; the reader learns of that."""
    with contextlib.suppress(OSError):
        peer.sendall(data)


def ask_http2(port: int, tls: ssl.SSLContext, requests: Requests, outcomes: Outcomes, is_over) -> None:
    while not is_over():
        with http2.Connection(connect(port, tls, HOST), timeout=PATIENCE) as connection:
            while not is_over() and not connection.is_closed and connection.goaway is None:
                ask_streams(connection, [requests.next() for _ in range(32)], outcomes)
                connection.streams.clear()


def ask_streams(connection: http2.Connection, batch: list, outcomes: Outcomes) -> None:
    opened = []
    try:
        for method, target, body in batch:
            fields = [("content-length", str(len(body)))] if method == "POST" else []
            stream = connection.request(target, fields, method, HOST, ends=method != "POST")
            opened.append((stream, (method, target, body)))
            if method == "POST":
                connection.upload(stream, body)
        for stream, request in opened:
            answer = connection.answer(stream)
            if answer.reset_code is not None and not answer.is_ended:
                outcomes["cut"] += 1
            else:
                outcomes.judge(answer.status, answer.body, request)
    except AssertionError as error:
        # The test's client says so when a connection has ended, or when nothing comes.
        outcomes.complain("lost", f"{error} ({len(opened)} streams)")
        connection.is_closed = True


def tunnel(port: int, https_port: int, tls: ssl.SSLContext, requests: Requests, outcomes: Outcomes, is_over) -> None:
    """WebSockets that say back what they are told, over both versions."""
    while not is_over():
        path = f"/public/{requests.next()[1].replace('/', '-')}"
        try:
            if requests.chance.random() < 0.5:
                way = upgrade(connect(port), path)
            else:
                way = StreamOfHTTP2(http2.Connection(connect(https_port, tls, HOST), timeout=PATIENCE), path)
        except (AssertionError, OSError):
            outcomes["tunnels refused"] += 1
            continue
        with contextlib.closing(way):
            for _ in range(20):
                sent, received = requests.chance.randbytes(2000), b""
                try:
                    way.send(sent)
                    while len(received) < len(sent) and (data := way.receive()):
                        received += data
                except (OSError, AssertionError):
                    break
                if received != sent[: len(received)]:
                    outcomes.complain("wrong", "a tunnel gave what it was not told")
                if len(received) < len(sent):
                    break
                outcomes["tunnelled"] += 1
            else:
                outcomes["tunnels whole"] += 1
                continue
            outcomes["tunnels cut"] += 1


def depart(port: int, https_port: int, tls: ssl.SSLContext, requests: Requests, outcomes: Outcomes, is_over) -> None:
    """Clients that go away at any point, over both versions, with TLS and without."""
    chance = requests.chance
    get = f"GET /public/size/1000000/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    post = f"POST /public/x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 1000000\r\n\r\n".encode() + bytes(1000)
    http1 = ssl.create_default_context(cafile=str(certificates() / "ca.pem"))
    while not is_over():
        with contextlib.suppress(OSError, AssertionError):
            match chance.randrange(4):
                case 0:
                    peer = connect(https_port)
                    peer.sendall(bytes.fromhex("16030100c8010000c40303")[: chance.randrange(12)])
                case 1 | 2:
                    peer = connect(https_port, http1, HOST) if chance.random() < 0.5 else connect(port)
                    data = chance.choice((get, post))
                    peer.sendall(data[: chance.randrange(len(data) + 1)])
                    if chance.random() < 0.5:
                        peer.settimeout(0.05)
                        with contextlib.suppress(TimeoutError, ssl.SSLError):
                            peer.recv(chance.randrange(1, 10_000))
                case 3:
                    peer = connect(https_port, tls, HOST)
                    connection = http2.Connection(peer, timeout=5)
                    connection.gives_window = False
                    for _ in range(chance.randrange(10)):
                        stream = connection.request("/public/size/1000000/x", method=chance.choice(("GET", "POST")))
                        if chance.random() < 0.3:
                            connection.send(http2.reset(stream))
                    if chance.random() < 0.5:
                        connection.read()
            if chance.random() < 0.7:
                vanish(peer)
            else:
                peer.close()
            outcomes["departed"] += 1
        time.sleep(0.01)


def run_client(kind: str, name: str, port: int, https_port: int) -> None:
    """Until its input ends; then it says what came of it."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    authority = str(certificates() / "ca.pem")
    http1 = ssl.create_default_context(cafile=authority)
    both = ssl.create_default_context(cafile=authority)
    both.set_alpn_protocols(["h2"])
    outcomes, requests = Outcomes(), Requests(name)
    match kind:
        case "http1":
            ask_http1(port, None, requests, outcomes, over.is_set)
        case "https":
            ask_http1(https_port, http1, requests, outcomes, over.is_set)
        case "http2":
            ask_http2(https_port, both, requests, outcomes, over.is_set)
        case "tunnels":
            tunnel(port, https_port, both, requests, outcomes, over.is_set)
        case "departures":
            depart(port, https_port, both, requests, outcomes, over.is_set)
    print(json.dumps({"outcomes": outcomes, "complaints": outcomes.complaints}), flush=True)


# The whole


class Client:
    def __init__(self, kind: str, number: int, gateway: Gateway):
        self.kind = kind
        arguments = [sys.executable, "-m", "soak", "client", kind, f"{kind}-{number}"]
        arguments += [str(gateway.plain_port), str(gateway.https_port)]
        self._process = subprocess.Popen(
            arguments, cwd=Path(__file__).parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell_to_end(self) -> None:
        self._process.stdin.close()

    def end(self) -> None:
        """Whatever it does."""
        self._process.kill()
        self._process.wait()

    def outcomes(self) -> dict:
        answer = self._process.stdout.read()
        assert self._process.wait(PATIENCE) == 0, f"{self.kind} failed by itself"
        return json.loads(answer)


class Upstreams:
    """Two endpoints of one pool, which die in turn, and gunicorn, of which a worker dies."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ports = [free_port(), free_port()]
        self.programs = [self._start(port) for port in self.ports]
        self.deaths = 0
        self.gunicorn_port = free_port()
        arguments = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.gunicorn_port}", "--workers", "2"]
        arguments += ["--log-level", "critical", "--worker-tmp-dir", folder, "soak:application"]
        self.gunicorn = Program(arguments, folder / "gunicorn.log", cwd=Path(__file__).parent)
        self.gunicorn.wait_until_it_listens(self.gunicorn_port)

    def _start(self, port: int) -> Program:
        arguments = [sys.executable, "-m", "soak", "upstream", str(port)]
        program = Program(arguments, self.folder / f"upstream-{port}.log", cwd=Path(__file__).parent)
        program.wait_until_it_listens(port, timeout=PATIENCE)
        return program

    def kill_one(self) -> None:
        """The other one of the pool goes on."""
        index = self.deaths % 3
        self.deaths += 1
        if index == 2:
            workers = psutil.Process(self.gunicorn.pid).children()
            if workers:
                workers[0].kill()
            return
        self.programs[index].kill()
        time.sleep(0.3)
        self.programs[index] = self._start(self.ports[index])

    def stop(self) -> None:
        for program in self.programs:
            program.kill()
        self.gunicorn.stop()


class Samples:
    """Memory and descriptors, taken every so often."""

    def __init__(self, process: psutil.Process):
        self._process = process
        self.rows: list[tuple[float, int, int]] = []

    def take(self, at: float) -> None:
        self.rows.append((at, self._process.memory_info().rss, self._process.num_fds()))

    def growth(self, column: int, since: float) -> tuple[float, float]:
        """By how much the fitted line rises from `since` to the end, and the mean."""
        rows = [row for row in self.rows if row[0] >= since]
        times, values = [row[0] for row in rows], [row[column] for row in rows]
        slope = statistics.linear_regression(times, values).slope
        return slope * (times[-1] - times[0]), statistics.mean(values)


class Reloads:
    """A file that changes a little each time, beside a log that is rotated; each fourth file is refused."""

    def __init__(self, gateway: Gateway):
        self._gateway = gateway
        self.taken, self.refused = 0, 0

    def next(self) -> None:
        gateway = self._gateway
        number = self.taken + self.refused
        is_bad = number % 4 == 3
        gateway.configuration["routes"][-1]["path"] = f"/reloaded/{number % 8}"
        gateway.configuration["limits"]["by-address"]["rate"] = f"{100_000 + number}/second"
        text = gateway.configuration_file.read_text()
        log = gateway.folder / "access.log"
        if log.exists():
            log.replace(gateway.folder / "access.log.1")
            gateway.program.signal(signal.SIGUSR1)
        if is_bad:
            self.refused += 1
            gateway.configuration_file.write_text(text + "unknown: 1\n")
            gateway.program.signal(signal.SIGHUP)
            wait_until(lambda: self._metric("config_reload_failures_total") >= self.refused, "refused", PATIENCE)
            gateway.configuration_file.write_text(text)
        else:
            self.taken += 1
            gateway.reload()
            wait_until(lambda: self._metric("config_reloads_total") >= self.taken, "the reload is taken", PATIENCE)

    def _metric(self, name: str) -> float:
        with contextlib.suppress(OSError):
            return next((value for key, value in self._gateway.metrics().items() if key.endswith(name)), 0)
        return 0


def make_gateway(folder: Path, upstreams: Upstreams, bulk_port: int | None) -> Gateway:
    pools: dict[str, dict] = {
        "raw": {"endpoints": [f"127.0.0.1:{port}" for port in upstreams.ports]},
        "gunicorn": {"endpoints": [f"127.0.0.1:{upstreams.gunicorn_port}"]},
    }
    routes = [
        route("raw", "/public/**", public=True),
        route("raw", "/gunicorn/**", "gunicorn", public=True, buffer_request=True, limit="by-address"),
    ]
    if bulk_port:
        pools["bulk"] = {"endpoints": [f"127.0.0.1:{bulk_port}"]}
        routes.append(route("bulk", "/**", public=True))
    routes.append(route("raw", "/reloaded/0", public=True))
    for pool in pools.values():
        pool["keep_alive"] = {"timeout": "2s"}
    changes = {"workers": 2, "upstreams": pools, "routes": routes, "log": {"access": str(folder / "access.log")}}
    changes["limits"] = {"by-address": {"rate": "100000/second", "key": "address"}}
    return Gateway(folder, {"raw": upstreams.ports[0]}, changes)


def pressure(gateway: Gateway, folder: Path, seconds: float) -> list[Program]:
    """Load by programs that are faster than Python, as far as they are there."""
    tools = []
    address = f"https://bulk.demo.localhost:{gateway.https_port}/"
    if wrk := shutil.which("wrk"):
        arguments = [wrk, "-t1", "-c32", f"-d{int(seconds)}s", "-H", f"Host: bulk.demo.localhost:{gateway.https_port}"]
        tools.append((arguments, f"https://127.0.0.1:{gateway.https_port}/", "wrk.log"))
    if h2load := shutil.which("h2load"):
        tools.append(
            (
                [h2load, "-c8", "-m16", "-D", str(int(seconds)), f"--connect-to=127.0.0.1:{gateway.https_port}"],
                address,
                "h2load.log",
            )
        )
    return [Program([*arguments, url], folder / log) for arguments, url, log in tools]


def start_bulk_upstream(folder: Path, stack: contextlib.ExitStack) -> int | None:
    """The port of the fast upstream of the measurements, where a compiler is."""
    compiler = shutil.which("gcc")
    if not compiler:
        return None
    tool = folder / "upstream"
    subprocess.run([compiler, "-O2", ROOT / "bench/native/upstream.c", "-o", tool], check=True)
    counters = folder / "counters"
    counters.write_bytes(bytes(4096))
    process = subprocess.Popen([tool, "tcp", counters], stdout=subprocess.PIPE, text=True)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return int(process.stdout.readline())


CLIENTS = ("http1", "https", "http2", "http2", "tunnels", "departures")


def soak(seconds: float, folder: Path) -> list[str]:
    """What was found wrong."""
    with contextlib.ExitStack() as stack:
        bulk_port = start_bulk_upstream(folder, stack)
        upstreams = Upstreams(folder)
        stack.callback(upstreams.stop)
        gateway = stack.enter_context(make_gateway(folder, upstreams, bulk_port))
        first = f"GET /public/first HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
        wait_until(lambda: b" 200 OK" in gateway.raw(first)[0], "it serves")
        process = psutil.Process(gateway.program.pid)
        before = process.num_fds()
        clients = [Client(kind, number, gateway) for number, kind in enumerate(CLIENTS)]
        for client in clients:
            stack.callback(client.end)
        loads = pressure(gateway, folder, seconds)
        for load in loads:
            stack.callback(load.kill)
        samples, reloads = Samples(process), Reloads(gateway)
        run(seconds, gateway, samples, reloads, upstreams)
        for client in clients:
            client.tell_to_end()
        problems = judge([(client.kind, client.outcomes()) for client in clients]) + judge_growth(samples, seconds)
        for load in loads:
            say(f"{load.process.wait(PATIENCE)} by {load.process.args[0]}:\n{load.output().strip()}")
        # Nobody is there any more: what is open has leaked. The upstreams' idle connections go after two seconds.
        try:
            wait_until(lambda: gateway.metrics()["connections_open"] == 0, "all connections are closed", PATIENCE)
            wait_until(lambda: process.num_fds() <= before + 2, "the descriptors are given back", PATIENCE)
        except AssertionError as error:
            problems.append(f"{error}: {process.num_fds()} descriptors, {before} before")
        say(f"at rest: {process.memory_info().rss / MIB:.1f} MiB, {process.num_fds()} descriptors ({before} before)")
        say(f"{reloads.taken} reloads, {reloads.refused} refused ones, {upstreams.deaths} deaths of upstreams")
        return problems


def run(seconds: float, gateway: Gateway, samples: Samples, reloads: Reloads, upstreams: Upstreams) -> None:
    """Reloads and kills in turn, until the time is over, and looks each second."""
    begun, over = time.monotonic(), threading.Event()

    def look() -> None:
        # The last look is before anything ends.
        while not over.wait(1):
            samples.take(time.monotonic() - begun)

    sampler = threading.Thread(target=look)
    sampler.start()
    try:
        said = 0.0
        for turn in itertools.count():
            now = time.monotonic() - begun
            if now >= seconds:
                return
            assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"
            if samples.rows and now - said > 30:
                said = now
                say(f"{now:.0f} s: {samples.rows[-1][1] / MIB:.1f} MiB, {samples.rows[-1][2]} descriptors")
            time.sleep(min(2, seconds - now))
            reloads.next() if turn % 2 else upstreams.kill_one()
    finally:
        over.set()
        sampler.join()


def judge(results: list[tuple[str, dict]]) -> list[str]:
    problems = []
    total: Counter[str] = Counter()
    for kind, result in results:
        say(f"{kind}: {result['outcomes']}")
        problems += [f"{kind}: {complaint}" for complaint in result["complaints"]]
        total.update(result["outcomes"])
    excused = sum(count for kind, count in total.items() if kind.startswith(("excused", "cut")))
    if not total["right"] or excused > EXCUSED_SHARE_MAX * total["right"]:
        problems.append(f"{excused} answers failed with their upstream, {total['right']} were right")
    for kind in ("tunnels whole", "departed"):
        if not total[kind]:
            problems.append(f"none of: {kind}")
    say(f"{total['right']} right answers, {excused} excused, {total['lost']} lost, {total['wrong']} wrong")
    return problems


def judge_growth(samples: Samples, seconds: float) -> list[str]:
    """Lines fitted to what was sampled behind the first fifth, which is warming up."""
    problems = []
    if seconds < SECONDS_JUDGED_MIN:
        return problems
    memory, mean = samples.growth(1, seconds / 5)
    say(f"memory: {mean / MIB:.1f} MiB on average, {memory / MIB:+.2f} MiB from the first fifth to the end")
    if memory > GROWTH_MAX + mean / 20:
        problems.append(f"memory grew by {memory / MIB:.1f} MiB")
    descriptors, mean = samples.growth(2, seconds / 5)
    say(f"descriptors: {mean:.0f} on average, {descriptors:+.1f} from the first fifth to the end")
    if descriptors > DESCRIPTORS_GROWTH_MAX + mean / 10:
        problems.append(f"descriptors grew by {descriptors:.0f}")
    return problems


def say(words: str) -> None:
    print(words, flush=True)


def main() -> int:
    match sys.argv[1:]:
        case ["upstream", port]:
            serve(int(port))
        case ["client", kind, name, port, https_port]:
            run_client(kind, name, int(port), int(https_port))
        case [seconds]:
            folder = Path(tempfile.mkdtemp(prefix="soak-"))
            problems = soak(float(seconds), folder)
            for problem in problems:
                say(f"PROBLEM {problem}")
            if problems:
                say(f"logs are in {folder}")
                return 1
            shutil.rmtree(folder)
            say("nothing lost, nothing leaked")
        case _:
            say("usage: python -m soak SECONDS")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
