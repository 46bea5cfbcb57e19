"""The container image's root filesystem, run without an engine, and the systemd unit."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.gateway import Gateway, binary
from support.processes import ROOT, Program, wait_until
from support.upstream import FakeUpstream
from support.wire import responses

USER_ID = 10001


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Every user must be able to pass through to it, as every user may read an image's root.
    folder = tmp_path_factory.mktemp("image") / "rootfs"
    for parent in folder.parents:
        if parent.owner() == folder.parent.owner() and not parent.stat().st_mode & 0o005 and parent != Path.home():
            parent.chmod(0o755)
    environment = {**os.environ, "AUTH_GATEWAY": str(binary())}
    subprocess.run([ROOT / "scripts/image-rootfs", folder], check=True, capture_output=True, env=environment)
    return folder


def test_the_image_has_no_shell_and_is_small(rootfs: Path):
    files = [path for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()]
    programs = {path.name for path in files if path.parent == rootfs / "usr/bin"}
    assert programs == {"auth-gateway"}
    assert not [path for path in files if path.stat().st_mode & 0o6000], "nothing is set-user-id"
    assert sum(path.stat().st_size for path in files) < 120 * 1024 * 1024


def test_nothing_of_foundations_internationalisation_is_loaded(rootfs: Path):
    libraries = {path.name for path in rootfs.rglob("*.so*")}
    assert not [
        name for name in libraries if re.search(r"FoundationInternationalization|_FoundationICU|libFoundation\.", name)
    ]


def test_the_gateway_answers_in_it_as_nobody_special_on_a_read_only_root(
    rootfs: Path, tmp_path: Path, upstream: FakeUpstream
):
    configuration, state = tmp_path / "configuration", tmp_path / "state"
    configuration.mkdir()
    state.mkdir(mode=0o700)
    gateway = Gateway(configuration, {"raw": upstream.port})
    for name in ("cert.pem", "key.pem"):
        shutil.copy(gateway.certificates / name, configuration)
    gateway.configuration["listeners"][0]["tls"]["certificates"] = [{"certificate": "cert.pem", "key": "key.pem"}]
    gateway.configuration["identity"]["database"] = "/var/lib/auth-gateway/gateway.db"
    gateway.write()
    if os.geteuid() == 0:
        for path in (configuration, state, *configuration.iterdir()):
            os.chown(path, USER_ID, USER_ID)
    command = [ROOT / "scripts/image-run", rootfs, configuration, state]
    gateway.program = Program(
        [*command, "run", "--config", "/etc/auth-gateway/gateway.yaml"], configuration / "gateway.log"
    )
    try:
        wait_until(gateway.is_ready, "the gateway is ready")
        status = Path(f"/proc/{gateway.program.pid}/status").read_text()
        if os.geteuid() == 0:
            assert re.search(rf"^Uid:\t{USER_ID}\t{USER_ID}\t{USER_ID}\t{USER_ID}$", status, re.MULTILINE)
            assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        received, _ = gateway.raw(b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n")
        assert responses(received)[0].status == 200
        assert gateway.get("raw", "/public/x").status_code == 200
        assert (state / "gateway.db").exists()
        options = Path(f"/proc/{gateway.program.pid}/mountinfo").read_text()
        assert re.search(rf"{re.escape(str(rootfs))} (/|{re.escape(str(rootfs))}) ro[, ]", options), (
            "the root can be written to"
        )
    finally:
        gateway.stop()


def test_the_unit_is_valid_and_confined(tmp_path: Path):
    """Where systemd's tools are installed they judge; the lines that matter are looked at in any case."""
    unit = (ROOT / "deploy/auth-gateway.service").read_text()
    for line in (
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
    ):
        assert line in unit.splitlines()
    if not shutil.which("systemd-analyze"):
        return
    copy = tmp_path / "auth-gateway.service"
    copy.write_text(unit.replace("/usr/bin/auth-gateway", str(binary())))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True)
    assert verified.returncode == 0 and str(copy.name) not in verified.stderr, verified.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", copy],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout[-300:]


def test_the_dockerfile_takes_what_is_there_and_starts_what_was_assembled(rootfs: Path):
    """No engine runs here: its steps are scripts that the other tests run, and the rest of its lines is compared."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
    steps = [tuple(line.split(maxsplit=1)) for line in lines]
    words = {name: arguments for name, arguments in steps}
    copied = {source for name, source in steps if name == "COPY" and "--from" not in source}
    folders = {source.split()[0] for source in copied}
    assert all((ROOT / folder).exists() for folder in folders)
    ran = [arguments.split()[0] for name, arguments in steps if name == "RUN"]
    assert ran == ["scripts/install", "scripts/image-rootfs"]
    assert all(os.access(ROOT / script, os.X_OK) and script.split("/")[0] in folders for script in ran)
    # What the script reads of the repository has been copied before it runs.
    read = set(re.findall(r"\b(deploy|Sources|Package\.swift|Tests)\b", (ROOT / "scripts/image-rootfs").read_text()))
    assert read <= folders
    assert (words["FROM"], words["USER"]) == ("scratch", f"{USER_ID}:{USER_ID}")
    assert (rootfs / json.loads(words["ENTRYPOINT"])[0].lstrip("/")).exists()
    assert (rootfs / json.loads(words["CMD"])[-1].lstrip("/")).read_text() == (ROOT / "deploy/gateway.yaml").read_text()
    exposed = set(re.findall(r":(\d+)\b", (ROOT / "deploy/gateway.yaml").read_text()))
    assert set(words["EXPOSE"].split()) <= exposed
    assert (rootfs / words["VOLUME"].lstrip("/")).is_dir()
