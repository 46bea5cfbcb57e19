"""Problems of a file, all at once; the account to become; and keys that come by TLS from a private authority."""

import http.server
import os
import pwd
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.gateway import DOMAIN, Gateway, binary
from support.processes import wait_until
from support.upstream import FakeUpstream

HEAD = b"Host: raw.demo.localhost\r\n"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ACCOUNT = "nobody"


def make_certificate(folder: Path, name: str, subject: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        + ["-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return certificate, key


# Every problem of the file


def test_one_run_reports_every_problem_and_no_start_or_reload_takes_the_file(
    start_gateway: Callable[..., Gateway], upstream: FakeUpstream, tmp_path: Path
):
    gateway = start_gateway({"raw": upstream.port})
    _, other_key = make_certificate(tmp_path, "other")
    good = gateway.configuration_file.read_text()
    spoilt = good.replace(f"key: {gateway.certificates / 'key.pem'}", f"key: {other_key}", 1)
    spoilt = spoilt.replace("workers: 2", "workers: 0").replace("rate: 5/minute", "rate: often")
    spoilt += f"tests:\n- when: GET https://raw.{DOMAIN}/private/x\n  expect: allow\n"
    gateway.configuration_file.write_text(spoilt)
    kinds = ["workers:", "listeners[0].tls.certificates[0].key:", "limits.five-a-minute.rate:", "tests[0]:"]
    files = set(gateway.folder.iterdir())

    def expect_all(text: str) -> None:
        lines = [line for line in text.splitlines() if "gateway.yaml:" in line]
        assert len(lines) == len(kinds), text
        for line, kind in zip(lines, kinds, strict=True):
            assert f": {kind} " in line, text

    for command in ("check", "run"):
        refused = gateway.command(command, "--config", gateway.configuration_file, check=False)
        assert refused.returncode == 1
        expect_all(refused.stderr)
    assert set(gateway.folder.iterdir()) == files
    gateway.program.signal(1)
    wait_until(lambda: any(line.get("event") == "config.refused" for line in gateway.events()), "the reload is refused")
    event = next(line for line in gateway.events() if line.get("event") == "config.refused")
    expect_all(event["problems"])
    assert b" 200 " in gateway.raw(b"GET /public/x HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")[0]


def test_check_binds_nothing_and_creates_nothing(gateway: Gateway, tmp_path: Path):
    """The ports of the file are taken by the gateway that runs."""
    text = gateway.configuration_file.read_text()
    text = text.replace(str(gateway.folder / "gateway.db"), str(tmp_path / "new.db"))
    (tmp_path / "gateway.yaml").write_text(text + f"log:\n  access: {tmp_path}/access.log\n")
    done = gateway.command("check", "--config", tmp_path / "gateway.yaml")
    assert done.stdout.strip().endswith(": ok")
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.yaml"]


# The account to become


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-account-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@AS_ROOT
def test_a_key_that_the_account_cannot_read_refuses_the_start_and_the_cure_helps(
    open_folder: Path, upstream: FakeUpstream
):
    account = pwd.getpwnam(ACCOUNT)
    certificate, key = make_certificate(open_folder, "own", f"DNS:raw.{DOMAIN}")
    database = open_folder / "data"
    database.mkdir()
    os.chown(database, account.pw_uid, account.pw_gid)
    gateway = Gateway(
        open_folder,
        {"raw": upstream.port},
        {"user": ACCOUNT, "identity": {"database": str(database / "gateway.db")}, "authentication": {}, "limits": {}},
        dev=False,
    )
    gateway.configuration["listeners"][0]["tls"]["certificates"] = [{"certificate": str(certificate), "key": str(key)}]
    gateway.configuration["routes"] = [r for r in gateway.configuration["routes"] if r["path"] == "/public/**"]
    gateway.write()
    for command in ("check", "run"):
        refused = gateway.command(command, "--config", gateway.configuration_file, check=False)
        assert refused.returncode == 1
        assert "listeners[0].tls.certificates[0].key: 'nobody'" in refused.stderr, refused.stderr
        assert "chgrp" in refused.stderr and "LoadCredential=" in refused.stderr
    assert not list(database.iterdir()), "nothing was begun"

    os.chown(key, 0, account.pw_gid)
    key.chmod(0o640)
    gateway.command("check", "--config", gateway.configuration_file)
    with gateway:
        status = Path(f"/proc/{gateway.program.pid}/status").read_text()
        assert f"Uid:\t{account.pw_uid}\t{account.pw_uid}\t{account.pw_uid}\t{account.pw_uid}\n" in status
        renewed, renewed_key = make_certificate(open_folder, "renewed", f"DNS:raw.{DOMAIN}")
        os.chown(renewed_key, 0, account.pw_gid)
        renewed_key.chmod(0o640)
        renewed.replace(certificate)
        renewed_key.replace(key)
        gateway.reload()
        wait_until(lambda: any(line.get("event") == "config.reloaded" for line in gateway.events()), "it reloads")
        assert not any(line.get("event") == "config.refused" for line in gateway.events())


@AS_ROOT
def test_not_as_root_the_account_is_ignored_with_a_warning(open_folder: Path, upstream: FakeUpstream):
    account = pwd.getpwnam(ACCOUNT)
    (open_folder / "gateway.yaml").write_text(
        f"user: daemon\nlisteners: [{{ address: 127.0.0.1:0 }}]\nadmin: off\n"
        f"upstreams: {{ raw: {{ endpoints: [127.0.0.1:{upstream.port}] }} }}\n"
        "routes: [{ path: /, upstream: raw, public: true }]\n"
    )
    os.chown(open_folder, account.pw_uid, account.pw_gid)
    program = open_folder / "auth-gateway"
    shutil.copy(binary(), program)
    program.chmod(0o755)
    options = {"cwd": open_folder, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    done = subprocess.run([program, "check"], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0
    assert "gateway.yaml:1:7: warning: user: only root can become 'daemon'" in done.stderr
    running = subprocess.Popen(
        [program, "run"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    )
    for line in running.stderr:
        if "gateway.started" in line or "user.ignored" in line:
            break
    running.terminate()
    rest = running.communicate(timeout=30)[1]
    assert "user.ignored" in line, "the warning comes before the start is reported"
    assert running.returncode == 0, rest


# Keys from a private authority


class KeyServer:
    """A JWKS URL over TLS with a certificate of its own authority."""

    def __init__(self, certificate: Path, key: Path, keys: bytes):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(keys)))
                self.end_headers()
                self.wfile.write(keys)

            def log_message(self, *_) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.server_port}/jwks"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_keys_come_over_tls_from_the_authorities_that_the_file_names_and_from_no_other(
    start_gateway: Callable[..., Gateway], gateway: Gateway, upstream: FakeUpstream, tmp_path: Path
):
    certificate, key = make_certificate(tmp_path, "issuer")
    stranger, _ = make_certificate(tmp_path, "stranger")
    authorities = tmp_path / "ca.pem"
    shutil.copy(stranger, authorities)
    # The shared gateway stands for the issuer: its tokens, and its keys at a URL of our own.
    keys = gateway.get("iam", "/.well-known/jwks.json").content
    server = KeyServer(certificate, key, keys)
    issuer = {
        "issuer": gateway.configuration["identity"]["issuer"],
        "audience": "auth-gateway",
        "keys": {"jwks_url": server.url, "ca": str(authorities)},
        "username_claim": "preferred_username",
    }
    own = start_gateway({"raw": upstream.port}, {"authentication": {"jwt": [issuer]}, "limits": {}, **routes()})
    bearer = {"Authorization": f"Bearer {gateway.mint()}"}

    def status() -> int:
        return own.get("raw", "/private/x", headers=bearer).status_code

    def states() -> list[str]:
        return [line["event"] for line in own.events() if line.get("event", "").startswith("keys.")]

    wait_until(lambda: "keys.degraded" in states(), "the certificate of the URL is not trusted")
    assert status() == 503, "without keys nobody can judge the token"
    reloads = own.metrics()["config_reloads_total"]
    shutil.copy(certificate, tmp_path / "next.pem")
    (tmp_path / "next.pem").replace(authorities)
    wait_until(lambda: own.metrics()["config_reloads_total"] > reloads, "the changed file is noticed")
    wait_until(lambda: status() == 200, "the keys are there", timeout=60)
    authorities.write_text("nothing")
    wait_until(lambda: own.metrics()["config_last_reload_success"] == 0, "a file without authorities is refused")
    assert status() == 200
    server.stop()


def routes() -> dict:
    host = {"host": f"raw.{DOMAIN}", "upstream": "raw"}
    return {"routes": [{**host, "path": "/private/**", "require": {"authenticated": True}, "credentials": ["jwt"]}]}
