"""What each metric counts: known traffic, and by how much every number has moved after it."""

import contextlib
import datetime
import os
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from support import http2
from support.gateway import SIGNED_IN, Gateway, binary, route
from support.processes import free_port, wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import connect, read_response

HEAD = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SLOW_SECONDS = 0.12

#: Why a request that waited for an endpoint got none.
REASONS = ("full", "timeout", "left")

#: The metrics that a test of this file looks at; the last test compares them with those that are shown.
looked_at: set[str] = set()


def family(sample: str) -> str:
    name = sample.partition("{")[0]
    for suffix in ("_bucket", "_sum", "_count"):
        if "_duration_seconds" in name:
            name = name.removesuffix(suffix)
    return name


def moved(gateway: Gateway, act: Callable[[], object], expected: dict[str, float]) -> None:
    """What `act` changes is exactly what is expected, of the families that are named."""
    families = {family(name) for name in expected}
    looked_at.update(families)
    before = gateway.metrics()

    def difference() -> dict[str, float]:
        now = gateway.metrics()
        return {
            name: now[name] - before.get(name, 0)
            for name in now
            if family(name) in families and not name.partition("{")[0].endswith(("_bucket", "_seconds_sum"))
        }

    act()
    wanted = {name: value for name, value in expected.items() if value}

    def is_as_expected() -> bool:
        return {name: value for name, value in difference().items() if value} == wanted

    with contextlib.suppress(AssertionError):
        wait_until(is_as_expected, "the numbers are there", 2)
    assert {name: value for name, value in difference().items() if value} == wanted


