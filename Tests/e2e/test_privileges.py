"""Root opens the ports and reads the keys, and then nobody special serves: what `user:` promises."""

import os
import pwd
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import sanitizer
from support.gateway import Gateway, binary, environment
from support.processes import wait_until
from support.upstream import FakeUpstream
from support.wire import responses

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up being root")

ACCOUNT = "nobody"
GET = b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="auth-gateway-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def low_port() -> int:
    """A free port that only root may bind."""
    for port in range(1023, 511, -1):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1024 is free")


def as_account(folder: Path, upstream: FakeUpstream, user: str | None, **options: object) -> Gateway:
    """A gateway on a low port whose keys and state belong to the account, and are closed to others."""
    gateway = Gateway(folder, {"raw": upstream.port}, {"user": user} if user else None, dev=False, **options)
    account = pwd.getpwnam(ACCOUNT)
    state = folder / "state"
    state.mkdir(mode=0o700)
    os.chown(state, account.pw_uid, account.pw_gid)
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_bytes((gateway.certificates / name).read_bytes())
    (folder / "key.pem").chmod(0o600)
    os.chown(folder / "key.pem", account.pw_uid, account.pw_gid)
    gateway.plain_port = low_port()
    gateway.configuration["listeners"][0]["tls"]["certificates"] = [{"certificate": "cert.pem", "key": "key.pem"}]
    gateway.configuration["listeners"][1]["address"] = f"127.0.0.1:{gateway.plain_port}"
    gateway.configuration["identity"]["database"] = str(state / "gateway.db")
    gateway.write()
    return gateway


def status_of(process: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_root_becomes_the_account_once_the_ports_are_open(open_folder: Path, upstream: FakeUpstream):
    account = pwd.getpwnam(ACCOUNT)
    # Groups of the one who starts it that the account must not keep.
    gateway = as_account(open_folder, upstream, ACCOUNT, extra_groups=[0, 4, 6])
    with gateway:
        assert responses(gateway.raw(GET)[0])[0].status == 200
        assert gateway.get("raw", "/public/x").status_code == 200
        threads = sorted(int(thread.name) for thread in Path(f"/proc/{gateway.program.pid}/task").iterdir())
        # That of a sanitizer was there before the gateway itself.
        del threads[1 : 1 + sanitizer.THREADS]
        assert len(threads) > 2
        for thread in threads:
            status = status_of(f"{gateway.program.pid}/task/{thread}")
            assert status["Uid"].split() == [str(account.pw_uid)] * 4
            assert status["Gid"].split() == [str(account.pw_gid)] * 4
            assert set(status["Groups"].split()) == {str(account.pw_gid)}
            assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
            assert status["NoNewPrivs"] == "1"
        database = (open_folder / "state/gateway.db").stat()
        assert (database.st_uid, database.st_mode & 0o077) == (account.pw_uid, 0)


def test_nothing_of_its_memory_is_left_to_others_after_that(open_folder: Path, upstream: FakeUpstream):
    with as_account(open_folder, upstream, ACCOUNT) as gateway:
        limits = Path(f"/proc/{gateway.program.pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        # The kernel gives these files to root where a process may not be dumped, and to its user where it may.
        assert Path(f"/proc/{gateway.program.pid}/environ").stat().st_uid == 0


def test_a_reload_reads_keys_as_the_account(open_folder: Path, upstream: FakeUpstream):
    """What only root reads is refused then, by name, and the old configuration goes on."""
    with as_account(open_folder, upstream, ACCOUNT) as gateway:
        os.chown(open_folder / "key.pem", 0, 0)
        gateway.program.signal(signal.SIGHUP)
        wait_until(lambda: gateway.metrics()["config_reload_failures_total"] == 1, "the reload is refused")
        refused = next(event for event in gateway.events() if event.get("event") == "config.refused")
        assert "key.pem" in refused["problems"]
        assert gateway.get("raw", "/public/x").status_code == 200
        account = pwd.getpwnam(ACCOUNT)
        os.chown(open_folder / "key.pem", account.pw_uid, account.pw_gid)
        gateway.program.signal(signal.SIGHUP)
        wait_until(lambda: gateway.metrics()["config_reloads_total"] == 1, "the reload is taken")
        assert responses(gateway.raw(GET)[0])[0].status == 200, "the low port stays open"


@pytest.mark.parametrize(
    ("user", "said"),
    [
        (None, "does not serve as root"),
        ("root", "'root' is root"),
        ("no-such-account", "no account 'no-such-account'"),
        (f"{ACCOUNT}:no-such-group", "no group 'no-such-group'"),
    ],
)
def test_it_does_not_serve_as_root(open_folder: Path, upstream: FakeUpstream, user: str | None, said: str):
    gateway = as_account(open_folder, upstream, user)
    refused = gateway.command("run", "--config", gateway.configuration_file, check=False)
    assert refused.returncode == 1
    assert said in refused.stderr
    assert not (open_folder / "state/gateway.db").exists(), "it got as far as its state"


def test_check_says_where_it_cannot_try_the_accounts_rights(open_folder: Path, upstream: FakeUpstream):
    """Root in a container that keeps the right to become another user from it."""
    gateway = as_account(open_folder, upstream, ACCOUNT)
    command = ["setpriv", "--bounding-set=-setuid,-setgid", binary(), "check", "--config", gateway.configuration_file]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(), cwd=open_folder)
    assert done.returncode == 0, done.stderr
    assert f"warning: user: this process may not try files with the rights of '{ACCOUNT}'" in done.stderr


def test_development_may_be_root(open_folder: Path, upstream: FakeUpstream):
    gateway = as_account(open_folder, upstream, None)
    gateway.dev = True
    with gateway:
        assert status_of(gateway.program.pid)["Uid"].split() == ["0"] * 4
        assert responses(gateway.raw(GET)[0])[0].status == 200
