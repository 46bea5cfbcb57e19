"""TLS by the host asked for: certificates, rules of hosts, and requests that come over another host's connection."""

import base64
import datetime
import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.authority import DAY, NOW, Authority, dns
from support.gateway import DOMAIN, Gateway, route
from support.processes import wait_until
from support.tls import TLS12, TLS13, ask, context, s_client
from support.upstream import FakeUpstream

STRICT, LAX, WILD = (f"{label}.{DOMAIN}" for label in ("strict", "lax", "any.wild"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def hosts(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`strict` and everything under `wild` have rules of their own; each name has an RSA and an ECDSA certificate."""
    with FakeUpstream() as upstream:
        gateway = Gateway(tmp_path_factory.mktemp("hosts"), {"raw": upstream.port})
        names = [dns(DOMAIN), dns(f"*.{DOMAIN}")]
        gateway.ecdsa = authority.issue("ecdsa", names)
        gateway.rsa = authority.issue("rsa", names, is_rsa=True)
        gateway.configuration["listeners"][0]["tls"] = {
            "certificates": [gateway.ecdsa.files(), gateway.rsa.files()],
            "hosts": [{"names": [STRICT, f"*.wild.{DOMAIN}"], "profile": "modern"}],
        }
        gateway.configuration["routes"] += [
            {"host": host, "path": "/**", "upstream": "raw", "public": True} for host in (STRICT, f"*.{DOMAIN}")
        ]
        gateway.configuration["routes"].append(route("lax", "/**", "raw", public=True))
        gateway.write()
        with gateway:
            yield gateway


@pytest.mark.parametrize(
    ("asked", "is_strict"),
    [
        (STRICT, True),
        (STRICT.upper(), True),
        (STRICT + ".", True),
        (WILD, True),
        (f"a.b.wild.{DOMAIN}", True),
        (LAX, False),
        (f"wild.{DOMAIN}", False),
        (f"x{STRICT}", False),
        (f"{STRICT}.x", False),
        (None, False),
    ],
)
def test_R50_the_profile_is_that_of_the_name_asked_for(
    hosts: Gateway, authority: Authority, asked: str | None, is_strict: bool
):
    own = asked.rstrip(".") if asked else LAX
    answer = ask(hosts.https_port, context(authority.path, version=TLS12), asked, own)
    assert (answer.status is None) == is_strict
    status = ask(hosts.https_port, context(authority.path, version=TLS13), asked, own).status
    assert status == (404 if asked == f"{STRICT}.x" else 200)


@pytest.mark.parametrize(
    ("asked", "host", "status"),
    [
        (STRICT, STRICT, 200),
        (STRICT, f"{STRICT}:443", 200),
        (STRICT, STRICT.upper() + ".", 200),
        (STRICT, WILD, 421),  # Written in two entries they would be two; here they share one entry's rules.
        (STRICT, LAX, 421),
        (LAX, STRICT, 421),
        (LAX, STRICT.upper() + ".", 421),
        (LAX, f"{STRICT}.:8443", 421),
        (LAX, WILD, 421),
        (LAX, f"deep.any.wild.{DOMAIN}", 421),
        (LAX, f"other.{DOMAIN}", 200),
        (None, STRICT, 421),
        (None, LAX, 200),
        (f"unknown.{DOMAIN}", STRICT, 421),
        ("elsewhere.test", LAX, 200),
        ("elsewhere.test", STRICT, 421),
    ],
)
def test_R50_R11_a_request_for_a_host_with_other_rules_is_misdirected(
    hosts: Gateway, authority: Authority, asked: str | None, host: str, status: int
):
    wanted = 200 if {asked, host} == {STRICT, WILD} else status
    answer = ask(hosts.https_port, context(authority.path), asked, host)
    assert answer.status == wanted, answer.body


def test_R50_a_route_that_does_not_exist_and_one_of_the_gateways_own_are_misdirected_too(
    hosts: Gateway, authority: Authority
):
    for path in ("/nothing/here", "/.gateway/whoami", "/%00", "//"):
        assert ask(hosts.https_port, context(authority.path), LAX, STRICT, path).status == 421, path


def test_R50_the_target_of_a_request_in_absolute_form_counts(hosts: Gateway, authority: Authority):
    answer = ask(hosts.https_port, context(authority.path), LAX, LAX, f"https://{STRICT}/")
    assert answer.status == 421
    answer = ask(hosts.https_port, context(authority.path), STRICT, LAX, f"https://{STRICT}/")
    assert answer.status == 200


@pytest.mark.parametrize("field", ["X-Forwarded-Host", "Forwarded", "X-Original-Host"])
def test_R50_no_field_says_which_host_is_meant(hosts: Gateway, authority: Authority, field: str):
    value = f"host={LAX}" if field == "Forwarded" else LAX
    answer = ask(hosts.https_port, context(authority.path), LAX, STRICT, fields=f"{field}: {value}\r\n")
    assert answer.status == 421


def test_a_client_gets_the_certificate_that_it_understands(hosts: Gateway, authority: Authority):
    def served(ciphers: str) -> bytes:
        made = context(authority.path, version=TLS12, ciphers=ciphers)
        return ask(hosts.https_port, made, LAX, LAX).certificate

    ecdsa, rsa = (ssl.PEM_cert_to_DER_cert(Path(one.path).read_text()) for one in (hosts.ecdsa, hosts.rsa))
    assert served("ECDHE-ECDSA-AES128-GCM-SHA256") == ecdsa
    assert served("ECDHE-RSA-AES128-GCM-SHA256") == rsa
    assert served("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256") == ecdsa
    said = s_client(
        hosts.https_port, "-servername", STRICT, "-tls1_3", "-sigalgs", "RSA-PSS+SHA256", "-CAfile", authority.path
    )
    assert "Peer signature type: RSA-PSS" in said


def test_R50_a_session_goes_on_under_the_rules_it_began_under_alone(hosts: Gateway, authority: Authority):
    def kept(name: str) -> tuple[ssl.SSLContext, ssl.SSLSession]:
        made = context(authority.path, version=TLS13)
        return made, ask(hosts.https_port, made, name, name).session

    made, session = kept(STRICT)
    assert ask(hosts.https_port, made, STRICT, STRICT, session=session).was_resumed
    for begun, other in ((LAX, STRICT), (STRICT, LAX), (LAX, WILD)):
        made, session = kept(begun)
        answer = ask(hosts.https_port, made, other, other, session=session)
        assert (answer.status, answer.was_resumed) == (200, False), (begun, other)


def test_what_an_application_protocol_is_not_spoken_ends_the_handshake(hosts: Gateway):
    said = s_client(hosts.https_port, "-servername", LAX, "-alpn", "spdy/3,http/1.0")
    assert "no application protocol" in said
    said = s_client(hosts.https_port, "-servername", LAX, "-alpn", "spdy/3,http/1.1")
    assert "ALPN protocol: http/1.1" in said


def test_a_second_handshake_within_a_connection_is_refused(hosts: Gateway):
    said = s_client(hosts.https_port, "-servername", LAX, "-tls1_2", request=b"R\n")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said or "alert handshake failure" in said


# Staples


def stapled(port: int, name: str) -> str:
    return s_client(port, "-servername", name, "-status", "-tls1_3")


def test_a_staple_is_sent_to_those_who_ask(authority: Authority, tmp_path: Path, upstream, start_gateway):
    issued = authority.issue("stapled", [dns(f"raw.{DOMAIN}")])
    place = tmp_path / "staple.der"
    place.write_bytes(authority.status(issued))
    changes = _listener(start_gateway, upstream, issued.files(ocsp=str(place)))
    said = stapled(changes.https_port, f"raw.{DOMAIN}")
    assert "OCSP Response Status: successful" in said
    assert "Cert Status: good" in said
    assert "OCSP response: no response sent" not in said
    assert "OCSP Response" not in s_client(changes.https_port, "-servername", f"raw.{DOMAIN}").replace(
        "OCSP response: no response sent", ""
    )
    # A new response is taken over when its file changes, and a bad one changes nothing.
    newer = authority.status(issued, until=NOW + 7 * DAY)
    place.write_bytes(newer)
    wait_until(lambda: changes.metrics()["config_reloads_total"] == 1, "the new staple is read")
    wait_until(
        lambda: f"{(NOW + 7 * DAY).day:2d} " in _next_update(stapled(changes.https_port, f"raw.{DOMAIN}")), "it is sent"
    )
    place.write_bytes(b"nothing of the kind")
    wait_until(lambda: changes.metrics()["config_reload_failures_total"] == 1, "the bad staple is refused")
    assert "cannot be stapled" in changes.log()
    assert "Cert Status: good" in stapled(changes.https_port, f"raw.{DOMAIN}")


def _next_update(said: str) -> str:
    return next((line for line in said.splitlines() if "Next Update" in line), "")


def _listener(start_gateway: Callable[..., Gateway], upstream: FakeUpstream, certificate: dict, **tls) -> Gateway:
    probe = start_gateway({"raw": upstream.port})
    probe.configuration["listeners"][0]["tls"] = {"certificates": [certificate], **tls}
    probe.stop()
    probe.write()
    return probe.start()


def test_a_staple_that_ends_is_stapled_no_more_and_said_so_once(
    authority: Authority, tmp_path: Path, upstream, start_gateway
):
    issued = authority.issue("ending", [dns(f"raw.{DOMAIN}")])
    place = tmp_path / "staple.der"
    end = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=8)
    place.write_bytes(authority.status(issued, until=end))
    gateway = _listener(start_gateway, upstream, issued.files(ocsp=str(place)))
    assert "Cert Status: good" in stapled(gateway.https_port, f"raw.{DOMAIN}")
    wait_until(lambda: "is stapled no more" in gateway.log(), "its end is reported", timeout=30)
    assert "OCSP response: no response sent" in stapled(gateway.https_port, f"raw.{DOMAIN}")
    wait_until(lambda: datetime.datetime.now(datetime.UTC) > end + datetime.timedelta(seconds=3), "three ticks passed")
    assert gateway.log().count("is stapled no more") == 1


@pytest.mark.parametrize("kind", ["ended", "early", "revoked", "another's", "nothing", "empty"])
def test_a_staple_that_is_no_good_is_an_error_with_a_cure(authority: Authority, tmp_path: Path, kind: str):
    issued = authority.issue(f"bad-{kind[:2]}", [dns(f"raw.{DOMAIN}")])
    other = authority.issue("other", [dns(f"raw.{DOMAIN}")])
    place = tmp_path / "staple.der"
    contents = {
        "ended": lambda: authority.status(issued, until=NOW - DAY),
        "early": lambda: authority.status(issued, begin=NOW + DAY, until=NOW + 2 * DAY),
        "revoked": lambda: authority.status(issued, good=False),
        "another's": lambda: authority.status(other),
        "nothing": lambda: b"\x30\x03\x0a\x01\x03",
        "empty": lambda: b"",
    }
    place.write_bytes(contents[kind]())
    gateway = Gateway(tmp_path, {"raw": 1})
    gateway.configuration["listeners"][0]["tls"] = {"certificates": [issued.files(ocsp=str(place))]}
    gateway.write()
    done = gateway.command("check", "--config", gateway.configuration_file, check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "cannot be stapled" in said and "remove 'ocsp'" in said, said


# Tickets


def ticket_key() -> str:
    return base64.b64encode(os.urandom(80)).decode()


def test_nodes_that_share_a_file_of_keys_resume_each_others_sessions(
    authority: Authority, tmp_path: Path, upstream, start_gateway
):
    made = ticket_key()
    place = tmp_path / "tickets"
    place.write_text(made + "\n")
    place.chmod(0o600)
    tls = {"ticket_keys_file": str(place)}
    one, two = (start_gateway({"raw": upstream.port}, {"tls": tls}) for _ in range(2))
    alone = start_gateway({"raw": upstream.port})
    name = f"raw.{DOMAIN}"
    for version in (TLS12, TLS13):
        own = context(str(one.certificates / "ca.pem"), version=version)
        session = ask(one.https_port, own, name, name, "/public/x").session
        assert ask(two.https_port, own, name, name, "/public/x", session).was_resumed
        session = ask(one.https_port, own, name, name, "/public/x").session
        assert not ask(alone.https_port, own, name, name, "/public/x", session).was_resumed
    # A new key comes first; what the old one made is still read, at a node that has it.
    own = context(str(one.certificates / "ca.pem"), version=TLS12)
    session = ask(one.https_port, own, name, name, "/public/x").session
    newer = ticket_key()
    place.write_text(newer + "\n" + made + "\n")
    wait_until(lambda: one.metrics()["config_reloads_total"] == 1, "the new key is read")
    assert ask(one.https_port, own, name, name, "/public/x", session).was_resumed
    # Without the old key it is not.
    place.write_text(newer + "\n")
    wait_until(lambda: one.metrics()["config_reloads_total"] == 2, "the old key is gone")
    wait_until(
        lambda: not ask(one.https_port, own, name, name, "/public/x", session).was_resumed, "the session is not resumed"
    )
    # What cannot be used changes nothing.
    place.write_text("AAAA\n")
    wait_until(lambda: one.metrics()["config_reload_failures_total"] == 1, "the bad file is refused")
    session = ask(one.https_port, own, name, name, "/public/x").session
    assert ask(one.https_port, own, name, name, "/public/x", session).was_resumed
    assert newer[:20] not in one.log()


def test_the_keys_of_a_process_outlive_reloads(upstream, start_gateway):
    gateway = start_gateway({"raw": upstream.port})
    name = f"raw.{DOMAIN}"
    for number, version in enumerate((TLS12, TLS13), start=1):
        own = context(str(gateway.certificates / "ca.pem"), version=version)
        session = ask(gateway.https_port, own, name, name, "/public/x").session
        gateway.reload()
        wait_until(lambda: gateway.metrics()["config_reloads_total"] == number, "the reload is taken")  # noqa: B023
        assert ask(gateway.https_port, own, name, name, "/public/x", session).was_resumed


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("AAAA\n", 0o600, "line 1 holds no 80 bytes in base64"),
        ("", 0o600, "there is no key"),
        ("A" * 107 + "=\n", 0o600, "is not random"),
        (None, 0o644, "open to other users"),
    ],
)
def test_a_file_of_keys_that_is_no_good_is_an_error(tmp_path: Path, text: str | None, mode: int, problem: str):
    made = ticket_key()
    place = tmp_path / "tickets"
    place.write_text(made if text is None else text)
    place.chmod(mode)
    gateway = Gateway(tmp_path, {"raw": 1}, {"tls": {"ticket_keys_file": str(place)}})
    done = gateway.command("check", "--config", gateway.configuration_file, check=False)
    assert done.returncode == 1
    assert problem in done.stdout + done.stderr