def script(connection: UpstreamConnection) -> None:
    while request := connection.read_request():
        if request.target == "/public/upgrade":
            connection.send(SWITCHED)
            connection.read_some()
            return
        if request.target == "/public/slow":
            time.sleep(SLOW_SECONDS)
        if request.target == "/public/moved":
            connection.send(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
            continue
        if request.target == "/public/broken":
            connection.send(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
            continue
        connection.send(OK)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with FakeUpstream(script) as upstream:
        changes = {
            "workers": 1,
            "redis": {"url": f"redis://127.0.0.1:{free_port()}/0"},
            "limits": {
                "two": {"rate": "2/hour", "key": "address", "store": "memory"},
                "one": {"rate": "1/hour", "key": "subject", "store": "memory"},
                **{f"{policy}": {"rate": "9/hour", "on_store_error": policy} for policy in ("allow", "deny", "local")},
            },
        }
        gateway = Gateway(tmp_path_factory.mktemp("counting"), {"raw": upstream.port}, changes)
        gateway.configuration["upstreams"]["dead"] = {"endpoints": [f"127.0.0.1:{free_port()}"]}
        gateway.configuration["routes"] += [
            route("raw", "/dead", "dead", public=True, name="dead"),
            route("raw", "/limited", public=True, limit="two", name="limited"),
            route("raw", "/mine", limit="one", **SIGNED_IN),
            *(route("raw", f"/{name}", public=True, limit=name) for name in ("allow", "deny", "local")),
        ]
        gateway.configuration["routes"][0]["name"] = "open"
        gateway.write()
        with gateway:
            yield gateway
        assert not upstream.errors


def ask(gateway: Gateway, target: str, fields: bytes = b"", source: str | None = None) -> int:
    with gateway.connect(source=source) as peer:
        peer.sendall(b"GET " + target.encode() + b" HTTP/1.1\r\n" + HEAD + fields + CLOSE)
        return read_response(peer).status


def test_requests_by_route_and_status(counting: Gateway):
    def act() -> None:
        statuses = [ask(counting, f"/public/{name}") for name in ("x", "x", "moved", "broken")]
        statuses += [ask(counting, target) for target in ("/dead", "/private/x", "/nothing", "/public/%zz")]
        assert statuses == [200, 200, 302, 500, 502, 401, 404, 400]
        with counting.connect() as peer:
            peer.sendall(
                b"GET /public/upgrade HTTP/1.1\r\n" + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            assert read_response(peer).status == 101
            peer.sendall(b"enough")
            assert peer.recv(10) == b""
        with counting.connect() as peer:
            peer.sendall(b"POST /public/x HTTP/1.1\r\n" + HEAD + b"Content-Length: 9\r\n\r\nhalf")

    private = "raw.demo.localhost/private/**"
    moved(
        counting,
        act,
        {
            'http_requests_total{route="open",code="2xx"}': 2,
            'http_requests_total{route="open",code="3xx"}': 1,
            'http_requests_total{route="open",code="5xx"}': 1,
            'http_requests_total{route="open",code="1xx"}': 1,
            'http_requests_total{route="open",code="none"}': 1,
            'http_requests_total{route="dead",code="5xx"}': 1,
            f'http_requests_total{{route="{private}",code="4xx"}}': 1,
            'http_requests_total{route="-",code="4xx"}': 2,
            'http_request_duration_seconds_count{route="open"}': 6,
            'http_request_duration_seconds_count{route="dead"}': 1,
            f'http_request_duration_seconds_count{{route="{private}"}}': 1,
            'http_request_duration_seconds_count{route="-"}': 2,
        },
    )


def test_durations_are_those_of_the_exchange(counting: Gateway):
    name = 'http_request_duration_seconds{}{{route="open"{}}}'
    looked_at.add("http_request_duration_seconds")
    before = counting.metrics()
    for _ in range(2):
        assert ask(counting, "/public/slow") == 200
    total = name.format("_count", "")
    wait_until(lambda: counting.metrics()[total] == before[total] + 2, "both are counted")
    after = counting.metrics()
    seconds = after[name.format("_sum", "")] - before[name.format("_sum", "")]
    assert 2 * SLOW_SECONDS <= seconds < 2 * SLOW_SECONDS + 1

    def within(bound: str) -> float:
        bucket = name.format("_bucket", f',le="{bound}"')
        return after[bucket] - before[bucket]

    assert (within("0.1"), within("+Inf")) == (0, 2)
    bounds = [key.split('le="')[1][:-2] for key in after if key.startswith(name.format("_bucket", "")[:-1])]
    assert [float(bound) for bound in bounds] == sorted(float(bound) for bound in bounds)
    assert (bounds[0], bounds[-2], bounds[-1]) == ("0.0001", "60.0", "+Inf")
    counts = [within(bound) for bound in bounds]
    assert counts == sorted(counts), "a bucket holds those of the smaller ones"


def test_decisions_caches_and_checks(counting: Gateway):
    client = counting.sign_in("user@example.com")
    session = f"Cookie: gateway_session={client.cookies['gateway_session']}\r\n".encode()
    bearer = f"Authorization: Bearer {counting.mint()}\r\n".encode()
    bad = b"Authorization: Bearer a.b.c\r\n"

    def act() -> None:
        asked = [(fields, "/private/x") for fields in (session, session, session, bearer, bearer, b"", bad)]
        asked += [(bearer, "/admin/x"), (session, "/admin/x"), (b"", "/public/x"), (b"", "/nothing")]
        assert [ask(counting, path, fields) for fields, path in asked] == [200] * 5 + [401] * 2 + [403] * 2 + [200, 404]

    moved(
        counting,
        act,
        {
            'decisions_total{outcome="allow"}': 6,
            'decisions_total{outcome="challenge"}': 2,
            'decisions_total{outcome="deny"}': 2,
            'decisions_total{outcome="refuse"}': 1,
            'auth_cache_lookups_total{cache="session",outcome="miss"}': 1,
            'auth_cache_lookups_total{cache="session",outcome="hit"}': 3,
            'auth_cache_lookups_total{cache="token",outcome="miss"}': 2,
            'auth_cache_lookups_total{cache="token",outcome="hit"}': 2,
            "auth_validation_duration_seconds_count": 2,
        },
    )
    assert 0 < counting.metrics()["auth_validation_duration_seconds_sum"] < 1


def test_limits(counting: Gateway):
    bearer = f"Authorization: Bearer {counting.mint()}\r\n".encode()

    def act() -> None:
        assert [ask(counting, "/limited") for _ in range(4)] == [200, 200, 429, 429]
        assert ask(counting, "/limited", source="127.0.0.9") == 200
        assert [ask(counting, f"/{policy}") for policy in ("allow", "deny", "local")] == [200, 503, 200]
        assert [ask(counting, "/mine", bearer) for _ in range(3)] == [200, 429, 429]

    moved(
        counting,
        act,
        {
            # A limit by address comes before the decision, one by subject after it.
            'decisions_total{outcome="limit"}': 2 + 2,
            'decisions_total{outcome="allow"}': 5 + 3,
            'decisions_total{outcome="refuse"}': 1,
            "limit_store_errors_total": 3,
            "limit_memory_entries": 4,
        },
    )


def test_connections(counting: Gateway):
    wait_until(lambda: counting.metrics()["connections_open"] == 0, "those of other tests are closed")
    with contextlib.ExitStack() as stack:

        def act() -> None:
            for _ in range(5):
                stack.enter_context(counting.connect())
            stack.enter_context(counting.connect(plain=False))

        moved(
            counting,
            act,
            {
                "connections_accepted_total": 6,
                "connections_open": 6,
                "connections_refused_total": 0,
                "connections_handed_over_total": 0,
            },
        )
    wait_until(lambda: counting.metrics()["connections_open"] == 0, "all are closed")


def test_handshakes(counting: Gateway):
    context = ssl.create_default_context(cafile=str(counting.certificates / "ca.pem"))

    def handshake(session: ssl.SSLSession | None = None) -> ssl.SSLSession:
        plain = connect(counting.https_port)
        with context.wrap_socket(plain, server_hostname="raw.demo.localhost", session=session) as peer:
            peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert read_response(peer).status == 200
            assert peer.session_reused == (session is not None)
            return peer.session

    def act() -> None:
        session = handshake()
        handshake(session)
        handshake(session)
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"):
            with connect(counting.https_port) as peer, contextlib.suppress(ConnectionError):
                peer.sendall(garbage)
                while peer.recv(100):
                    pass

    moved(counting, act, {"tls_handshakes_resumed_total": 2, "tls_handshake_failures_total": 2})


def test_handshakes_that_made_room_for_others(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port}, {"workers": 1}, is_started=False)
    own.configuration["listeners"][0]["handshakes_max"] = 3
    own.write()
    own.start()
    with contextlib.ExitStack() as stack:

        def act() -> None:
            for _ in range(10):
                stack.enter_context(connect(own.https_port))
            wait_until(lambda: '"reason":"handshakes_max"' in own.log(), "the log says so")

        moved(own, act, {"tls_handshakes_displaced_total": 7, "connections_accepted_total": 10, "connections_open": 3})
        with own.connect(plain=False) as good:
            good.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert read_response(good).status == 200


def test_connections_to_upstreams(start_gateway, upstream: FakeUpstream):
    dead = free_port()
    changes = {"workers": 1, "upstreams": {"raw": {"endpoints": [f"127.0.0.1:{upstream.port}"]}}}
    changes["upstreams"]["dead"] = {"endpoints": [f"127.0.0.1:{dead}"]}
    changes["routes"] = [route("raw", "/public/**", public=True), route("raw", "/dead", "dead", public=True)]
    own = start_gateway({"raw": upstream.port}, changes)

    def act() -> None:
        # Two at once need two connections, which the third then finds.
        with own.connect() as one, own.connect() as two:
            for peer in (one, two):
                peer.sendall(b"POST /public/x HTTP/1.1\r\n" + HEAD + b"Content-Length: 2\r\n\r\n")
            wait_until(lambda: len(upstream.connections) == 2, "both are connected")
            for peer in (one, two):
                peer.sendall(b"ab")
                assert read_response(peer).status == 200
        assert [ask(own, "/public/x") for _ in range(3)] == [200] * 3
        assert [ask(own, "/dead") for _ in range(2)] == [502] * 2

    expected = {"upstream_connects_total": 4, "upstream_connect_failures_total": 2, "upstream_connections_idle": 2}
    moved(own, act, expected)


def test_buffered_bodies(start_gateway, upstream: FakeUpstream):
    """Those of files move in `test_buffering.py`."""
    routes = [route("raw", "/public/**", public=True, buffer_request=True)]
    own = start_gateway({"raw": upstream.port}, {"routes": routes})
    looked_at.update(("buffered_responses_total", "body_file_bytes", "body_file_errors_total"))

    def act() -> None:
        with own.connect() as peer:
            peer.sendall(b"POST /public/x HTTP/1.1\r\n" + HEAD + b"Content-Length: 100\r\n\r\n")
            wait_until(lambda: own.metrics()["buffered_requests_total"] == 1, "the body is waited for")
            peer.sendall(b"x" * 100)
            assert read_response(peer).status == 200

    moved(own, act, {"buffered_requests_total": 1})


def test_requests_that_wait_for_an_endpoint(start_gateway, upstream: FakeUpstream):
    held = threading.Event()

    def hold(connection: UpstreamConnection) -> None:
        while connection.read_request():
            held.wait(20)
            connection.send(OK)

    upstream.script = hold
    pool = {"endpoints": [f"127.0.0.1:{upstream.port}"], "exchanges_max": 1, "queue_max": 2, "queue_timeout": "500ms"}
    own = start_gateway({"raw": upstream.port}, {"upstreams": {"raw": pool}})
    length = 'upstream_queue_length{upstream="raw"}'
    looked_at.add("upstream_queue_length")
    assert own.metrics()[length] == 0
    request = b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n"

    def act() -> None:
        with contextlib.ExitStack() as stack:
            served, late, left, refused = (stack.enter_context(own.connect()) for _ in range(4))
            served.sendall(request)
            upstream.wait_for_requests(1)
            late.sendall(request)
            wait_until(lambda: own.metrics()[length] == 1, "it waits")
            left.sendall(request)
            wait_until(lambda: own.metrics()[length] == 2, "another one waits")
            refused.sendall(request)
            assert read_response(refused).status == 503
            left.close()
            assert read_response(late).status == 503
            assert own.metrics()[length] == 0
            held.set()
            assert read_response(served).status == 200

    refused = {f'upstream_queue_refused_total{{upstream="raw",reason="{reason}"}}': 1 for reason in REASONS}
    moved(own, act, {'upstream_queued_total{upstream="raw"}': 2, **refused})


def test_memory_that_is_short(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port}, {"memory_max": "16MiB"})
    looked_at.update(("memory_held_bytes", "memory_max_bytes", "memory_shed_total"))
    before = own.metrics()
    assert 0 < before["memory_held_bytes"] < before["memory_max_bytes"] == 16 << 20
    shed = 'memory_shed_total{{what="{}"}}'
    assert [before[shed.format(what)] for what in ("connection", "request", "exchange")] == [0, 0, 0]
    request = b"GET /public/x HTTP/1.1\r\n" + HEAD
    with contextlib.ExitStack() as stack:
        good = stack.enter_context(own.connect())
        peers = [stack.enter_context(own.connect()) for _ in range(900)]
        wait_until(lambda: own.metrics()["connections_open"] == 901, "all are let in")
        for peer in peers:
            with contextlib.suppress(OSError):
                peer.sendall(request + b"X: " + b"x" * 12_000)
        wait_until(lambda: own.metrics()[shed.format("exchange")] > 0, "what needs more ends")
        good.sendall(request + b"\r\n")
        assert read_response(good).status == 503
        with own.connect() as late:
            late.settimeout(10)
            with contextlib.suppress(ConnectionError):
                assert late.recv(1) == b""
        after = own.metrics()
        assert (after[shed.format("connection")], after[shed.format("request")]) == (1, 1)
    wait_until(lambda: own.metrics()["memory_held_bytes"] < 12 << 20, "the memory is given back")
    with own.connect() as peer:
        peer.sendall(request + b"\r\n")
        assert read_response(peer).status == 200


def test_http2_connections(counting: Gateway):
    def act() -> None:
        with counting.http2() as good:
            assert good.get("/nowhere").status == 404
        with counting.http2() as bad:
            for _ in range(2000):
                bad.send(http2.reset(bad.request("/nowhere", fields=[("x", "y" * 100)])))
            bad.until_closed()

    moved(counting, act, {"http2_connections_total": 2, "http2_connections_ended_total": 1})


def test_connections_that_are_handed_over(start_gateway, upstream: FakeUpstream):
    """The kernel deals connections out as it likes; among this many one worker gets too many sooner or later."""
    own = start_gateway({"raw": upstream.port}, {"workers": 4})
    looked_at.add("connections_handed_over_total")
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            peer = stack.enter_context(own.connect())
            peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
            assert read_response(peer).status == 200
            if own.metrics()["connections_handed_over_total"]:
                break
        metrics = own.metrics()
        assert 0 < metrics["connections_handed_over_total"] < metrics["connections_accepted_total"]
        assert metrics["connections_open"] == metrics["connections_accepted_total"], "each is counted once"


def test_reloads(start_gateway, upstream: FakeUpstream):
    own = start_gateway({"raw": upstream.port})
    stamp = "config_last_reload_success_timestamp"
    looked_at.update((stamp, "config_last_reload_success"))
    started = own.metrics()
    assert started["config_last_reload_success"] == 1
    assert abs(started[stamp] - time.time()) < 5
    good = own.configuration_file.read_text()

    def refused() -> None:
        own.configuration_file.write_text(good + "\nworker: 1\n")
        own.program.signal(signal.SIGHUP)

    moved(
        own, refused, {"config_reload_failures_total": 1, "config_reloads_total": 0, "config_last_reload_success": -1}
    )
    assert own.metrics()[stamp] == started[stamp]

    def taken() -> None:
        own.configuration_file.write_text(good)
        wait_until(lambda: int(time.time()) > started[stamp], "a second has passed")
        own.program.signal(signal.SIGHUP)

    moved(own, taken, {"config_reload_failures_total": 0, "config_reloads_total": 1, "config_last_reload_success": 1})
    assert started[stamp] < own.metrics()[stamp] <= time.time()


def test_the_process(counting: Gateway):
    looked_at.update(("build_info", "process_resident_memory_bytes", "process_start_time_seconds"))
    process = psutil.Process(counting.program.pid)
    metrics = counting.metrics()
    assert metrics["process_resident_memory_bytes"] == pytest.approx(process.memory_info().rss, rel=0.2)
    # Between what the kernel says, near enough, and the word that it serves.
    serves = next(event["time"] for event in counting.events() if event.get("event") == "gateway.started")
    begins, ends = process.create_time() - 1, datetime.datetime.fromisoformat(serves).timestamp()
    assert begins <= metrics["process_start_time_seconds"] <= ends
    version = subprocess.run([binary(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    assert metrics[f'build_info{{version="{version.split()[-1]}"}}'] == 1


def test_connections_that_the_proxy_protocol_refuses(start_gateway, upstream: FakeUpstream):
    looked_at.add("proxy_protocol_refused_total")
    own = start_gateway({"raw": upstream.port}, is_started=False)
    own.configuration["listeners"][1]["proxy_protocol"] = "127.0.0.1"
    own.write()
    own.start()

    def act() -> None:
        header = b"PROXY TCP4 192.0.2.7 192.0.2.7 1 1\r\n"
        for source, sent in ((None, b"GET"), ("127.0.0.2", header), (None, header)):
            with own.connect(source=source) as peer:
                peer.sendall(sent)

    moved(
        own, act, {"proxy_protocol_refused_total": 2, "connections_accepted_total": 3, "connections_refused_total": 0}
    )


def test_lines_of_the_access_log_that_were_lost(start_gateway, upstream: FakeUpstream, tmp_path: Path):
    """A pipe that nobody reads takes 64 KiB, and the gateway keeps 8 MiB; what comes then is lost and counted."""
    looked_at.add("access_log_lines_dropped")
    pipe = tmp_path / "access.log"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        own = start_gateway({"raw": upstream.port}, {"log": {"access": str(pipe)}})
        request = b"GET /nothing/" + b"x" * 15_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n"
        assert own.metrics()["access_log_lines_dropped"] == 0
        sent, batch = 0, 60
        with own.connect() as peer:
            while own.metrics()["access_log_lines_dropped"] == 0:
                assert sent * len(request) < 20 * 1024 * 1024, "nothing was lost, and all of it is in memory"
                peer.sendall(request * batch)
                for _ in range(batch):
                    received = b""
                    while b"\r\n\r\n" not in received or not received.endswith(b"}\n"):
                        received += peer.recv(1)
                sent += batch
        assert sent * len(request) > 8 * 1024 * 1024 - batch * len(request)
        began = time.monotonic()
        own.stop()
        assert time.monotonic() - began < 5, "it ends although nobody reads its log"
    finally:
        os.close(reader)


def test_every_metric_was_looked_at(counting: Gateway):
    text = requests.get(f"http://127.0.0.1:{counting.admin_port}/metrics", timeout=5).text
    shown = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert looked_at == shown
