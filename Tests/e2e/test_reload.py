"""A new configuration or certificate takes over without a lost request; a bad one changes nothing."""

import copy
import shutil
import signal
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from support.gateway import COOKIE, Gateway, route
from support.processes import ROOT, free_port, wait_until
from support.upstream import FakeUpstream
from support.wire import connect, raw, read_all, read_response, responses

HEAD = b"Host: raw.demo.localhost\r\n"


def status(gateway: Gateway, path: str) -> int:
    data = b"GET " + path.encode() + b" HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"
    return responses(gateway.raw(data)[0])[0].status


def last_reload_succeeded(gateway: Gateway) -> float:
    return gateway.metrics()["config_last_reload_success"]


class Load(threading.Thread):
    """Requests without pause, over connections that are kept or over new ones, until told to stop."""

    def __init__(self, gateway: Gateway, keep: bool, tls: bool, credential: bytes = b""):
        super().__init__(daemon=True)
        self.gateway, self.keep, self.tls = gateway, keep, tls
        path = b"/private/x" if credential else b"/public/x"
        self.request = b"GET " + path + b" HTTP/1.1\r\n" + HEAD + credential + b"\r\n"
        self.count, self.failures = 0, []
        self.finished = threading.Event()

    def run(self) -> None:
        peer = None
        while not self.finished.is_set():
            try:
                peer = peer or self.gateway.connect(plain=not self.tls)
                peer.sendall(self.request)
                answer = read_response(peer)
                assert (answer.status, answer.body) == (200, b"ok"), answer
                self.count += 1
            except Exception as error:
                self.failures.append(repr(error))
                peer = None
            if not self.keep and peer:
                peer.close()
                peer = None

    def stop(self) -> None:
        self.finished.set()
        self.join(30)


