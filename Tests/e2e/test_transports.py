"""Other ways in and out: IPv6, a Unix socket, and what one TLS listener's sessions and names are to another."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.gateway import SIGNED_IN, Gateway, certificates, route
from support.processes import ROOT, Program, free_port, wait_until
from support.upstream import FakeUpstream
from support.wire import Message, connect, read_response

HEAD = b"Host: raw.demo.localhost\r\n"
CLOSE = b"Connection: close\r\n\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HEAD + CLOSE


# IPv6


@pytest.fixture(scope="module")
def behind_six() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def shared_six(behind_six: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on ::1 that believes ::1 about the addresses of its clients."""
    limits = {"three": {"rate": "3/hour", "key": "address"}}
    changes = {"trusted_proxies": "::1", "limits": limits}
    gateway = Gateway(tmp_path_factory.mktemp("six"), {"raw": behind_six.port}, changes)
    gateway.configuration["listeners"][1]["address"] = f"[::1]:{gateway.plain_port}"
    gateway.configuration["routes"].append(route("raw", "/limited", public=True, limit="three"))
    gateway.write()
    with gateway:
        yield gateway


@pytest.fixture
def six(shared_six: Gateway, behind_six: FakeUpstream) -> Gateway:
    behind_six.forget()
    return shared_six


def ask_six(gateway: Gateway, path: str = "/public/x", fields: str = "") -> Message:
    with socket.create_connection(("::1", gateway.plain_port), 10) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: raw.demo.localhost\r\n{fields}\r\n".encode())
        return read_response(peer)


def test_ipv6_a_client_is_named_in_each_spelling(six: Gateway, behind_six: FakeUpstream):
    assert ask_six(six).status == 200
    request = behind_six.requests[0]
    assert request.get("X-Forwarded-For") == "::1"
    assert request.get("Forwarded").startswith('for="[::1]"'), "RFC 7239 section 6 wants brackets and quotes"
    wait_until(lambda: [event for event in six.events() if event.get("path") == "/public/x"], "it is logged")
    assert next(event for event in six.events() if event.get("path") == "/public/x")["client_ip"] == "::1"


@pytest.mark.parametrize(
    ("said", "canonical"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("::ffff:c633:6407", "198.51.100.7"),
        ("198.51.100.7", "198.51.100.7"),
    ],
)
def test_R52_ipv6_one_address_has_one_spelling(six: Gateway, behind_six: FakeUpstream, said: str, canonical: str):
    assert ask_six(six, fields=f"X-Forwarded-For: {said}\r\n").status == 200
    request = behind_six.requests[0]
    assert request.get("X-Forwarded-For") == canonical
    quoted = f'for="[{canonical}]"' if ":" in canonical else f"for={canonical}"
    assert request.get("Forwarded").split(";")[0] == quoted


def test_ipv6_a_limit_counts_the_network_of_64_bits(six: Gateway):
    def statuses(*addresses: str) -> list[int]:
        return [ask_six(six, "/limited", f"X-Forwarded-For: {address}\r\n").status for address in addresses]

    assert statuses("2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff:ffff:ffff:ffff") == [200] * 3
    assert statuses("2001:db8:0:1::3", "2001:db8:0:1:8000::") == [429] * 2
    assert statuses("2001:db8:0:2::1", "2001:db8:0:0:ffff::1") == [200] * 2, "the networks beside it"
    assert statuses("::ffff:198.51.100.7", "198.51.100.7", "::ffff:c633:6407", "198.51.100.7") == [200] * 3 + [429]
    assert statuses("198.51.100.8") == [200], "of IPv4 each address counts"
    assert [ask_six(six, "/limited").status for _ in range(4)] == [200] * 3 + [429], "the socket's own address"


# A Unix socket as upstream


def test_an_application_on_a_unix_socket(tmp_path: Path, start_gateway):
    place = tmp_path / "flask.sock"
    arguments = [sys.executable, "-m", "gunicorn", "--chdir", ROOT / "examples/flask", "--bind", f"unix:{place}"]
    arguments += ["--threads", "4", "--keep-alive", "30", "--log-level", "warning", "app:app"]
    program = Program(arguments, tmp_path / "gunicorn.log")
    try:
        wait_until(place.exists, "gunicorn listens")
        changes = {"upstreams": {"flask": {"endpoints": [f"unix:{place}"]}}, "workers": 1}
        own = start_gateway({"flask": 0}, changes)
        bearer = {"Authorization": f"Bearer {own.mint()}"}
        for _ in range(3):
            said = own.get("flask", "/whoami", headers=bearer).json()
            assert (said["user"], said["remote_address"], said["scheme"]) == ("user", "127.0.0.1", "https")
            assert said["host"] == f"flask.demo.localhost:{own.https_port}"
        assert own.metrics()["upstream_connects_total"] == 1, "the connection was kept"
        body = bytes(range(256)) * 4096
        said = own.client().post(own.url("flask", "/upload"), data=body, headers=bearer).json()
        assert said["size"] == len(body)
        line = wait_until(
            lambda: [event for event in own.events() if event.get("path") == "/upload"], "the exchange is logged"
        )
        assert line[0]["endpoint"] == f"unix:{place}"
    finally:
        program.stop()
    assert own.get("flask", "/").status_code == 502, "nobody listens there any more"


