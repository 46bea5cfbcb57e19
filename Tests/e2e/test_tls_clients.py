"""Client certificates: who gets a connection, whom the certificate names, and what ends it."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.authority import DAY, NOW, Authority, Issued, dns, email, name, uri
from support.gateway import DOMAIN, Gateway
from support.processes import wait_until
from support.tls import TLS12, TLS13, ask, context
from support.upstream import FakeUpstream
from support.wire import connect, read_all, read_response

PAYROLL, ASKED, OPEN = (f"{label}.{DOMAIN}" for label in ("payroll", "asked", "open"))
VERSIONS = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


class Staff:
    """The authority of the staff, with an intermediate one, and the certificates of some of them."""

    def __init__(self, folder: Path):
        self.root = Authority(folder, "root")
        self.office = Authority(folder, "office", parent=self.root)
        self.alice = self.issue("alice", [email("alice@example.com")])
        self.bob = self.issue("bob", [email("bob@example.com")])
        self.ended = self.issue("ended", [email("ended@example.com")], until=NOW - datetime.timedelta(hours=1))
        self.crl = folder / "crl.pem"
        self.write_revocations(self.bob)

    def issue(self, label: str, names: list[x509.GeneralName] | None = None, **more) -> Issued:
        return self.office.issue(label, names, is_client=True, **more)

    def write_revocations(self, *revoked: Issued, until: datetime.datetime | None = None) -> None:
        new = self.crl.with_suffix(".new")
        new.write_bytes(self.root.revocations(until=until) + self.office.revocations(*revoked, until=until))
        new.rename(self.crl)


def configure(gateway: Gateway, staff: Staff, **clients) -> None:
    """`payroll` needs a certificate, `asked` takes one; both count it, or a token, or a session."""
    rules = {"ca": staff.root.path, "crl": str(staff.crl), "issuer": "staff", "prefix": "staff:", **clients}
    gateway.configuration["listeners"][0]["tls"]["hosts"] = [
        {"names": [PAYROLL], "client_certificates": {"mode": "require", **rules}},
        {"names": [ASKED], "client_certificates": {"mode": "request", **rules}},
    ]
    for host in (PAYROLL, ASKED):
        gateway.configuration["routes"] += [
            {
                "host": host,
                "path": "/**",
                "upstream": "raw",
                "credentials": ["certificate", "jwt", "session"],
                "require": {"authenticated": True},
            },
            {
                "host": host,
                "path": "/reports",
                "upstream": "raw",
                "credentials": ["certificate"],
                "require": {"scopes": ["reports:read"]},
            },
        ]
    gateway.configuration["routes"].append({"host": OPEN, "path": "/**", "upstream": "raw", "public": True})
    gateway.write()


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Staff:
    return Staff(tmp_path_factory.mktemp("staff"))


@pytest.fixture(scope="module")
def upstream_of_all() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(staff: Staff, upstream_of_all: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("clients"), {"raw": upstream_of_all.port})
    configure(gateway, staff)
    with gateway:
        yield gateway


def status(
    gateway: Gateway,
    certificate: Issued | None,
    asked: str = PAYROLL,
    host: str | None = None,
    path: str = "/",
    version: ssl.TLSVersion | None = None,
    fields: str = "",
) -> int | None:
    made = context(str(gateway.certificates / "ca.pem"), certificate=certificate, version=version)
    return ask(gateway.https_port, made, asked, host or asked, path, fields=fields).status


# Who gets a connection


@VERSIONS
def test_where_a_certificate_is_required_there_is_no_connection_without_a_good_one(
    gateway: Gateway, staff: Staff, tmp_path: Path, version: ssl.TLSVersion
):
    stranger = Authority(tmp_path, "root")  # Of the same name.
    deep = Authority(tmp_path, "deep", parent=staff.office)
    assert status(gateway, staff.alice, version=version) == 200
    assert status(gateway, None, version=version) is None
    assert status(gateway, staff.bob, version=version) is None, "revoked"
    assert status(gateway, staff.ended, version=version) is None, "ended"
    assert status(gateway, stranger.issue("x", [email("a@b.c")], is_client=True), version=version) is None
    assert status(gateway, staff.office.issue("y", [email("a@b.c")]), version=version) is None, "not for clients"
    # Nobody has said what this authority revoked.
    assert status(gateway, deep.issue("z", [email("a@b.c")], is_client=True), version=version) is None
    assert status(gateway, staff.alice, version=version) == 200


@VERSIONS
def test_where_one_is_asked_for_it_may_be_left_out_and_must_be_good(
    gateway: Gateway, staff: Staff, version: ssl.TLSVersion
):
    assert status(gateway, staff.alice, ASKED, version=version) == 200
    assert status(gateway, None, ASKED, version=version) == 401
    token = f"Authorization: Bearer {gateway.mint()}\r\n"
    assert status(gateway, None, ASKED, version=version, fields=token) == 200
    assert status(gateway, staff.bob, ASKED, version=version) is None
    assert status(gateway, staff.ended, ASKED, version=version) is None
    # Elsewhere nobody is asked.
    assert status(gateway, None, OPEN, version=version) == 200
    assert status(gateway, staff.bob, OPEN, version=version) == 200


@VERSIONS
@pytest.mark.parametrize("spelling", [str, str.upper, lambda host: host + ".", lambda host: host.title() + "."])
def test_R50_another_hosts_connection_opens_nothing(gateway: Gateway, staff: Staff, version, spelling):
    for asked in (OPEN, ASKED, None, "unknown.test"):
        for certificate in (None, staff.alice):
            assert status(gateway, certificate, asked, spelling(PAYROLL), version=version) == 421
            if asked != ASKED:
                assert status(gateway, certificate, asked, spelling(ASKED), version=version) == 421
    assert status(gateway, None, spelling(PAYROLL), PAYROLL, version=version) is None
    assert status(gateway, staff.alice, spelling(PAYROLL), PAYROLL, version=version) == 200
    assert status(gateway, staff.alice, spelling(PAYROLL), OPEN, version=version) == 421


@VERSIONS
def test_R50_a_session_is_never_resumed_where_certificates_are_asked_for(
    gateway: Gateway, staff: Staff, version: ssl.TLSVersion
):
    for certificate in (None, staff.alice):
        for begun in (OPEN, ASKED):
            made = context(str(gateway.certificates / "ca.pem"), certificate=certificate, version=version)
            session = ask(gateway.https_port, made, begun, begun).session
            for later in (PAYROLL, ASKED):
                answer = ask(gateway.https_port, made, later, later, session=session)
                assert not answer.was_resumed
                assert answer.status == (200 if certificate else None if later == PAYROLL else 401)
    made = context(str(gateway.certificates / "ca.pem"), certificate=staff.alice, version=version)
    session = ask(gateway.https_port, made, PAYROLL, PAYROLL).session
    for later in (PAYROLL, OPEN):
        answer = ask(gateway.https_port, made, later, later, session=session)
        assert (answer.status, answer.was_resumed) == (200, False)


# Whom it names


def seen(upstream: FakeUpstream, path: str) -> dict[str, list[str]]:
    request = next(one for one in reversed(upstream.requests) if one.target == path)
    names = {key.lower() for key, _ in request.fields if key.lower().startswith("x-auth-")}
    return {key: request.all(key) for key in names}


def test_the_application_is_told_who_it_is(gateway: Gateway, staff: Staff, upstream_of_all: FakeUpstream):
    spoofed = "X-Auth-User: admin\r\nX-Auth-Method: session\r\nX_Auth_User: admin\r\nX-Client-Cert: x\r\n"
    assert status(gateway, staff.alice, path="/told", fields=spoofed) == 200
    told = seen(upstream_of_all, "/told")
    assert told["x-auth-user"] == told["x-auth-subject"] == ["staff:alice@example.com"]
    assert told["x-auth-method"] == ["certificate"]
    assert told["x-auth-email"] == ["alice@example.com"]
    assert "x-auth-roles" not in told and "x-auth-scopes" not in told
    assert status(gateway, staff.alice, path="/reports") == 403
    line = wait_until(
        lambda: [event for event in gateway.events() if event.get("path") == "/told"], "the exchange is logged"
    )[0]
    assert line["auth_method"] == "certificate"


def test_a_token_counts_before_a_certificate_and_that_before_a_cookie(
    gateway: Gateway, staff: Staff, upstream_of_all: FakeUpstream
):
    token = f"Authorization: Bearer {gateway.mint()}\r\n"
    assert status(gateway, staff.alice, path="/both", fields=token) == 200
    assert seen(upstream_of_all, "/both")["x-auth-method"] == ["jwt"]
    assert status(gateway, staff.alice, fields="Authorization: Bearer no.to.ken\r\n") == 401
    cookie = f"Cookie: gateway_session={'A' * 43}\r\n"
    assert status(gateway, staff.alice, path="/cookie", fields=cookie) == 200
    assert seen(upstream_of_all, "/cookie")["x-auth-method"] == ["certificate"]


@pytest.mark.parametrize(
    ("names", "subject", "answer"),
    [
        ([uri("spiffe://example.com/payroll"), email("a@b.c"), dns("x.y")], "cn", "staff:spiffe://example.com/payroll"),
        ([dns("x.y"), email("a@b.c")], "cn", "staff:a@b.c"),
        ([dns("x.y")], "cn", "staff:x.y"),
        ([], "cn", None),  # Never the common name unless the file says so.
        ([email("a@b.c"), email("d@e.f")], "cn", None),
        ([uri("urn:a"), uri("urn:b"), email("a@b.c")], "cn", None),
        ([dns("a.b"), dns("c.d"), email("a@b.c")], "cn", "staff:a@b.c"),
        ([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], "cn", None),
    ],
)
def test_the_identifier_is_the_only_name_of_the_first_kind(
    gateway: Gateway, staff: Staff, upstream_of_all: FakeUpstream, names, subject: str, answer: str | None
):
    certificate = staff.issue("named", names or None, subject=name(subject))
    path = f"/named/{len(upstream_of_all.requests)}"
    assert status(gateway, certificate, path=path) == (200 if answer else 401)
    if answer:
        assert seen(upstream_of_all, path)["x-auth-user"] == [answer]


@pytest.mark.parametrize("where", ["email", "uri", "dns"])
@pytest.mark.parametrize(
    "text", [b"admin@example.com\x00.evil", b"\x00", b"admin@example.com\x00", b"a\nb", b"\xc3\xa9"]
)
def test_R51_a_certificate_with_a_nul_or_a_control_character_in_a_name_is_refused(
    gateway: Gateway, staff: Staff, where: str, text: bytes
):
    tag = {"email": 1, "dns": 2, "uri": 6}[where]
    value = bytes([0x80 | tag, len(text)]) + text
    names = bytes([0x30, len(value)]) + value
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), names)
    key, builder = _builder(staff)
    certificate = builder.add_extension(other, critical=False)
    issued = _signed(staff, certificate, key, "nul")
    assert status(gateway, issued) is None
    assert status(gateway, issued, ASKED) is None


def test_a_certificate_with_the_same_parts_and_a_sound_name_is_taken(gateway: Gateway, staff: Staff):
    value = b"\x81\x07a@b.com"
    other = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes([0x30, len(value)]) + value)
    key, builder = _builder(staff)
    assert status(gateway, _signed(staff, builder.add_extension(other, critical=False), key, "sound")) == 200


def test_R51_a_nul_in_the_common_name_too(gateway: Gateway, staff: Staff):
    key, builder = _builder(staff, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin\x00.evil")]))
    issued = _signed(staff, builder.add_extension(x509.SubjectAlternativeName([email("a@b.c")]), False), key, "cn")
    assert status(gateway, issued) is None


def _builder(staff: Staff, subject: x509.Name | None = None):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or name("nul"))
        .issuer_name(staff.office.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    return key, builder


def _signed(staff: Staff, builder: x509.CertificateBuilder, key, label: str) -> Issued:
    certificate = builder.sign(staff.office.key, hashes.SHA256())
    return Issued(certificate, key, staff.office.pem, staff.office.folder, label)


def test_roles_of_the_file_and_a_name_of_the_certificates_own(
    staff: Staff, upstream: FakeUpstream, start_gateway, tmp_path: Path
):
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    configure(gateway, staff, roles=["user"], identifier=["subject_cn"], prefix="cn:")
    del gateway.configuration["listeners"][0]["tls"]["hosts"][0]["client_certificates"]["issuer"]
    del gateway.configuration["listeners"][0]["tls"]["hosts"][1]["client_certificates"]["issuer"]
    gateway.write()
    gateway.start()
    assert status(gateway, staff.alice, path="/reports") == 200
    told = seen(upstream, "/reports")
    assert (told["x-auth-user"], told["x-auth-roles"]) == (["cn:alice"], ["user"])
    assert told["x-auth-scopes"] == ["reports:read"]


# What ends it


def test_R115_a_new_revocation_list_counts_at_once_and_ends_connections(
    staff: Staff, upstream: FakeUpstream, start_gateway, tmp_path: Path
):
    own = Staff(tmp_path)
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    configure(gateway, own)
    gateway.start()
    made = context(str(gateway.certificates / "ca.pem"), certificate=own.alice)
    held = connect(gateway.https_port, made, PAYROLL)
    free = connect(gateway.https_port, made, OPEN)
    for peer, host in ((held, PAYROLL), (free, OPEN)):
        peer.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert read_response(peer).status == 200
    own.write_revocations(own.bob, own.alice)
    assert read_all(held)[1], "the connection under the old list ends"
    wait_until(lambda: status(gateway, own.alice) is None, "the certificate is revoked")
    assert status(gateway, own.alice, ASKED) is None
    free.sendall(f"GET / HTTP/1.1\r\nHost: {OPEN}\r\n\r\n".encode())
    assert read_response(free).status == 200, "others stay"
    own.write_revocations(own.bob)
    wait_until(lambda: status(gateway, own.alice) == 200, "it is revoked no more")
    # What cannot be read changes nothing, and says why.
    own.crl.write_text("nothing")
    wait_until(lambda: gateway.metrics()["config_reload_failures_total"] == 1, "the bad list is refused")
    assert "holds no revocation list" in gateway.log()
    assert (status(gateway, own.alice), status(gateway, own.bob)) == (200, None)
    own.crl.unlink()
    wait_until(lambda: gateway.metrics()["config_reload_failures_total"] == 2, "that it is gone is refused too")
    assert (status(gateway, own.alice), status(gateway, own.bob)) == (200, None)


def test_R115_a_list_that_has_ended_vouches_for_nobody(upstream: FakeUpstream, start_gateway, tmp_path: Path):
    own = Staff(tmp_path)
    end = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(seconds=8)
    own.write_revocations(own.bob, until=end)
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    configure(gateway, own)
    gateway.start()
    made = context(str(gateway.certificates / "ca.pem"), certificate=own.alice)
    held = connect(gateway.https_port, made, PAYROLL)
    ask_again = f"GET / HTTP/1.1\r\nHost: {PAYROLL}\r\n\r\n".encode()
    held.sendall(ask_again)
    assert read_response(held).status == 200
    wait_until(lambda: "a revocation list in" in gateway.log(), "its end is reported", timeout=30)
    held.sendall(ask_again)
    answer = read_response(held)
    assert (answer.status, answer.get("Connection")) == (421, "close")
    assert status(gateway, own.alice) is None
    assert status(gateway, own.alice, ASKED) is None
    assert status(gateway, None, ASKED) == 401
    # The same at the start: a warning, and nobody is let in.
    gateway.stop()
    gateway.start()
    assert status(gateway, own.alice) is None
    assert "every client certificate is refused until then" in gateway.log()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"ca": "nowhere.pem"}, "cannot be read"),
        ({"crl": "nowhere.pem"}, "cannot be read"),
        ({"crl": "ca"}, "holds no revocation list"),
        ({"prefix": None}, "take users from several sources"),
        ({"identifier": []}, "the list is empty"),
        ({"mode": "optional"}, "is not known here"),
        ({"depth": 11}, "out of range"),
    ],
)
def test_R115_what_cannot_be_used_is_an_error(tmp_path: Path, staff: Staff, change: dict, problem: str):
    gateway = Gateway(tmp_path, {"raw": 1})
    change = {key: staff.root.path if value == "ca" else value for key, value in change.items()}
    configure(gateway, staff, **change)
    for hosts in gateway.configuration["listeners"][0]["tls"]["hosts"]:
        rules = hosts["client_certificates"]
        hosts["client_certificates"] = {key: value for key, value in rules.items() if value is not None}
    gateway.write()
    done = gateway.command("check", "--config", gateway.configuration_file, check=False)
    assert done.returncode == 1
    assert problem in done.stdout + done.stderr


def test_a_slip_that_would_open_a_host_is_said(tmp_path: Path, staff: Staff):
    gateway = Gateway(tmp_path, {"raw": 1})
    configure(gateway, staff)
    gateway.configuration["listeners"][0]["tls"]["hosts"][0]["names"] = [f"payrol.{DOMAIN}"]
    gateway.write()
    done = gateway.command("check", "--config", gateway.configuration_file, check=False)
    said = done.stdout + done.stderr
    assert "no listener asks for client certificates for the host of this route" in said
    configure(gateway, staff)
    done = gateway.command("check", "--config", gateway.configuration_file, check=False)
    assert f"asks nobody for a certificate for '{PAYROLL}'" in done.stdout + done.stderr
