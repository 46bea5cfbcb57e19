"""Certificate, signing key and tokens, made for one run."""

import base64
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import tools

ISSUER = "https://issuer.bench.example"
AUDIENCE = "bench"
SCOPE = "orders:read"
KEY_ID = "bench-1"
TOKEN_LIFE_SECONDS = 86_400


@dataclass(frozen=True)
class Credentials:
    """Files and tokens. Every token names its own subject: `user-0000`, `user-0001`, …"""

    certificate: Path
    certificate_key: Path
    certificate_and_key: Path
    jwks: Path
    public_key: Path
    token: str
    tokens_file: Path
    refused: dict[str, str]
    without_scope: str


def subject_of(index: int) -> str:
    """The `sub` of a token of the rotation."""
    return f"user-{index:04}"


def authorization(token: str) -> tuple[str, str]:
    """The field that carries a token, in lower case as HTTP/2 wants it."""
    return ("authorization", f"Bearer {token}")


def make(directory: Path, token_count: int) -> Credentials:
    """Makes everything in `directory`; the first token of the rotation is also the single one."""
    certificate, certificate_key = directory / "cert.pem", directory / "cert.key"
    _openssl(
        *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
        *["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        *["-keyout", str(certificate_key), "-out", str(certificate)],
    )
    both = directory / "cert-and-key.pem"
    both.write_bytes(certificate.read_bytes() + certificate_key.read_bytes())

    key, other_key = directory / "token.key", directory / "other.key"
    for path in (key, other_key):
        _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path))
    for path in (certificate_key, both, key, other_key):
        path.chmod(0o600)
    public_key, jwks = directory / "token.pub", directory / "jwks.json"
    _openssl("pkey", "-in", str(key), "-pubout", "-out", str(public_key))
    jwks.write_text(json.dumps({"keys": [_jwk(key)]}))

    now = int(time.time())
    tokens = _signed([_payload(subject_of(index), now) for index in range(token_count)], key)
    tokens_file = directory / "tokens.txt"
    tokens_file.write_text("\n".join(tokens) + "\n")

    intruder = subject_of(0)
    expired, other_audience, other_issuer, without_scope = _signed(
        [
            _payload(intruder, now - 2 * TOKEN_LIFE_SECONDS),
            {**_payload(intruder, now), "aud": "elsewhere"},
            {**_payload(intruder, now), "iss": "https://other.example"},
            {**_payload(intruder, now), "scope": "orders:readable other"},
        ],
        key,
    )
    head, payload, signature = tokens[0].split(".")
    return Credentials(
        certificate=certificate,
        certificate_key=certificate_key,
        certificate_and_key=both,
        jwks=jwks,
        public_key=public_key,
        token=tokens[0],
        tokens_file=tokens_file,
        refused={
            "expired": expired,
            "for another audience": other_audience,
            "of another issuer": other_issuer,
            "signed by another key": _signed([_payload(intruder, now)], other_key)[0],
            "with a changed payload": ".".join([head, _base64url(_compact(_payload("admin", now))), signature]),
            "without a signature": ".".join([_base64url(b'{"alg":"none"}'), payload, ""]),
            "that is none": "nonsense",
        },
        without_scope=without_scope,
    )


def _payload(subject: str, issued_at: int) -> dict:
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": issued_at,
        "exp": issued_at + TOKEN_LIFE_SECONDS,
        "scope": f"profile {SCOPE}",
    }


def _signed(payloads: list[dict], key: Path) -> list[str]:
    head = _base64url(_compact({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}))
    inputs = [f"{head}.{_base64url(_compact(payload))}" for payload in payloads]
    text = "".join(line + "\n" for line in inputs)
    result = subprocess.run([tools.signer(), str(key)], input=text, capture_output=True, text=True, check=True)
    return [f"{line}.{signature}" for line, signature in zip(inputs, result.stdout.split(), strict=True)]


def _jwk(key: Path) -> dict:
    # A DER public key of P-256 ends with its point: X and Y, 32 bytes each (RFC 5480 section 2.2).
    point = _openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")[-64:]
    x, y = _base64url(point[:32]), _base64url(point[32:])
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": KEY_ID, "alg": "ES256", "use": "sig"}


def _openssl(*arguments: str) -> bytes:
    # The configuration of the measurement is for TLS alone; `openssl req` wants its usual one.
    environment = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
    command = [tools.find("openssl"), *arguments]
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    if result.returncode != 0:
        raise tools.Missing(f"{' '.join(command)} failed:\n{result.stderr.decode()}")
    return result.stdout


def _compact(value: dict) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
