"""Running it: the end in good order, logs, metrics, health, the command line, and descriptors used up."""

import json
import os
import resource
import signal
import subprocess
import threading
from pathlib import Path

import psutil
import pytest
import requests
import yaml
from support.gateway import Gateway, WithoutAliases, binary
from support.processes import accepts, wait_until
from support.upstream import OK, FakeUpstream
from support.wire import read_response, responses

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


def test_R32_no_field_breaks_a_line_of_the_log(gateway: Gateway):
    for byte in [*range(0x20, 0x7F), *range(0x80, 0x100)]:
        value = bytes([byte]) + b'","status":200,"x":"'
        gateway.raw(
            b"GET /public/log HTTP/1.1\r\n"
            + HEAD
            + b"User-Agent: "
            + value
            + b"\r\nReferer: "
            + value
            + b"\r\n"
            + CLOSE
        )
    for line in gateway.log().splitlines():
        if line.startswith("{"):
            json.loads(line)


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


def test_connections_over_the_cap_wait_or_are_closed_and_the_rest_is_served(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    gateway.configuration["listeners"][1]["connections_max"] = 10
    gateway.write()
    gateway.start()
    peers = [gateway.connect() for _ in range(30)]
    for peer in peers:
        peer.close()
    wait_until(
        lambda: b" 200 OK" in gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE, timeout=3)[0],
        "it serves again",
    )


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


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["check", "--help"], ["token", "mint", "--help"]])
def test_each_command_explains_itself(gateway: Gateway, command: list[str]):
    assert "--help" in gateway.command(*command).stdout or "USAGE" in gateway.command(*command).stdout


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
