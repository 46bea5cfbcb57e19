"""What the gateway itself asks of others: the keys of other issuers, and the addresses of names.

The tests stand in the order of time: what takes the gateway half a minute is begun by the fixture and awaited last.
"""

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.gateway import Gateway, certificates, route
from support.namespaces import can_replace_files, seeing
from support.processes import ROOT, wait_until
from support.tokens import Key, KeyServer, key_set
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import responses

pytestmark = pytest.mark.skipif(not can_replace_files(), reason="this machine allows no mounts of our own")

AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
#: How often names are asked again, and the least time between two fetches that unknown keys cause.
PERIOD_SECONDS = 30
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def answer_and_close(connection: UpstreamConnection) -> None:
    """So that no kept connection hides where a new one would lead."""
    if connection.read_request():
        connection.send(CLOSING)


class SilentNameServer:
    """Takes questions and answers none: whoever asks waits."""

    ADDRESS = "127.0.0.153"

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((self.ADDRESS, 53))
        except PermissionError:
            pytest.skip("only root may be a name server here")
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recvfrom(4096):
                self.asked.set()

    def close(self) -> None:
        self._socket.close()


@dataclass
class World:
    """A gateway in a world of its own: its names, its authorities, three issuers and one that nobody vouches for."""

    gateway: Gateway
    started: float
    hosts: Path
    upstream: FakeUpstream
    moved_upstream: FakeUpstream
    names: SilentNameServer
    by_http: KeyServer
    by_https: KeyServer
    impostor: KeyServer
    file: Path
    keys: dict[str, Key] = field(default_factory=dict)

    def status(self, token: str, path: str = "/private/x") -> int:
        head = f"GET {path} HTTP/1.1\r\nHost: raw.demo.localhost\r\nAuthorization: Bearer {token}\r\n"
        received, _ = self.gateway.raw(f"{head}Connection: close\r\n\r\n".encode())
        return responses(received)[0].status

    def public_status(self, name: str) -> int:
        head = f"GET /{name} HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n"
        return responses(self.gateway.raw(head.encode())[0])[0].status


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("outbound")
    keys = {name: Key(name, f"first-{name}") for name in ("RS256", "ES256", "EdDSA")}
    keys["impostor"] = Key("ES256", "impostor")
    stranger = folder / "stranger"
    subprocess.run([ROOT / "scripts/dev-certificates", stranger], check=True, capture_output=True)
    key_file = folder / "keys.json"
    key_file.write_bytes(key_set(keys["EdDSA"]))
    hosts, resolver, switch = folder / "hosts", folder / "resolv.conf", folder / "nsswitch.conf"
    hosts.write_text("127.0.0.1 localhost app.test lost.test\n")
    resolver.write_text(f"nameserver {SilentNameServer.ADDRESS}\noptions timeout:2 attempts:1\n")
    switch.write_text("hosts: files dns\n")
    places = {
        "/etc/hosts": hosts,
        "/etc/resolv.conf": resolver,
        "/etc/nsswitch.conf": switch,
        AUTHORITIES: certificates() / "ca.pem",
    }
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(FakeUpstream(answer_and_close))
        moved = stack.enter_context(FakeUpstream(answer_and_close, "127.0.0.2", upstream.port))
        by_http = stack.enter_context(KeyServer(key_set(keys["RS256"])))
        by_https = stack.enter_context(KeyServer(key_set(keys["ES256"]), certificates()))
        impostor = stack.enter_context(KeyServer(key_set(keys["impostor"]), stranger))
        names = stack.enter_context(contextlib.closing(SilentNameServer()))
        issuers = {
            "by-http": ({"jwks_url": by_http.url}, ["RS256"], "10s"),
            "by-https": ({"jwks_url": by_https.url}, ["ES256"], "1d"),
            "by-file": ({"jwks_file": str(key_file)}, ["EdDSA"], "1d"),
            "impostor": ({"jwks_url": impostor.url}, ["ES256"], "1d"),
        }
        jwt = [
            {"issuer": f"https://{name}", "audience": "payroll", "prefix": f"{name}:", "keys": source}
            | {"algorithms": algorithms, "refresh_interval": interval}
            for name, (source, algorithms, interval) in issuers.items()
        ]
        gateway = Gateway(folder, {"raw": upstream.port}, {"authentication": {"jwt": jwt}}, prefix=seeing(places))
        gateway.configuration["upstreams"] |= {
            name: {"endpoints": [f"{name}.test:{upstream.port}"]} for name in ("app", "lost")
        }
        gateway.configuration["routes"] += [route("raw", f"/{name}", name, public=True) for name in ("app", "lost")]
        gateway.write()
        with gateway:
            world = World(
                gateway, time.monotonic(), hosts, upstream, moved, names, by_http, by_https, impostor, key_file, keys
            )
            assert [world.public_status(name) for name in ("app", "lost")] == [200, 200]
            assert len(upstream.requests) == 2
            wait_until(lambda: by_http.requests and by_https.requests, "the keys are fetched")
            yield world
        assert not upstream.errors + moved.errors


def test_tokens_of_three_issuers_are_believed_each_by_its_own_keys(world: World):
    world.upstream.forget()
    issuers = {"RS256": "https://by-http", "ES256": "https://by-https", "EdDSA": "https://by-file"}
    wait_until(lambda: world.status(world.keys["ES256"].token("https://by-https")) == 200, "the keys are there")
    for algorithm, issuer in issuers.items():
        world.upstream.forget()
        assert world.status(world.keys[algorithm].token(issuer)) == 200, algorithm
        name = issuer.removeprefix("https://")
        assert world.upstream.requests[0].get("X-Auth-User") == f"{name}:alice"
        for other in set(issuers.values()) - {issuer}:
            assert world.status(world.keys[algorithm].token(other)) == 401, f"{algorithm} for {other}"
        forger = Key(algorithm, world.keys[algorithm].identifier)
        assert world.status(forger.token(issuer)) == 401, f"a key of another with the same kid, {algorithm}"
        assert world.status(world.keys[algorithm].token(issuer, audience="other")) == 401


