"""What an application behind the gateway gets: whole bodies, streams as they come, and a signed word on the user."""

import base64
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from support.gateway import Gateway, certificates
from support.processes import ROOT, Program, free_port, start_gunicorn
from support.spellings import MANAGED, of_name
from support.upstream import FakeUpstream
from support.wire import raw, responses

UPLOAD_BYTES = 20 * 1024 * 1024
CANARY = "evil-canary"
#: The life of an assertion.
ASSERTION_SECONDS = 60


def bearer(gateway: Gateway, **options: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.mint(**options)}"}


# The sample's own pages


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_long_upload_arrives_whole(gateway: Gateway, framing: str, method: str):
    body = random.Random(method).randbytes(UPLOAD_BYTES)
    sent = body if framing == "length" else (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    with gateway.client() as client:
        answer = client.request(method, gateway.url("flask", "/upload"), data=sent, headers=bearer(gateway), timeout=60)
    assert answer.json() == {"size": UPLOAD_BYTES, "sha256": hashlib.sha256(body).hexdigest()}


def test_an_upload_by_nobody_is_not_read(gateway: Gateway):
    with gateway.client() as client:
        answer = client.post(gateway.url("flask", "/upload"), data=b"x" * 1000, timeout=20)
    assert answer.status_code == 401


def test_a_stream_passes_as_it_comes(gateway: Gateway):
    """The first piece is here while the application still waits to make the others."""
    query = "chunks=4&bytes=32&seconds=0.2"
    began = time.monotonic()
    with gateway.client() as client:
        url = gateway.url("flask", f"/stream?{query}")
        with client.get(url, headers=bearer(gateway), stream=True, timeout=20) as answer:
            came = [(time.monotonic() - began, line) for line in answer.iter_lines(chunk_size=1)]
    assert [line[:2] for _, line in came] == [b"0:", b"1:", b"2:", b"3:"]
    assert answer.headers["Transfer-Encoding"] == "chunked"
    gaps = [later[0] - earlier[0] for earlier, later in zip(came, came[1:], strict=False)]
    assert all(gap > 0.1 for gap in gaps), f"pieces were held back: {gaps}"


def test_a_long_stream_arrives_whole(gateway: Gateway):
    answer = gateway.get("flask", "/stream?chunks=200&bytes=65536", headers=bearer(gateway))
    lines = answer.content.split(b"\n")[:-1]
    assert [line.partition(b":")[0] for line in lines] == [str(number).encode() for number in range(200)]
    assert len(answer.content) == 200 * 65536


def test_a_slow_answer_is_awaited_as_long_as_the_setting_says(start_gateway, flask_port: int):
    settings = {"endpoints": [f"127.0.0.1:{flask_port}"], "first_byte_timeout": "500ms"}
    own = start_gateway({"flask": flask_port}, {"upstreams": {"flask": settings}})
    fields = bearer(own)
    assert own.get("flask", "/slow?seconds=0.1", headers=fields).json() == {"waited": 0.1}
    assert own.get("flask", "/slow?seconds=1.5", headers=fields).status_code == 504


def test_the_paths_of_the_gateways_own(gateway: Gateway):
    for host in ("flask", "django", "raw", "nobody"):
        for name in ("login", "logout"):
            answer = gateway.get(host, f"/.gateway/{name}")
            assert answer.status_code == 302
            assert answer.headers["Location"] == gateway.url("iam", f"/auth/{name}")
            assert answer.headers["Cache-Control"] == "no-store"
            assert not answer.content
        for path in ("", "/", "/x", "/login/x", "/loginx", "/metrics", "/healthz"):
            assert gateway.get(host, f"/.gateway{path}").status_code == 404, path


def test_nothing_of_a_query_leads_the_gateways_own_paths_elsewhere(gateway: Gateway):
    for query in ("rd=https://evil.example/", "rd=//evil.example", "login_url=https://evil.example"):
        answer = gateway.get("flask", f"/.gateway/login?{query}", headers={"X-Forwarded-Host": "evil.example"})
        assert answer.status_code == 302
        assert "evil" not in answer.headers["Location"]


def test_a_browser_that_follows_them_signs_in_and_out(gateway: Gateway):
    with gateway.client() as browser:
        page = browser.get(gateway.url("flask", "/.gateway/login"), headers={"Accept": "text/html"}, timeout=20)
        assert (page.status_code, page.url) == (200, gateway.url("iam", "/auth/login"))
        assert 'type="password"' in page.text
        page = browser.get(gateway.url("flask", "/.gateway/logout"), headers={"Accept": "text/html"}, timeout=20)
        assert page.status_code == 200
        assert page.url.startswith(gateway.url("iam", "/auth/"))


# X-Auth-Assertion


@pytest.fixture(scope="module")
def believing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway, and a Flask that asks it for its keys over HTTPS and verifies what it is told of the user."""
    folder = tmp_path_factory.mktemp("believing")
    with FakeUpstream() as raw:
        gateway = Gateway(folder, {"flask": 0, "raw": raw.port})
        gateway.configuration["routes"].append(
            {"path": "/.well-known/jwks.json", "upstream": "identity", "public": True}
        )
        variables = {
            "GATEWAY_JWKS_URL": f"https://localhost:{gateway.https_port}/.well-known/jwks.json",
            "SSL_CERT_FILE": str(certificates() / "ca.pem"),
        }
        program, port = start_gunicorn("flask", "app:app", folder, variables)
        try:
            gateway.configuration["upstreams"]["flask"]["endpoints"] = [f"127.0.0.1:{port}"]
            gateway.write()
            gateway.raw_upstream, gateway.flask_port = raw, port
            with gateway:
                yield gateway
        finally:
            program.stop()


def asserted(gateway: Gateway, fields: dict[str, str]) -> str:
    """The assertion that the upstream `raw` is sent."""
    gateway.raw_upstream.forget()
    assert gateway.get("raw", "/private/x", headers=fields).status_code == 200
    return gateway.raw_upstream.requests[0].get("X-Auth-Assertion")


def test_the_application_verifies_the_assertion_by_the_keys_that_are_served(believing: Gateway):
    claims = believing.get("flask", "/whoami", headers=bearer(believing)).json()["asserted_claims"]
    assert claims["aud"] == "flask"
    assert claims["iss"] == believing.configuration["identity"]["issuer"]
    assert claims["exp"] - claims["iat"] == ASSERTION_SECONDS
    assert ASSERTION_SECONDS / 2 - 2 < claims["exp"] - time.time() <= ASSERTION_SECONDS, (
        "it is renewed at half its life"
    )
    assert (claims["preferred_username"], claims["email"], claims["roles"]) == ("user", "user@example.com", ["user"])
    assert (claims["scope"], claims["method"]) == ("reports:read", "jwt")
    fields = believing.get("flask", "/whoami", headers=bearer(believing)).json()["identity_headers"]
    assert fields["X-Auth-Subject"] == claims["sub"]
    session = believing.as_user("pm@example.com").get(believing.url("flask", "/whoami")).json()["asserted_claims"]
    assert (session["preferred_username"], session["method"]) == ("pm", "session")


def test_nobody_is_asserted_where_nobody_is_signed_in(believing: Gateway):
    for fields in ({}, {"X-Auth-Assertion": "a.b.c"}, {"x_auth_assertion": "a.b.c"}):
        said = believing.get("flask", "/whoami", headers=fields).json()
        assert said["asserted_claims"] is None
        assert "X-Auth-Assertion" not in said["header_names"]


def test_an_assertion_is_for_one_application_and_no_credential(believing: Gateway):
    """Whoever gets one, an application above all, must be able to do nothing with it elsewhere."""
    for_raw = asserted(believing, bearer(believing))
    assert jwt.decode(for_raw, options={"verify_signature": False})["aud"] == "raw"
    # Sent to the application directly, as somebody would who can reach it: it is another's.
    with believing.client() as client:
        answer = client.get(
            f"http://127.0.0.1:{believing.flask_port}/whoami", headers={"X-Auth-Assertion": for_raw}, timeout=10
        )
        assert answer.json()["asserted_claims"] is None
    for path in ("/private/x", "/optional/x"):
        answer = believing.get("raw", path, headers={"Authorization": f"Bearer {for_raw}"})
        assert answer.status_code == 401, "an application could act for its users elsewhere"
    answer = believing.get("raw", "/private/x", headers={"Cookie": f"gateway_session={for_raw}"})
    assert answer.status_code == 401


def test_a_changed_assertion_is_none(believing: Gateway):
    direct = f"http://127.0.0.1:{believing.flask_port}/whoami"
    with believing.client() as client:
        head, claims, signature = asserted(believing, bearer(believing)).split(".")
        decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        changed = base64.urlsafe_b64encode(json.dumps({**decoded, "aud": "flask"}).encode()).rstrip(b"=").decode()
        for assertion in (f"{head}.{changed}.{signature}", f"{head}.{changed}.", f"{head}.{changed}"):
            answer = client.get(direct, headers={"X-Auth-Assertion": assertion}, timeout=10)
            assert answer.json()["asserted_claims"] is None


# Other servers


@pytest.mark.parametrize("server", ["waitress", "werkzeug"])
def test_R21_no_spelling_signs_anybody_in_at_another_server(server: str, tmp_path: Path, start_gateway):
    """uWSGI and mod_wsgi are no Python packages alone; these two and gunicorn are the servers that pip brings."""
    port = free_port()
    arguments = {
        "waitress": ["-m", "waitress", f"--listen=127.0.0.1:{port}", "app:app"],
        "werkzeug": ["-m", "flask", "--app", "app", "run", "--port", str(port), "--with-threads"],
    }[server]
    program = Program([sys.executable, *arguments], tmp_path / "server.log", cwd=ROOT / "examples/flask")
    try:
        program.wait_until_it_listens(port)
        own = start_gateway({"flask": port})
        # The two fold names in ways of their own: without the gateway something must come through.
        direct = f"GET /whoami HTTP/1.1\r\nHost: x\r\nX-Auth-User: {CANARY}\r\nConnection: close\r\n\r\n"
        assert CANARY in _directly(port, direct)
        chance = random.Random(21)
        names = sorted({spelling for name in MANAGED for spelling in of_name(name, chance)})
        assert len(names) > 1_500
        for start in range(0, len(names), 60):
            fields = "".join(f"{name}: {CANARY}\r\n" for name in names[start : start + 60])
            head = f"GET /whoami HTTP/1.1\r\nHost: flask.demo.localhost\r\n{fields}Connection: close\r\n\r\n"
            (answer,) = responses(own.raw(head.encode())[0])
            assert answer.status == 200
            assert CANARY.encode() not in answer.body
            said = json.loads(answer.body)
            assert (said["user"], said["remote_address"]) == (None, "127.0.0.1")
    finally:
        program.stop() if server == "waitress" else program.kill()


def _directly(port: int, data: str) -> str:
    return raw(port, data.encode())[0].decode()
