"""Listeners on Unix sockets: who may connect, whose file it is, and who a client is that has no address."""

import json
import os
import pwd
import signal
import socket
import ssl
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway import Gateway
from support.processes import wait_until
from support.upstream import FakeUpstream
from support.wire import read_response

GET = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n%s\r\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the path of a socket, which pytest's own are not always; every user may pass through."""
    with tempfile.TemporaryDirectory(prefix="auth-gateway-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def with_socket(gateway: Gateway, path: Path, **settings: object) -> Gateway:
    gateway.configuration["listeners"].append({"address": f"unix:{path}", **settings})
    gateway.write()
    return gateway


def connect(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(str(path))
    return peer


def ask(path: Path, fields: bytes = b"") -> int:
    with connect(path) as peer:
        peer.sendall(GET % fields)
        return read_response(peer).status


def test_requests_by_a_unix_socket_are_served_and_its_file_goes_with_the_gateway(
    tmp_path: Path, folder: Path, upstream: FakeUpstream
):
    path = folder / "http.sock"
    with with_socket(Gateway(tmp_path, {"raw": upstream.port}), path) as gateway:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        with connect(path) as peer:
            for _ in range(3):
                peer.sendall(GET % b"X-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n")
                assert read_response(peer).status == 200
        sent = upstream.wait_for_requests(3)[-1]
        assert sent.get("X-Forwarded-For") == "::", "no address, and none that the client made up"
        assert sent.get("Forwarded") == "for=unknown;proto=http"
        assert sent.get("X-Forwarded-Port") == "80"
        wait_until(lambda: '"client_ip":"::"' in gateway.log(), "the log has it")
        assert ask(path) == 200
    assert not path.exists()


def test_a_trusted_unix_peer_says_who_the_client_is(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    path = folder / "http.sock"
    changes = {
        "trusted_proxies": "unix",
        "limits": {"few": {"rate": "2/minute", "key": "address"}},
        "routes": [{"host": "raw.demo.localhost", "path": "/**", "upstream": "raw", "public": True, "limit": "few"}],
    }
    gateway = Gateway(tmp_path, {"raw": upstream.port}, changes)
    with with_socket(gateway, path):

        def statuses(address: bytes) -> list[int]:
            return [ask(path, b"X-Forwarded-For: %s\r\nX-Forwarded-Proto: https\r\n" % address) for _ in range(3)]

        assert statuses(b"192.0.2.7") == [200, 200, 429]
        assert statuses(b"192.0.2.8") == [200, 200, 429]
        assert statuses(b"203.0.113.1, 192.0.2.9") == [200, 200, 429]
        assert statuses(b"203.0.113.2, 192.0.2.9") == [429, 429, 429], "the last hop alone counts"
        # Nobody there is trusted but the socket's peer: `::` in the list is no Unix socket.
        assert statuses(b"203.0.113.3, ::") == [200, 200, 429]
        assert statuses(b"203.0.113.4, ::") == [429, 429, 429]
        sent = upstream.requests[0]
        assert sent.get("X-Forwarded-For") == "192.0.2.7"
        assert sent.get("X-Forwarded-Proto") == "https"
        # Trust in Unix peers is none in those of the ports.
        with gateway.connect() as peer:
            peer.sendall(GET % b"X-Forwarded-For: 192.0.2.10\r\n")
            assert read_response(peer).status == 200
        assert upstream.requests[-1].get("X-Forwarded-For") == "127.0.0.1"


def test_tls_on_a_unix_socket(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    path = folder / "https.sock"
    gateway = Gateway(tmp_path, {"raw": upstream.port})
    with with_socket(gateway, path, tls=gateway.configuration["listeners"][0]["tls"]):
        with gateway.tls.wrap_socket(connect(path), server_hostname="raw.demo.localhost") as peer:
            peer.sendall(GET % b"")
            assert read_response(peer).status == 200
        sent = upstream.wait_for_requests(1)[0]
        assert (sent.get("X-Forwarded-Proto"), sent.get("X-Forwarded-Port")) == ("https", "443")
        with connect(path) as plain, pytest.raises((ConnectionError, ssl.SSLError, AssertionError)):
            plain.sendall(GET % b"")
            assert plain.recv(100)[:4] == b"HTTP"


def test_the_file_of_a_killed_gateway_is_replaced_that_of_a_living_one_is_not(
    tmp_path: Path, folder: Path, upstream: FakeUpstream
):
    path = folder / "http.sock"
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = with_socket(Gateway(tmp_path / "first", {"raw": upstream.port}), path).start()
    second = with_socket(Gateway(tmp_path / "second", {"raw": upstream.port}), path)
    refused = second.command("run", "--config", second.configuration_file, "--dev", check=False)
    assert refused.returncode == 1
    assert f"cannot listen on unix:{path}" in refused.stderr and "another process listens there" in refused.stderr
    assert ask(path) == 200, "the first one did not lose it"
    first.kill()
    assert path.exists()
    with second:
        assert ask(path) == 200
    assert not path.exists()


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    path = folder / "http.sock"
    path.write_text("precious")
    gateway = with_socket(Gateway(tmp_path, {"raw": upstream.port}), path)
    for command in (["check"], ["run", "--dev"]):
        refused = gateway.command(*command, "--config", gateway.configuration_file, check=False)
        assert refused.returncode == 1
        assert "no socket" in refused.stderr
    assert path.read_text() == "precious"


def test_reloads_keep_the_socket_change_its_mode_and_take_it_away(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    path, other = folder / "http.sock", folder / "other.sock"
    with with_socket(Gateway(tmp_path, {"raw": upstream.port}), path) as gateway:
        ours = path.lstat().st_ino
        held = connect(path)

        def reload(count: int) -> None:
            gateway.reload()
            wait_until(lambda: gateway.metrics()["config_reloads_total"] == count, "the reload is taken")

        gateway.configuration["listeners"][-1]["mode"] = "0660"
        gateway.configuration["listeners"].append({"address": f"unix:{other}"})
        reload(1)
        assert (path.lstat().st_ino, stat.S_IMODE(path.lstat().st_mode)) == (ours, 0o660)
        held.sendall(GET % b"")
        assert read_response(held).status == 200
        held.close()
        assert ask(path) == 200 and ask(other) == 200
        del gateway.configuration["listeners"][-2]
        reload(2)
        wait_until(lambda: not path.exists(), "the file is gone")
        assert ask(other) == 200
    assert not other.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_started_as_root_the_file_is_the_accounts(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    """So that a reload, which has the account's rights alone, can make and remove files like it."""
    account = pwd.getpwnam("nobody")
    path, other = folder / "run/http.sock", folder / "run/other.sock"
    (folder / "run").mkdir()
    gateway = with_socket(Gateway(folder, {"raw": upstream.port}, {"user": "nobody"}, dev=False), path)
    gateway.configuration["listeners"] = gateway.configuration["listeners"][1:]
    gateway.configuration["identity"]["database"] = str(folder / "state/gateway.db")
    gateway.configuration["authentication"]["session"]["secure"] = False
    (folder / "state").mkdir(mode=0o700)
    os.chown(folder / "state", account.pw_uid, account.pw_gid)
    gateway.write()
    refused = gateway.command("run", "--config", gateway.configuration_file, check=False)
    assert refused.returncode == 1, "the account may make no file in root's folder"
    assert "the gateway's user has to be allowed to make files in that folder" in refused.stderr
    os.chown(folder / "run", account.pw_uid, account.pw_gid)
    with gateway:
        assert (path.lstat().st_uid, path.lstat().st_gid) == (account.pw_uid, account.pw_gid)
        gateway.configuration["listeners"][-1]["address"] = f"unix:{other}"
        gateway.write()
        gateway.program.signal(signal.SIGHUP)
        wait_until(lambda: other.exists() and not path.exists(), "the reload has moved it")
        assert ask(other) == 200
        events = [json.dumps(event) for event in gateway.events() if event.get("event") == "config.warning"]
        assert any("nobody says who comes by this socket" in event for event in events)
    assert not other.exists()


def test_the_admin_listener_on_a_unix_socket(tmp_path: Path, folder: Path, upstream: FakeUpstream):
    path = folder / "admin.sock"
    gateway = Gateway(tmp_path, {"raw": upstream.port})
    gateway.configuration["admin"] = {"address": f"unix:{path}", "mode": "0640"}
    gateway.write()

    def is_ready() -> bool:
        try:
            with connect(path) as peer:
                peer.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return read_response(peer).status == 200
        except OSError:
            return False

    gateway.is_ready = is_ready
    with gateway:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o640
    assert not path.exists()