def test_R29_a_fetch_of_keys_carries_nothing_of_anybodys_request(world: World):
    for server in (world.by_http, world.by_https):
        for (_, line), *fields in server.requests:
            assert line == "GET /keys.json HTTP/1.1"
            assert {name.lower() for name, _ in fields} == {"host", "user-agent", "accept"}
            sent = {name.lower(): value for name, value in fields}
            assert sent["host"] == f"localhost:{server.port}"
            assert sent["user-agent"] == "auth-gateway"


def test_keys_from_a_server_that_nobody_vouches_for_are_none(world: World):
    """No key of the issuer was ever had: that is our fault, not the token's."""
    wait_until(
        lambda: any(event.get("event") == "keys.degraded" for event in world.gateway.events()), "the fetch has failed"
    )
    assert not world.impostor.requests
    assert world.status(world.keys["impostor"].token("https://impostor")) == 503


def test_a_changed_key_file_is_read_without_being_asked(world: World):
    old, new = world.keys["EdDSA"], Key("EdDSA", "second")
    world.file.write_bytes(key_set(new))
    wait_until(lambda: world.status(new.token("https://by-file")) == 200, "the new key is believed")
    assert world.status(old.token("https://by-file")) == 401
    remembered = old.token("https://by-file", jti="seen before")
    assert world.status(remembered) == 401


def test_names_lead_where_they_led_until_they_are_asked_again(world: World):
    assert time.monotonic() - world.started < PERIOD_SECONDS - 2, "the tests before took too long for this one"
    # One name moves; the other one is known to nobody any more, and asking for it takes two seconds.
    world.hosts.write_text("127.0.0.1 localhost\n127.0.0.2 app.test\n")
    assert [world.public_status(name) for name in ("app", "lost")] == [200, 200]
    assert not world.moved_upstream.requests
    world.names.asked.clear()


def test_an_issuer_that_is_away_or_talks_nonsense_leaves_the_last_good_keys(world: World):
    key = world.keys["RS256"]
    for status, document in ((200, b"nonsense"), (500, key_set(Key("RS256", "other")))):
        count = len(world.by_http.requests)
        world.by_http.status, world.by_http.document = status, document
        wait_until(lambda: len(world.by_http.requests) > count, "the keys are fetched again")  # noqa: B023
        assert world.status(key.token("https://by-http", jti=f"after {document[:9]}")) == 200


def test_a_key_that_the_issuer_withdraws_opens_nothing_any_more(world: World):
    key = world.keys["RS256"]
    remembered = key.token("https://by-http")
    assert world.status(remembered) == 200
    world.by_http.status, world.by_http.document = 200, key_set()
    wait_until(lambda: world.status(remembered) != 200, "the remembered token is refused")
    assert world.status(remembered) == 401
    assert world.status(key.token("https://by-http", jti="new")) == 401


def test_a_reload_asks_for_names_at_once(tmp_path: Path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost app.test\n")
    with FakeUpstream(answer_and_close) as before, FakeUpstream(answer_and_close, "127.0.0.2", before.port) as after:
        with Gateway(tmp_path, {"raw": before.port}, prefix=seeing({"/etc/hosts": hosts})) as gateway:
            gateway.configuration["upstreams"]["raw"]["endpoints"] = [f"app.test:{before.port}"]
            head = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n"
            for address, upstream in (("127.0.0.1", before), ("127.0.0.2", after)):
                hosts.write_text(f"127.0.0.1 localhost\n{address} app.test\n")
                taken = gateway.metrics()["config_reloads_total"]
                gateway.reload()
                wait_until(lambda: gateway.metrics()["config_reloads_total"] > taken, "the reload is taken")  # noqa: B023
                # Each worker takes the new addresses by itself, a moment later.
                wait_until(
                    lambda: gateway.raw(head) and gateway.raw(head) and upstream.requests,  # noqa: B023
                    "the name leads to its new address",
                )


def test_names_are_asked_again_and_nobody_waits_for_the_answer(world: World):
    assert world.names.asked.wait(max(0, world.started + PERIOD_SECONDS + 5 - time.monotonic()))
    longest, count = 0.0, 0
    while not world.moved_upstream.requests:
        began = time.monotonic()
        assert began < world.started + PERIOD_SECONDS + 15, "the name never led to its new address"
        assert world.public_status("app") == 200
        longest, count = max(longest, time.monotonic() - began), count + 1
    assert count > 10, "none was served while the name server kept silent"
    assert longest < 1, "a request waited while the name server kept silent for two seconds"
    assert world.public_status("lost") == 200, "a name that cannot be resolved leads where it led"


def test_a_key_that_is_unknown_is_fetched(world: World):
    """The set would be fetched once a day by itself; an unknown key asks for it, twice a minute at most."""
    new = Key("ES256", "second")
    world.by_https.document = key_set(world.keys["ES256"], new)
    token = new.token("https://by-https")
    fetched = len(world.by_https.requests)
    assert world.status(token) == 401, "nobody waits for the fetch"
    wait_until(lambda: world.status(token) == 200, "the new key is believed", PERIOD_SECONDS + 5, 0.1)
    assert time.monotonic() - world.started > PERIOD_SECONDS - 1
    assert len(world.by_https.requests) == fetched + 1, "however many ask, it is fetched once"
    assert world.status(world.keys["ES256"].token("https://by-https")) == 200, "the older key is still there"
