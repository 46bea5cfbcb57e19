"""Running it: the end in good order, logs, metrics, health, the command line, and descriptors used up."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import jwt
import psutil
import pytest
import requests
import yaml
from support.gateway import Gateway, WithoutAliases, binary, environment, route
from support.processes import accepts, wait_until
from support.upstream import OK, FakeUpstream
from support.wire import Incomplete, read_response, responses

HEAD = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"


def access_events(gateway: Gateway, path: str) -> list[dict]:
    return [event for event in gateway.events() if event.get("path") == path]


def test_sigterm_finishes_what_has_begun_and_takes_nothing_new(start_gateway, upstream: FakeUpstream):
    go_on = threading.Event()
    upstream.script = lambda connection: (connection.read_request(), go_on.wait(30), connection.send(OK))
    gateway = start_gateway({"raw": upstream.port})
    with gateway.connect() as peer:
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
        upstream.wait_for_requests(1)
        gateway.program.signal(signal.SIGTERM)
        wait_until(lambda: not accepts(gateway.plain_port), "it stops accepting")
        assert gateway.program.is_running
        go_on.set()
        assert read_response(peer).status == 200
        assert peer.recv(1) == b"", "the connection is closed once the exchange is done"
    gateway.stop()


def test_sigterm_ends_in_time_even_if_an_exchange_does_not(start_gateway, upstream: FakeUpstream):
    upstream.script = lambda connection: (connection.read_request(), connection.peer.recv(1))
    gateway = start_gateway({"raw": upstream.port}, {"stop_timeout": "1s"})
    with gateway.connect() as peer:
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
        upstream.wait_for_requests(1)
        gateway.program.signal(signal.SIGTERM)
        gateway.program.process.wait(10)
    gateway.stop()


def test_readiness_turns_before_accepting_ends(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, {"drain_delay": "2s"})
    gateway.program.signal(signal.SIGTERM)
    ready = f"http://127.0.0.1:{gateway.admin_port}/readyz"
    wait_until(lambda: requests.get(ready, timeout=5).status_code == 503, "it says that it is not ready")
    answer, _ = gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE)
    assert responses(answer)[0].status == 200, "who has not heard of it yet is still served"
    gateway.stop()


def test_each_exchange_leaves_one_event_with_its_decision(gateway: Gateway):
    name = os.urandom(6).hex()
    bearer = {"Authorization": f"Bearer {gateway.mint()}"}
    for number, fields in enumerate(({}, bearer)):
        gateway.get("raw", f"/private/{name}{number}?secret=canary", headers=fields)
    gateway.get("raw", f"/public/{name}2")
    wait_until(lambda: access_events(gateway, f"/public/{name}2"), "the last event is written")
    refused, allowed, public = (
        access_events(gateway, path) for path in (f"/private/{name}0", f"/private/{name}1", f"/public/{name}2")
    )
    assert [len(events) for events in (refused, allowed, public)] == [1, 1, 1]
    assert (refused[0]["status"], allowed[0]["status"], public[0]["status"]) == (401, 200, 200)
    assert refused[0]["decision"] == "challenge" and refused[0]["reason"]
    assert allowed[0]["decision"] == "allow"
    for event in (refused[0], allowed[0], public[0]):
        assert {"time", "request_id", "method", "host", "route", "client_ip"} <= event.keys()
    assert "canary" not in gateway.log()


LOG_SECRET = "a shared secret of these tests, long enough"
#: What would end a line, a string or an object, or act on a terminal, in each place that is logged.
BREAKERS = [
    '"',
    "\\",
    '","status":200,"x":"',
    "}\n{",
    "\r\n",
    "\x1b[2J",
    "\u2028",
    "\u2029",
    "\u0085",
    "\u009b",
    "\ufeff",
]


def log_lines(path: Path, count: int) -> list[dict]:
    """The lines of a log, each of which is one JSON object in printable bytes, once there are `count` of them."""
    wait_until(lambda: path.read_bytes().count(b"\n") >= count, f"{count} lines are written")
    data = path.read_bytes()
    assert data.endswith(b"\n")
    lines = data.split(b"\n")[:-1]
    for line in lines:
        assert line.startswith(b"{") and line.endswith(b"}"), line
        # Neither controls nor what Unicode takes for the end of a line, raw or in UTF-8.
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line.decode("utf-8")), line
    return [json.loads(line) for line in lines]


def test_R32_nothing_that_is_logged_breaks_a_line(start_gateway, upstream: FakeUpstream, tmp_path: Path):
    """Each byte and each breaker, wherever the log has a value from outside: exactly one line for each request."""
    log = tmp_path / "access.log"
    own = start_gateway({"raw": upstream.port})
    own.stop()
    issuer = {"issuer": "https://other", "audience": "payroll", "prefix": "p:", "keys": {"secret": LOG_SECRET}}
    own.configuration["authentication"]["jwt"].append(issuer)
    own.configuration["log"] = {"access": str(log)}
    own.configuration["routes"].append(route("raw", "/named", public=True, name='a "route"\\, {named} ü'))
    own.write()
    own.start()
    now = int(time.time())

    def bearer(**claims: str) -> bytes:
        claims = {"iss": "https://other", "aud": "payroll", "iat": now, "exp": now + 600, "sub": "x", **claims}
        return b"Authorization: Bearer " + jwt.encode(claims, LOG_SECRET, "HS256").encode() + b"\r\n"

    each_byte = [bytes([byte]) for byte in range(256)]
    texts = [text.encode() for text in BREAKERS]
    escaped = ["".join(f"%{byte:02x}" for byte in value).encode() for value in each_byte + texts]
    requests = [
        *(b"GET /public/" + value + b" HTTP/1.1\r\n" + HEAD + CLOSE for value in each_byte + texts + escaped),
        *(b"GET /public/x?" + value + b" HTTP/1.1\r\n" + HEAD + CLOSE for value in each_byte + texts),
        *(b"G" + value + b"T /public/x HTTP/1.1\r\n" + HEAD + CLOSE for value in each_byte + texts),
        *(b"GET /public/x HTTP/1.1\r\nHost: a" + value + b"b\r\n" + CLOSE for value in each_byte + texts),
        *(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"X-Request-Id: " + value + b"\r\n" + CLOSE for value in each_byte),
        *(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"traceparent: " + value + b"\r\n" + CLOSE for value in each_byte),
        b"GET /named HTTP/1.1\r\n" + HEAD + CLOSE,
    ]
    by_token = [bearer(sub=f"a{text}b") for text in BREAKERS + [chr(code) for code in range(1, 256)]]
    requests += [b"GET /private/x HTTP/1.1\r\n" + HEAD + fields + CLOSE for fields in by_token]
    for request in requests:
        own.raw(request, timeout=5)
    own.raw(b"GET /public/last HTTP/1.1\r\n" + HEAD + CLOSE)
    lines = log_lines(log, len(requests) + 1)
    assert len(lines) == len(requests) + 1
    assert [line["path"] for line in lines].count("/public/last") == 1
    subjects = {line["subject"] for line in lines if "subject" in line}
    assert {f"a{text}b" for text in BREAKERS} <= subjects, "they were not logged at all"
    assert {line.get("route") for line in lines} >= {'a "route"\\, {named} ü'}
    assert {line["method"] for line in lines} >= {"G'T", "G|T", "GaT"}
    own.stop()
    own_events = own.log().rpartition('"event":"gateway.started"')[2].splitlines()[1:]
    assert {json.loads(line)["event"] for line in own_events} == {"gateway.draining", "gateway.stopped"}


def test_sigusr1_reopens_the_log(start_gateway, upstream: FakeUpstream, tmp_path: Path):
    log, old = tmp_path / "access.log", tmp_path / "access.log.1"
    gateway = start_gateway({"raw": upstream.port}, {"log": {"access": str(log)}})

    def ask(path: str) -> None:
        gateway.raw(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HEAD + CLOSE)

    ask("/public/before")
    wait_until(lambda: "/public/before" in log.read_text(), "the first event is written")
    log.rename(old)
    gateway.program.signal(signal.SIGUSR1)
    wait_until(log.exists, "the file is there again")
    ask("/public/after")
    wait_until(lambda: "/public/after" in log.read_text(), "the second event is written")
    assert "/public/after" not in old.read_text()
    assert log.stat().st_mode & 0o007 == 0, "the log is closed to others"


def test_metrics_count_what_happened(gateway: Gateway):
    def total(*labels: str) -> float:
        return sum(
            value
            for name, value in gateway.metrics().items()
            if name.startswith("http_requests_total{") and all(label in name for label in labels)
        )

    before = total()
    gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE)
    gateway.raw(b"GET /private/x HTTP/1.1\r\n" + HEAD + CLOSE)
    wait_until(lambda: total() >= before + 2, "both requests are counted")
    text = requests.get(f"http://127.0.0.1:{gateway.admin_port}/metrics", timeout=5)
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for name in ("build_info", "config_last_reload_success", "http_request_duration_seconds"):
        assert f"# TYPE {name}" in text.text or f"_{name}" in text.text, name
    assert "user@example.com" not in text.text


def test_health_on_the_admin_listener(gateway: Gateway):
    for path in ("/healthz", "/readyz"):
        assert requests.get(f"http://127.0.0.1:{gateway.admin_port}{path}", timeout=5).status_code == 200
    assert requests.get(f"http://127.0.0.1:{gateway.admin_port}/healthz/x", timeout=5).status_code == 404


def test_the_sockets_of_a_slow_client_are_taken_back(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.configuration["listeners"][1]["head_timeout"] = "500ms"
    gateway.reload()
    wait_until(lambda: closed_within_a_second(gateway), "half a head is given up")


def closed_within_a_second(gateway: Gateway) -> bool:
    with gateway.connect() as peer:
        peer.sendall(b"GET /public/x HTTP/1.1\r\nHo")
        peer.settimeout(1)
        try:
            answer = peer.recv(4096)
        except TimeoutError:
            return False
        return answer == b"" or answer.startswith(b"HTTP/1.1 408 ")


def test_descriptors_used_up_do_not_end_it(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    process = psutil.Process(gateway.program.pid)
    process.rlimit(resource.RLIMIT_NOFILE, (process.num_fds() + 8, process.num_fds() + 8))
    peers = []
    for _ in range(60):
        peers.append(gateway.connect())
    for peer in peers:
        peer.close()
    wait_until(
        lambda: b" 200 OK" in gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE, timeout=3)[0],
        "it serves again",
    )


def test_connections_over_the_cap_are_closed_and_the_rest_is_served(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    gateway.configuration["listeners"][1]["connections_max"] = 10
    gateway.write()
    gateway.start()
    get = b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n"
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(gateway.connect()) for _ in range(30)]
        wait_until(lambda: gateway.metrics()["connections_refused_total"] >= 20, "20 of them are refused")
        metrics = gateway.metrics()
        assert (metrics["connections_open"], metrics["connections_refused_total"]) == (10, 20)
        served = 0
        for peer in peers:
            with contextlib.suppress(ConnectionError, Incomplete):
                peer.sendall(get)
                served += read_response(peer).status == 200
        assert served == 10, "over both workers together"
        with gateway.connect(plain=False) as other:
            other.sendall(get)
            assert read_response(other).status == 200, "another listener has its own count"
        assert gateway.metrics()["connections_refused_total"] == 20
    wait_until(lambda: gateway.metrics()["connections_open"] == 0, "the places are given back")
    with gateway.connect() as peer:
        peer.sendall(get)
        assert read_response(peer).status == 200


def test_nobody_is_refused_below_the_cap(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    gateway.configuration["listeners"][1]["connections_max"] = 10
    gateway.write()
    gateway.start()
    for _ in range(10):
        wait_until(lambda: gateway.metrics()["connections_open"] == 0, "the places are free")
        with contextlib.ExitStack() as stack:
            for peer in [stack.enter_context(gateway.connect()) for _ in range(10)]:
                peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
                with contextlib.suppress(ConnectionError, Incomplete):
                    read_response(peer)
        assert gateway.metrics()["connections_refused_total"] == 0


# The command line


def test_check_accepts_a_good_file_and_says_everything_of_a_bad_one(gateway: Gateway, tmp_path: Path):
    assert gateway.command("check", "--config", gateway.configuration_file).returncode == 0
    bad = tmp_path / "bad.yaml"
    bad.write_text(gateway.configuration_file.read_text() + "\nworker: 2\nredis: {url: nonsense}\n")
    refused = gateway.command("check", "--config", bad, check=False)
    assert refused.returncode == 1
    said = refused.stdout + refused.stderr
    assert "bad.yaml:" in said and "worker" in said and "workers" in said and "redis.url" in said


def test_print_shows_where_values_come_from_and_no_secret(gateway: Gateway, tmp_path: Path):
    secret = "canary-0123456789-0123456789-0123456789"
    file = tmp_path / "with-secret.yaml"
    configuration = {**gateway.configuration, "authentication": {**gateway.configuration["authentication"]}}
    configuration["authentication"]["jwt"] = [
        {"issuer": "https://a.example", "audience": "a", "keys": {"secret": secret}, "prefix": "a:"}
    ]
    file.write_text(yaml.dump(configuration, Dumper=WithoutAliases))
    printed = gateway.command("print", "--config", file).stdout
    assert "https://a.example" in printed
    assert secret not in printed


def commands(*before: str) -> list[list[str]]:
    """Every command of the program, as its own help lists them, those of groups too."""
    said = subprocess.run([binary(), *before, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    names = re.findall(r"^  ([a-z-]+) ", said.partition("SUBCOMMANDS:")[2], re.MULTILINE)
    found = [[*before, name] for name in names if name != "help"]
    return found + [command for group in found for command in commands(*group)]


def test_each_command_explains_itself(gateway: Gateway):
    every = commands()
    assert {tuple(command) for command in every} >= {
        *(("run",), ("check",), ("print",), ("version",), ("hash-password",)),
        *(("token", "mint"), ("users", "add")),
    }
    for command in [[], *every]:
        for asked in ([*command, "--help"], ["help", *command]):
            said = gateway.command(*asked).stdout
            assert said.startswith("OVERVIEW: "), asked
            assert f"USAGE: auth-gateway {' '.join(command)}".strip() in said
        options = re.findall(
            r"^  (--[a-z-]+|<[a-z-]+>)(.*(?:\n {10}.*)*)", gateway.command(*command, "--help").stdout, re.M
        )
        assert all(explanation.strip() for _, explanation in options), command
    assert re.fullmatch(r"\S*\d+\.\d+\.\d+\S*\n", gateway.command("version").stdout.split(" ")[-1])
    assert gateway.command("--version").stdout.strip() in gateway.command("version").stdout


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["user", "--role", "user"], "long enough it is\n", "user"),
        (["new", "--role", "no-such-role"], "long enough it is\n", "no-such-role"),
        (["new", "--role", "b ad"], "long enough it is\n", "b ad"),
        (["new", "--role", "user"], "", "password"),
        (["new", "--role", "user"], "x" * 257 + "\n", "password"),
        (["", "--role", "user"], "long enough it is\n", ""),
        (["new", "--role", "user", "--email", "user@example.com"], "long enough it is\n", "address"),
    ],
)
def test_an_account_that_cannot_be_is_refused(gateway: Gateway, arguments: list[str], password: str, said: str):
    command = [binary(), "users", "add", "--config", gateway.configuration_file, *arguments]
    done = subprocess.run(
        command, input=password, env=environment(), cwd=gateway.folder, capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert said in done.stderr
    assert "added" not in done.stdout


def test_hash_password_writes_argon2id(gateway: Gateway):
    done = subprocess.run(
        [binary(), "hash-password"], input="correct horse\n", capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0
    assert done.stdout.startswith("$argon2id$v=19$")
    assert "correct horse" not in done.stdout + done.stderr


def test_the_database_is_closed_to_others(gateway: Gateway):
    for file in gateway.folder.glob("gateway.db*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_it_leaves_no_core_dump(gateway: Gateway):
    limits = Path(f"/proc/{gateway.program.pid}/limits").read_text()
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4] == "0"
