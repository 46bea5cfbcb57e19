"""Certificate, signing key and tokens, made for one run."""

import base64
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from . import tools
from .works import ES256, RS256

ISSUER = "https://issuer.bench.example"
AUDIENCE = "bench"
SCOPE = "orders:read"
KEY_ID = "bench-1"
TOKEN_LIFE_SECONDS = 86_400
# 65,537, which OpenSSL takes unless told otherwise.
RSA_EXPONENT = b"\x01\x00\x01"


@dataclass(frozen=True)
class Tokens:
    """Tokens of one algorithm, with the key to them. Every token names its own subject: `user-0000`, `user-0001`, …"""

    algorithm: str
    jwks: Path
    public_key: Path
    # The first of the rotation, and the last: of somebody else, where there is more than one.
    token: str
    other_token: str
    tokens_file: Path
    refused: dict[str, str]
    without_scope: str


@dataclass(frozen=True)
class Credentials:
    """The certificate of every proxy, and tokens by algorithm."""

    certificate: Path
    certificate_key: Path
    certificate_and_key: Path
    tokens: dict[str, Tokens]


def subject_of(index: int) -> str:
    """The `sub` of a token of the rotation."""
    return f"user-{index:04}"


def authorization(token: str) -> tuple[str, str]:
    """The field that carries a token, in lower case as HTTP/2 wants it."""
    return ("authorization", f"Bearer {token}")


def make(directory: Path, token_counts: dict[str, int]) -> Credentials:
    """Makes everything in `directory`; `token_counts` says how many tokens of which algorithm."""
    certificate, certificate_key = directory / "cert.pem", directory / "cert.key"
    _openssl(
        *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"],
        *["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        *["-keyout", str(certificate_key), "-out", str(certificate)],
    )
    both = directory / "cert-and-key.pem"
    both.write_bytes(certificate.read_bytes() + certificate_key.read_bytes())

    for path in (certificate_key, both):
        path.chmod(0o600)
    return Credentials(
        certificate=certificate,
        certificate_key=certificate_key,
        certificate_and_key=both,
        tokens={algorithm: _tokens(directory, algorithm, count) for algorithm, count in token_counts.items()},
    )


def _tokens(directory: Path, algorithm: str, count: int) -> Tokens:
    key, other_key = _key(directory, f"{algorithm}-token", algorithm), _key(directory, f"{algorithm}-other", algorithm)
    foreign = RS256 if algorithm == ES256 else ES256
    foreign_key = _key(directory, f"{algorithm}-foreign", foreign)
    public_key, jwks = directory / f"{algorithm}.pub", directory / f"{algorithm}.json"
    _openssl("pkey", "-in", str(key), "-pubout", "-out", str(public_key))
    jwks.write_text(json.dumps({"keys": [_jwk(key, algorithm)]}))

    now = int(time.time())
    tokens = _signed([_payload(subject_of(index), now) for index in range(count)], key, algorithm)
    tokens_file = directory / f"{algorithm}-tokens.txt"
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
        algorithm,
    )
    head, payload, signature = tokens[0].split(".")
    return Tokens(
        algorithm=algorithm,
        jwks=jwks,
        public_key=public_key,
        token=tokens[0],
        other_token=tokens[-1],
        tokens_file=tokens_file,
        refused={
            "expired": expired,
            "for another audience": other_audience,
            "of another issuer": other_issuer,
            "signed by another key": _signed([_payload(intruder, now)], other_key, algorithm)[0],
            f"signed with {foreign}": _signed([_payload(intruder, now)], foreign_key, foreign)[0],
            "with a changed payload": ".".join([head, _base64url(_compact(_payload("admin", now))), signature]),
            "without a signature": ".".join([_base64url(b'{"alg":"none"}'), payload, ""]),
            "that is none": "nonsense",
        },
        without_scope=without_scope,
    )


def _key(directory: Path, name: str, algorithm: str) -> Path:
    path = directory / f"{name}.key"
    kind = ("RSA", "rsa_keygen_bits:2048") if algorithm == RS256 else ("EC", "ec_paramgen_curve:P-256")
    _openssl("genpkey", "-algorithm", kind[0], "-pkeyopt", kind[1], "-out", str(path))
    path.chmod(0o600)
    return path


def _payload(subject: str, issued_at: int) -> dict:
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": issued_at,
        "exp": issued_at + TOKEN_LIFE_SECONDS,
        "scope": f"profile {SCOPE}",
    }


def _signed(payloads: list[dict], key: Path, algorithm: str) -> list[str]:
    head = _base64url(_compact({"alg": algorithm, "kid": KEY_ID, "typ": "JWT"}))
    inputs = [f"{head}.{_base64url(_compact(payload))}" for payload in payloads]
    text = "".join(line + "\n" for line in inputs)
    result = subprocess.run([tools.signer(), str(key)], input=text, capture_output=True, text=True, check=True)
    return [f"{line}.{signature}" for line, signature in zip(inputs, result.stdout.split(), strict=True)]


def _jwk(key: Path, algorithm: str) -> dict:
    common = {"kid": KEY_ID, "alg": algorithm, "use": "sig"}
    if algorithm == RS256:
        printed = _openssl("rsa", "-in", str(key), "-noout", "-modulus").decode()
        modulus = bytes.fromhex(printed.strip().removeprefix("Modulus="))
        return {"kty": "RSA", "n": _base64url(modulus), "e": _base64url(RSA_EXPONENT), **common}
    # A DER public key of P-256 ends with its point: X and Y, 32 bytes each (RFC 5480 section 2.2).
    point = _openssl("pkey", "-in", str(key), "-pubout", "-outform", "DER")[-64:]
    x, y = _base64url(point[:32]), _base64url(point[32:])
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **common}


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