def test_100_reloads_under_load_lose_no_request(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    token = f"Authorization: Bearer {gateway.mint()}\r\n".encode()
    session = f"Cookie: {COOKIE}={gateway.as_user('user@example.com').cookies[COOKIE]}\r\n".encode()
    loads = [Load(gateway, keep, tls=False) for keep in (True, False)]
    loads += [Load(gateway, keep, tls=True, credential=field) for keep in (True, False) for field in (token, session)]
    for load in loads:
        load.start()
    routes = gateway.configuration["routes"]
    for number in range(100):
        # A route that comes with each reload shows that this very one has taken effect.
        gateway.configuration["routes"] = [*routes, route("raw", f"/reload-{number}", public=True)]
        gateway.reload()
        wait_until(lambda path=f"/reload-{number}": status(gateway, path) == 200, f"reload {number} is in effect")
    for load in loads:
        load.stop()
    assert [load.failures for load in loads] == [[]] * len(loads)
    assert all(load.count > 100 for load in loads)
    assert status(gateway, "/reload-98") == 404, "the routes before are gone"


def test_a_bad_file_is_refused_and_the_old_one_stays(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    good = copy.deepcopy(gateway.configuration)
    for spoil in (
        lambda file: file.update(routes=[{"path": "/x", "upstream": "nowhere", "public": True}]),
        lambda file: file.update(unknown_key=1),
        lambda file: file["routes"].append({"host": "raw.demo.localhost", "path": "/open/**", "upstream": "raw"}),
        lambda file: file["listeners"][0]["tls"]["certificates"][0].update(key="/nowhere/key.pem"),
        lambda file: file.update(tests=[{"when": "GET https://raw.demo.localhost/private/x", "expect": "allow"}]),
    ):
        gateway.configuration = copy.deepcopy(good)
        spoil(gateway.configuration)
        lines = len(gateway.log().splitlines())
        gateway.reload()
        wait_until(lambda: last_reload_succeeded(gateway) == 0, "the refusal shows in the metrics")
        said = "\n".join(gateway.log().splitlines()[lines:])
        assert "gateway.yaml" in said, "the log says where the mistake is"
        assert status(gateway, "/public/x") == 200
        assert status(gateway, "/private/x") == 401
        assert status(gateway, "/open/x") == 404
        gateway.configuration = copy.deepcopy(good)
        gateway.reload()
        wait_until(lambda: last_reload_succeeded(gateway) == 1, "the good file is taken")


def test_a_listener_of_a_refused_file_listens_once_the_file_is_good(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    good = copy.deepcopy(gateway.configuration)
    port = free_port()
    good["listeners"].append({"address": f"127.0.0.1:{port}"})
    spoilt = copy.deepcopy(good)
    (gateway.folder / "keys.json").write_text("[]")
    spoilt["authentication"].setdefault("jwt", []).append(
        {"issuer": "https://other.test", "audience": "x", "prefix": "other:", "keys": {"jwks_file": "keys.json"}}
    )
    gateway.configuration = spoilt
    gateway.reload()
    wait_until(lambda: last_reload_succeeded(gateway) == 0, "the refusal shows in the metrics")
    assert "keys.json" in gateway.log(), "the keys are what it was refused for"
    with pytest.raises(ConnectionRefusedError):
        connect(port)
    gateway.configuration = good
    gateway.reload()
    wait_until(lambda: last_reload_succeeded(gateway) == 1, "the good file is taken")
    data = b"GET /public/x HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"
    assert responses(raw(port, data)[0])[0].status == 200


def test_a_file_that_is_no_yaml_or_gone_is_refused(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    for content in (b"\x00\xff", b"routes: [", b"", b"a: &a [*a]"):
        gateway.configuration_file.write_bytes(content)
        gateway.program.signal(signal.SIGHUP)
        wait_until(lambda: last_reload_succeeded(gateway) == 0, "the refusal shows in the metrics")
        gateway.reload()
        wait_until(lambda: last_reload_succeeded(gateway) == 1, "the good file is taken")
    gateway.configuration_file.unlink()
    gateway.program.signal(signal.SIGHUP)
    wait_until(lambda: last_reload_succeeded(gateway) == 0, "the refusal shows in the metrics")
    assert status(gateway, "/public/x") == 200
    gateway.write()


def test_an_exchange_in_flight_finishes_on_the_old_rules(start_gateway, upstream: FakeUpstream):
    go_on = threading.Event()

    def wait_then_answer(connection):
        while request := connection.read_request():
            if request.target == "/public/slow":
                go_on.wait(30)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    upstream.script = wait_then_answer
    gateway = start_gateway({"raw": upstream.port})
    with gateway.connect() as peer:
        peer.sendall(b"GET /public/slow HTTP/1.1\r\n" + HEAD + b"\r\n")
        upstream.wait_for_requests(1)
        gateway.configuration["routes"] = [route("raw", "/other", public=True)]
        gateway.reload()
        wait_until(lambda: status(gateway, "/public/x") == 404, "the new routes hold")
        go_on.set()
        assert read_response(peer).status == 200
        # The connection stays, and its next request is judged by the new rules.
        peer.sendall(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"\r\n")
        assert read_response(peer).status == 404


def serial_number(gateway: Gateway, context: ssl.SSLContext) -> str:
    with connect(gateway.https_port, context, "raw.demo.localhost") as peer:
        return peer.getpeercert()["serialNumber"]


def test_a_changed_certificate_is_taken_up(upstream: FakeUpstream, tmp_path: Path):
    mine = tmp_path / "certificates"
    subprocess.run([ROOT / "scripts/dev-certificates", mine], check=True, capture_output=True)
    gateway = Gateway(tmp_path, {"raw": upstream.port})
    gateway.configuration["listeners"][0]["tls"]["certificates"] = [
        {"certificate": str(mine / "cert.pem"), "key": str(mine / "key.pem")}
    ]
    gateway.write()
    context = ssl.create_default_context(cafile=str(mine / "ca.pem"))
    with gateway:
        before = serial_number(gateway, context)
        shutil.rmtree(mine)
        subprocess.run([ROOT / "scripts/dev-certificates", mine], check=True, capture_output=True)
        context.load_verify_locations(mine / "ca.pem")
        # The gateway looks at the files by itself; nobody has to tell it.
        wait_until(lambda: serial_number(gateway, context) != before, "the new certificate is shown", timeout=60)


def test_R53_the_lowest_tls_version_holds_after_a_reload(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.configuration["routes"].append(route("raw", "/reloaded", public=True))
    gateway.reload()
    wait_until(lambda: status(gateway, "/reloaded") == 200, "the reload is in effect")
    old = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.https_port}", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Cipher is (NONE)" in old.stdout
    context = ssl.create_default_context(cafile=str(gateway.certificates / "ca.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    ask = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n"
    # So many that each worker has some: when all have ended, each has heard of the reload.
    idle = [connect(gateway.https_port, context, "raw.demo.localhost") for _ in range(16)]
    for one in idle:
        one.sendall(ask + b"\r\n")
        assert read_response(one).status == 200
    busy = connect(gateway.https_port, context, "raw.demo.localhost")
    busy.sendall(ask + b"Content-Length: 2\r\n\r\na")
    half = connect(gateway.https_port, context, "raw.demo.localhost")
    half.sendall(ask)
    fresh = connect(gateway.https_port, context, "raw.demo.localhost")
    plain = gateway.connect()
    plain.sendall(ask + b"\r\n")
    assert read_response(plain).status == 200
    gateway.configuration["listeners"][0]["tls"]["profile"] = "modern"
    gateway.reload()
    # Connections of the old policy end: idle ones now, the others with their exchange. Those without TLS stay.
    for one in idle:
        assert read_all(one) == (b"", True)
    busy.sendall(b"b")
    assert read_response(busy).get("Connection") == "close"
    assert read_all(busy) == (b"", True)
    half.sendall(b"\r\n" + ask + b"\r\n")  # The rest of one head, and a whole one behind it.
    assert read_response(half).get("Connection") == "close"
    assert read_all(half) == (b"", True)
    assert read_all(fresh) == (b"", True)
    plain.sendall(ask + b"\r\n")
    assert read_response(plain).status == 200

    def refuses_tls_1_2() -> bool:
        try:
            connect(gateway.https_port, context, "raw.demo.localhost").close()
        except ssl.SSLError:
            return True
        return False

    wait_until(refuses_tls_1_2, "TLS 1.2 is refused")
    assert gateway.get("raw", "/public/x").status_code == 200


def test_R86_a_remembered_token_is_judged_by_the_rules_of_now(start_gateway, upstream: FakeUpstream):
    gateway = start_gateway({"raw": upstream.port})
    bearer = {"Authorization": f"Bearer {gateway.mint()}"}
    for _ in range(8):  # Every worker remembers it.
        assert gateway.get("raw", "/private/x", headers=bearer).status_code == 200
    gateway.configuration["identity"]["token_audience"] = "another"
    gateway.reload()
    wait_until(lambda: gateway.metrics()["config_reloads_total"] == 1, "the reload is taken")
    # The workers hear of it a moment later.
    wait_until(
        lambda: all(gateway.get("raw", "/private/x", headers=bearer).status_code == 401 for _ in range(8)),
        "no worker takes the token any more",
    )
    assert gateway.get("raw", "/private/x", headers={"Authorization": f"Bearer {gateway.mint()}"}).status_code == 200


def test_connections_of_a_listener_that_is_gone_are_not_served_by_the_rules_of_another(
    start_gateway, upstream: FakeUpstream
):
    gateway = start_gateway({"raw": upstream.port}, {"workers": 1})
    ask = b"GET /public/x HTTP/1.1\r\n" + HEAD
    redirected = connect(gateway.redirect_port)
    redirected.sendall(ask + b"\r\n")
    assert read_response(redirected).status == 308
    begun = connect(gateway.redirect_port)
    begun.sendall(ask)
    served = gateway.connect()
    served.sendall(ask + b"\r\n")
    assert read_response(served).status == 200
    # Another listener takes the place of the one that redirects, and serves.
    gateway.configuration["listeners"][2] = {"address": f"127.0.0.1:{free_port()}"}
    gateway.reload()
    assert read_all(redirected) == (b"", True)
    begun.sendall(b"\r\n")
    answer = read_response(begun)
    assert (answer.status, answer.get("Connection")) == (503, "close")
    served.sendall(ask + b"\r\n")
    assert read_response(served).status == 200
