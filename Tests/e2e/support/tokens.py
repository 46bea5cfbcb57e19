"""Issuers of tokens other than the gateway: keys, the sets they publish, what they sign, and where they serve it."""

import http.server
import json
import ssl
import threading
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MAKERS = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


class Key:
    """A signing key with its public half as a JWK."""

    def __init__(self, algorithm: str, identifier: str):
        make, kind = MAKERS[algorithm]
        self.algorithm, self.identifier = algorithm, identifier
        self._private = make()
        public = json.loads(kind.to_jwk(self._private.public_key()))
        public.pop("key_ops", None)
        self.public = {**public, "kid": identifier, "alg": algorithm, "use": "sig"}

    def token(self, issuer: str, subject: str = "alice", audience: str = "payroll", **more: object) -> str:
        now = int(time.time())
        claims = {"iss": issuer, "aud": audience, "sub": subject, "iat": now, "exp": now + 600, **more}
        return jwt.encode(claims, self._private, self.algorithm, headers={"kid": self.identifier})


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.public for key in keys]}).encode()


class KeyServer:
    """Serves one document over HTTP, or HTTPS with this certificate, and keeps the fields of each request."""

    def __init__(self, document: bytes, certificates: Path | None = None):
        self.document, self.status = document, 200
        self.requests: list[list[tuple[str, str]]] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests.append([("", self.requestline), *self.headers.items()])
                self.send_response(owner.status)
                self.send_header("Content-Length", str(len(owner.document)))
                self.end_headers()
                self.wfile.write(owner.document)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # A handshake that the gateway breaks off is what a test wants.
        if certificates:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme, self.port = ("https" if certificates else "http"), self._server.server_port
        self.url = f"{scheme}://localhost:{self.port}/keys.json"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> "KeyServer":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
