"""Scanners of others against the gateway's TLS; run by `make tls-check`, which installs them.

What they find is a failure, unless `docs/OPERATIONS.md` lists it with its reason.
"""

import csv
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.authority import Authority, dns
from support.gateway import DOMAIN, Gateway
from support.upstream import FakeUpstream

HOST = f"raw.{DOMAIN}"
#: What testssl reports although it is no finding of the gateway's; the reason is in docs/OPERATIONS.md.
EXCEPTIONS = {"engine_problem"}
#: The severities of testssl that are none.
FINE = {"OK", "INFO", "DEBUG"}


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """As an operator would set it up: ECDSA beside RSA, a staple, the default profile."""
    folder = tmp_path_factory.mktemp("scanned")
    authority = Authority(folder)
    with FakeUpstream() as upstream:
        gateway = Gateway(folder, {"raw": upstream.port})
        names = [dns(HOST)]
        certificates = []
        for is_rsa in (False, True):
            issued = authority.issue("rsa" if is_rsa else "ecdsa", names, is_rsa=is_rsa)
            staple = Path(issued.path).with_suffix(".der")
            staple.write_bytes(authority.status(issued))
            certificates.append(issued.files(ocsp=str(staple)))
        gateway.configuration["listeners"][0]["tls"]["certificates"] = certificates
        gateway.authority = authority
        gateway.write()
        with gateway:
            yield gateway


@pytest.mark.timeout(300)
def test_sslyze_finds_nothing_against_the_intermediate_profile(scanned: Gateway):
    report = scanned.folder / "sslyze.json"
    command = [os.environ.get("SSLYZE", "sslyze"), f"--json_out={report}", "--mozilla_config=intermediate"]
    command += [f"--certinfo_ca_file={scanned.authority.path}", f"{HOST}:{scanned.https_port}{{127.0.0.1}}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout)
    results = json.loads(report.read_text())["server_scan_results"]
    assert [one["connectivity_status"] for one in results] == ["COMPLETED"]
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(600)
def test_testssl_finds_nothing(scanned: Gateway):
    report = scanned.folder / "testssl.csv"
    command = ["testssl", "--add-ca", scanned.authority.path, "-p", "-s", "-f", "-U", "--ip", "127.0.0.1"]
    command += [
        "--csvfile",
        str(report),
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "off",
        f"{HOST}:{scanned.https_port}",
    ]
    environment = {**os.environ, "TERM": os.environ.get("TERM", "dumb")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False, env=environment)
    print(done.stdout)
    with report.open() as lines:
        rows = list(csv.DictReader(lines))
    assert any(row["id"] == "TLS1_3" and row["severity"] == "OK" for row in rows), done.stdout
    findings = [row for row in rows if row["severity"] not in FINE and row["id"] not in EXCEPTIONS]
    assert not findings, "\n".join(f"{row['id']} {row['severity']}: {row['finding']}" for row in findings)