# TLS: versions, sessions and names of several listeners and certificates


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its TLS listener takes TLS 1.2; `strict_port` takes TLS 1.3 alone. A second certificate is for one host alone."""
    folder = tmp_path_factory.mktemp("listeners")
    with FakeUpstream() as upstream:
        gateway = Gateway(folder, {"raw": upstream.port})
        gateway.strict_port = free_port()
        first = gateway.configuration["listeners"][0]["tls"]["certificates"][0]
        only = _certificate_for(folder, "only.demo.localhost")
        gateway.configuration["listeners"][0]["tls"]["certificates"] = [first, only]
        gateway.configuration["listeners"].append(
            {
                "address": f"127.0.0.1:{gateway.strict_port}",
                "tls": {"certificates": [first], "profile": "modern"},
            }
        )
        gateway.configuration["routes"].append(route("raw", "/signed-in", **SIGNED_IN))
        gateway.write()
        with gateway:
            yield gateway


def _certificate_for(folder: Path, name: str) -> dict[str, str]:
    """A certificate for this name alone, that nobody vouches for."""
    files = {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}-key.pem")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, "-keyout", files["key"], "-out", files["certificate"]], check=True, capture_output=True)
    return files


def client(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates() / "ca.pem"))
    context.minimum_version = context.maximum_version = version
    return context


def session(port: int, context: ssl.SSLContext, offered: ssl.SSLSession | None = None, name: str = "raw"):
    """One exchange; the session that it leaves, and whether it resumed the one that was offered."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        with context.wrap_socket(plain, server_hostname=f"{name}.demo.localhost", session=offered) as peer:
            peer.sendall(GET)
            assert read_response(peer).status == 200
            return peer.session, peer.session_reused


def test_sessions_are_resumed_at_their_own_listener(listeners: Gateway):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client(version)
        kept, _ = session(listeners.https_port, context)
        assert session(listeners.https_port, context, kept)[1], version


def test_R50_a_session_of_the_laxer_listener_opens_nothing_at_the_stricter_one(listeners: Gateway):
    context = client(ssl.TLSVersion.TLSv1_2)
    kept, _ = session(listeners.https_port, context)
    assert session(listeners.https_port, context, kept)[1]
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        session(listeners.strict_port, context, kept)
    # One that could offer both versions gets the new one, by a handshake of its own.
    context = client(ssl.TLSVersion.TLSv1_2)
    kept, _ = session(listeners.https_port, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection(("127.0.0.1", listeners.strict_port), 10) as plain:
        with context.wrap_socket(plain, server_hostname="raw.demo.localhost", session=kept) as peer:
            assert (peer.version(), peer.session_reused) == ("TLSv1.3", False)


SPELLINGS = ["only.demo.localhost", "ONLY.demo.localhost", "oNlY.DeMo.LoCaLhOsT", "only.demo.localhost."]


@pytest.mark.parametrize("name", [*SPELLINGS, "other.demo.localhost", "xonly.demo.localhost", "only.demo.localhost.x"])
@pytest.mark.parametrize("pieces", ["whole", "byte by byte", "in records of one byte"])
def test_R50_a_name_chooses_its_certificate_however_it_is_spelled_and_cut(listeners: Gateway, name: str, pieces: str):
    """A hello that is cut up, or spelled otherwise, must not lead to another host's certificate and rules."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with connect(listeners.https_port) as peer:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                _send(peer, outgoing.read(), pieces)
                block = peer.recv(65536)
                assert block, "the gateway broke off"
                incoming.write(block)
        seen = tls.getpeercert(binary_form=True)
    only = ssl.PEM_cert_to_DER_cert((listeners.folder / "only.demo.localhost.pem").read_text())
    assert (seen == only) == (name in SPELLINGS)


def _send(peer: socket.socket, data: bytes, pieces: str) -> None:
    if pieces == "in records of one byte" and data[:1] == b"\x16":
        # Each byte of the handshake message in a record of its own (RFC 8446 section 5.1 allows it).
        body = data[5 : 5 + int.from_bytes(data[3:5], "big")]
        rest = data[5 + len(body) :]
        data = b"".join(data[:3] + b"\x00\x01" + bytes([byte]) for byte in body) + rest
        peer.sendall(data)
    elif pieces == "byte by byte":
        for byte in data:
            peer.sendall(bytes([byte]))
    else:
        peer.sendall(data)


def test_R52_nothing_is_taken_before_the_handshake_is_done(listeners: Gateway, tmp_path: Path):
    """Early data can be sent again by anybody who saw it: none is offered, and what comes is not read."""
    kept, early = tmp_path / "session.pem", tmp_path / "early"
    early.write_bytes(b"GET /public/early HTTP/1.1\r\n" + HEAD + CLOSE)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listeners.https_port}", "-tls1_3"]
    command += ["-servername", "raw.demo.localhost", "-CAfile", str(certificates() / "ca.pem")]
    first = subprocess.run(
        [*command, "-sess_out", kept, "-ign_eof"], input=GET, capture_output=True, timeout=20, check=True
    )
    assert b"Max Early Data: 0" in first.stdout
    second = subprocess.run(
        [*command, "-sess_in", kept, "-early_data", early, "-ign_eof"], input=GET, capture_output=True, timeout=20
    )
    assert b"Reused, TLSv1.3" in second.stdout
    assert b"Early data was not sent" in second.stdout or b"Early data was rejected" in second.stdout
    assert b"HTTP/1.1 200 OK" in second.stdout
    assert "/public/early" not in listeners.log()
