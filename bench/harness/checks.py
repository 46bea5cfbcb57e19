"""Right answers come before fast ones: what is asked of every proxy before it is measured."""

import dataclasses
import os
import subprocess
import zlib
from pathlib import Path

from . import tools
from .client import Answer, Client
from .credentials import Tokens, authorization, subject_of
from .processes import Failure
from .subjects import Site
from .works import GATEWAY, LARGE_BYTES, Work

ALPHABET = bytes(range(ord("a"), ord("z") + 1))
BODY = (ALPHABET * 40)[:1024]
LOW_RATE = 2
SPOOFED = [("X-Auth-User", "admin"), ("X-Auth-Subject", "admin"), ("x-auth-user", "root")]


def check_answers(subject: str, work: Work, site: Site) -> None:
    """Fails unless the proxy does what the work asks: lets through what it should, and nothing else."""
    if work.tls:
        _check_tls(subject, site.port)
    if work.tokens:
        _check_tokens(subject, work, site)
    elif work.bulk:
        _check_large_bodies(subject, work, site)
    elif work.routes > 1:
        _check_routes(subject, work, site)
    else:
        _expect(_ask(work, site, "/"), subject, "a plain request", 200, BODY)


def check_limit(subject: str, work: Work, site: Site) -> None:
    """Fails unless the limit of the work counts; `site` has a low rate for this."""
    fields = [authorization(site.tokens(work).token)] if work.tokens else []
    with Client(site.port, work.tls) as client:
        statuses = []
        while len(statuses) < LOW_RATE * 10 and 429 not in statuses:
            statuses.append(client.exchange(client.request("/", fields)).status)
    if statuses[0] != 200 or statuses[-1] != 429:
        raise Failure(f"{subject}, {work.name}: a limit of {LOW_RATE} a second does not limit: {statuses}")
    if work.limit == "subject":
        other = authorization(site.tokens(work).other_token)
        _expect(_ask(work, site, "/", [other]), subject, "another subject than the limited one", 200, BODY)


def with_low_rate(site: Site) -> Site:
    """The same proxy with a limit that is soon reached."""
    return dataclasses.replace(site, rate=LOW_RATE)


def _check_tokens(subject: str, work: Work, site: Site) -> None:
    files: Tokens = site.tokens(work)
    _expect(_ask(work, site, "/", [authorization(files.token)]), subject, "a good token", 200, BODY)
    # Names a user of its own, and must be known as who the token says.
    answer = _ask(work, site, "/echo", [*SPOOFED, authorization(files.token)])
    echoed = dict(line.split("=", 1) for line in answer.body.decode().splitlines())
    wanted = {"user": subject_of(0), "users": "1", "authorization": "0"}
    if subject == GATEWAY:
        wanted |= {"subject": subject_of(0), "subjects": "1"}
    else:
        wanted |= {"subjects": "0"}
    if answer.status != 200 or any(echoed.get(name) != value for name, value in wanted.items()):
        raise Failure(f"{subject}, {work.name}: the application should have seen {wanted}, and saw {echoed}")

    _expect(_ask(work, site, "/"), subject, "no token", 401)
    for what, token in files.refused.items():
        _expect(_ask(work, site, "/", [authorization(token)]), subject, f"a token {what}", 401)
    _expect(_ask(work, site, "/", [authorization(files.without_scope)]), subject, "a token without the scope", 403)


def _check_large_bodies(subject: str, work: Work, site: Site) -> None:
    with Client(site.port, work.tls) as client:
        answer = client.exchange(client.request("/large"))
        _expect(answer, subject, "a large answer", 200, (ALPHABET * (LARGE_BYTES // len(ALPHABET) + 1))[:LARGE_BYTES])
        body = os.urandom(LARGE_BYTES)
        answer = client.exchange(client.request("/sum", body=body))
        _expect(answer, subject, "a large request", 200, f"{LARGE_BYTES} {zlib.adler32(body)}".encode())


def _check_routes(subject: str, work: Work, site: Site) -> None:
    for path in (work.paths[0], work.paths[len(work.paths) // 2], work.paths[-1]):
        _expect(_ask(work, site, path), subject, path, 200, BODY)
    for path in ("/", "/route-", f"/route-{work.routes:05}/items/7", work.paths[0].replace("/items", "9/items")):
        _expect(_ask(work, site, path), subject, f"{path}, which is no route,", 404)


def _ask(work: Work, site: Site, path: str, fields: list[tuple[str, str]] | None = None) -> Answer:
    if work.http2:
        return _ask_http2(site, path, fields or [])
    with Client(site.port, work.tls) as client:
        return client.exchange(client.request(path, fields))


def _ask_http2(site: Site, path: str, fields: list[tuple[str, str]]) -> Answer:
    command = [tools.find("curl"), "--silent", "--insecure", "--http2", "--max-time", "20"]
    command += ["--write-out", "\n%{http_version} %{http_code}"]
    for name, value in fields:
        command += ["--header", f"{name}: {value}"]
    result = subprocess.run([*command, f"https://127.0.0.1:{site.port}{path}"], capture_output=True, check=False)
    body, _, end = result.stdout.rpartition(b"\n")
    version, _, status = end.decode().partition(" ")
    if result.returncode != 0 or version != "2":
        raise Failure(f"no answer over HTTP/2: curl ended with {result.returncode}, the version is {version!r}")
    return Answer(int(status), {}, body)


def _expect(answer: Answer, subject: str, what: str, status: int, body: bytes | None = None) -> None:
    if answer.status != status:
        raise Failure(f"{subject}: {what} gets {answer.status} and not {status}: {answer.body[:300]!r}")
    if body is not None and answer.body != body:
        raise Failure(f"{subject}: {what} gets another body than the application sent: {answer.body[:300]!r}")


def _check_tls(subject: str, port: int) -> None:
    # s_client reads the same OPENSSL_CONF as the load tool.
    result = subprocess.run(
        [tools.find("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    for wanted in ("New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256", "Server Temp Key: X25519"):
        if wanted not in result.stdout:
            raise Failure(f"{subject}: the handshake is not '{wanted}':\n{result.stdout[-1500:]}{result.stderr[-500:]}")


def is_log_written(path: Path) -> bool:
    """Whether an access log has something in it."""
    return path.is_file() and path.stat().st_size > 0
