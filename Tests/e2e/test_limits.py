"""Limits: how many pass, what the others are told, and what holds while Redis is away."""

import concurrent.futures
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from support.gateway import SIGNED_IN, Gateway, route
from support.processes import Program, start_redis, wait_until
from support.upstream import FakeUpstream
from support.wire import Message, responses

HEAD = b"Host: raw.demo.localhost\r\nConnection: close\r\n\r\n"


def ask(gateway: Gateway, path: str = "/limited", source: str = "127.0.0.1") -> Message:
    with gateway.connect(source=source) as peer:
        peer.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\n" + HEAD)
        received = b""
        while block := peer.recv(65536):
            received += block
    return responses(received)[0]


def limited(rate: str, key: str = "address", **more: object) -> dict:
    """The changes that give one public route one limit."""
    return {
        "limits": {"the-limit": {"rate": rate, "key": key, **more}},
        "routes": [route("raw", "/limited", public=True, limit="the-limit"), route("raw", "/free", public=True)],
    }


def in_redis(port: int, on_store_error: str, rate: str = "5/hour") -> dict:
    changes = limited(rate, store="redis", on_store_error=on_store_error)
    return {**changes, "redis": {"url": f"redis://127.0.0.1:{port}/0"}}


def test_five_a_minute_for_each_subject(gateway: Gateway):
    url = gateway.url("flask", "/limited")
    legal, pm = gateway.as_user("legal@example.com"), gateway.as_user("pm@example.com")
    answers = [legal.get(url) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    refused = answers[-1]
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "RateLimit" in refused.headers and "RateLimit-Policy" in refused.headers
    assert "RateLimit" in answers[0].headers
    assert pm.get(url).status_code == 200, "another subject has a count of their own"


def test_an_address_has_its_own_count(start_gateway: Callable[..., Gateway], upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, limited("3/hour"))
    assert [ask(gateway).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert [ask(gateway, source="127.0.0.9").status for _ in range(4)] == [200, 200, 200, 429]
    assert ask(gateway, "/free").status == 200
    assert len(upstream.requests) == 7, "what was refused never reached the application"


def test_R121_a_forged_forwarding_field_does_not_buy_another_count(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, limited("3/hour"))
    statuses = []
    for number in range(6):
        forged = f"X-Forwarded-For: 203.0.113.{number}\r\nX-Real-IP: 203.0.113.{number}\r\n".encode()
        received, _ = gateway.raw(b"GET /limited HTTP/1.1\r\n" + forged + HEAD)
        statuses.append(responses(received)[0].status)
    assert statuses == [200] * 3 + [429] * 3


def test_spellings_of_a_path_share_its_count(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, limited("3/hour"))
    spellings = ["/limited", "/limite%64", "/./limited", "/x/../limited", "/limited?x", "/limited/"]
    assert sorted(ask(gateway, path).status for path in spellings) == [200] * 3 + [429] * 3


def test_memory_counts_exactly_across_workers(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port}, {**limited("50/hour"), "workers": 4})
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: ask(gateway).status, range(200)))
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 50


def test_a_subject_limit_counts_after_authentication(start_gateway, upstream: FakeUpstream):
    changes = {
        "limits": {"the-limit": {"rate": "2/hour", "key": "subject"}},
        "routes": [route("raw", "/limited", limit="the-limit", **SIGNED_IN)],
    }
    gateway = start_gateway({"raw": upstream.port}, changes)
    assert [ask(gateway).status for _ in range(5)] == [401] * 5
    head = f"GET /limited HTTP/1.1\r\nAuthorization: Bearer {gateway.mint()}\r\n".encode() + HEAD
    assert [responses(gateway.raw(head)[0])[0].status for _ in range(3)] == [200, 200, 429]


def test_a_route_limit_counts_everybody_together(start_gateway, upstream: FakeUpstream):
    changes = {
        "limits": {"the-limit": {"rate": "4/hour", "key": "route"}},
        "routes": [
            route("raw", "/limited", public=True, limit="the-limit"),
            route("raw", "/other", optional=True, limit="the-limit"),
        ],
    }
    gateway = start_gateway({"raw": upstream.port}, changes)
    statuses = [ask(gateway, source=f"127.0.0.{number}").status for number in range(2, 8)]
    assert statuses == [200] * 4 + [429] * 2
    bearer = f"GET /other HTTP/1.1\r\nAuthorization: Bearer {gateway.mint()}\r\n".encode() + HEAD
    by_token = [responses(gateway.raw(bearer)[0])[0].status for _ in range(3)]
    assert by_token + [ask(gateway, "/other").status for _ in range(2)] == [200] * 4 + [429], (
        "another route has a count of its own, whoever asks"
    )


@pytest.mark.parametrize("key", ["address", "route"])
def test_a_flood_buys_no_signature_checks(start_gateway, upstream: FakeUpstream, key: str):
    """What needs no subject is counted before anything is verified; a subject's limit cannot be."""
    changes = {
        "limits": {
            "before": {"rate": "3/hour", "key": key},
            "after": {"rate": "1000/hour", "key": "subject"},
        },
        "routes": [route("raw", "/limited", limit=["after", "before"], **SIGNED_IN)],
    }
    gateway = start_gateway({"raw": upstream.port}, changes)
    header, claims, signature = gateway.mint().split(".")

    def checked() -> float:
        return gateway.metrics()["auth_validation_duration_seconds_count"]

    def ask_with(token: str) -> int:
        head = f"GET /limited HTTP/1.1\r\nAuthorization: Bearer {token}\r\n".encode() + HEAD
        return responses(gateway.raw(head)[0])[0].status

    # Tokens that look right and that nobody has seen, so that no cache helps.
    forged = [f"{header}.{claims}.{number:04d}{signature[4:]}" for number in range(50)]
    assert [ask_with(token) for token in forged[:3]] == [401] * 3
    assert checked() == 3, "each of them cost a check"
    assert {ask_with(token) for token in forged[3:]} == {429}
    assert ask_with(f"{header}.{claims}.{signature}") == 429
    assert checked() == 3, "those over the limit cost checks"
    assert not upstream.requests


def test_two_gateways_share_a_count_in_redis(start_gateway, upstream: FakeUpstream, redis_server):
    _, port = redis_server
    gateways = [start_gateway({"raw": upstream.port}, in_redis(port, "deny")) for _ in range(2)]
    statuses = [ask(gateways[number % 2]).status for number in range(8)]
    assert statuses == [200] * 5 + [429] * 3


def test_redis_forgets_its_scripts_and_nobody_notices(start_gateway, upstream: FakeUpstream, redis_server):
    _, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "deny"))
    assert ask(gateway).status == 200
    redis.Redis(port=port).script_flush()
    assert [ask(gateway).status for _ in range(5)] == [200] * 4 + [429]


def wait_for_status(gateway: Gateway, status: int) -> Message:
    """An answer with this status, once the gateway has noticed what happened to its store."""
    return wait_until(lambda: (answer := ask(gateway)).status == status and answer, f"a status {status} comes")


def test_without_redis_allow_lets_everybody_through(start_gateway, upstream: FakeUpstream, redis_server):
    server, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "allow"))
    assert [ask(gateway).status for _ in range(6)] == [200] * 5 + [429]
    server.kill()
    wait_for_status(gateway, 200)
    assert [ask(gateway).status for _ in range(10)] == [200] * 10


def test_without_redis_deny_answers_503_and_says_when_to_come_again(start_gateway, upstream, redis_server):
    server, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "deny"))
    assert ask(gateway).status == 200
    reached = len(upstream.requests)
    server.kill()
    answer = wait_for_status(gateway, 503)
    assert answer.get("Retry-After")
    assert [ask(gateway).status for _ in range(5)] == [503] * 5
    assert len(upstream.requests) == reached
    assert ask(gateway, "/free").status == 200, "a route without the limit goes on"


def test_without_redis_local_goes_on_counting_here(start_gateway, upstream: FakeUpstream, redis_server):
    server, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "local"))
    server.kill()
    statuses = [ask(gateway).status for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3


def test_redis_comes_back_and_is_used_again(start_gateway, upstream: FakeUpstream, redis_server, tmp_path: Path):
    server, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "deny"))
    assert ask(gateway).status == 200
    server.kill()
    wait_for_status(gateway, 503)
    returned, _ = start_redis(tmp_path, port)
    try:
        wait_for_status(gateway, 200)
    finally:
        returned.stop()


@pytest.mark.parametrize("policy", ["allow", "deny", "local"])
def test_a_store_that_never_answers_counts_as_away(start_gateway, upstream: FakeUpstream, policy: str):
    def never_answer(connection):
        while connection.peer.recv(65536):
            pass

    with FakeUpstream(never_answer) as silent:
        gateway = start_gateway({"raw": upstream.port}, in_redis(silent.port, policy))
        assert ask(gateway).status == {"allow": 200, "deny": 503, "local": 200}[policy]


@pytest.mark.parametrize(
    "garbage", [b"HTTP/1.1 400 Bad\r\n\r\n", b"*-7\r\n", b"$99999999999\r\n", b"+OK\r\n" * 9, b"\x00"]
)
def test_a_store_that_answers_nonsense_counts_as_away(start_gateway, upstream: FakeUpstream, garbage: bytes):
    def answer_nonsense(connection):
        while connection.peer.recv(65536):
            connection.send(garbage)

    with FakeUpstream(answer_nonsense) as broken:
        gateway = start_gateway({"raw": upstream.port}, in_redis(broken.port, "deny"))
        assert ask(gateway).status == 503
        assert not upstream.requests


def test_a_stopped_store_does_not_hold_others_up(start_gateway, upstream: FakeUpstream, redis_server):
    server: Program
    server, port = redis_server
    gateway = start_gateway({"raw": upstream.port}, in_redis(port, "deny"))
    assert ask(gateway).status == 200
    server.signal(signal.SIGSTOP)
    try:
        wait_for_status(gateway, 503)
        assert ask(gateway, "/free").status == 200
    finally:
        server.signal(signal.SIGCONT)
    wait_for_status(gateway, 200)
