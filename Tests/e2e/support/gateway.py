"""The real executable with a configuration of the test's own: started, asked, reloaded, stopped."""

import copy
import json
import os
import signal
import ssl
import subprocess
from pathlib import Path

import requests
import yaml
from requests.adapters import HTTPAdapter

from . import http2, sanitizer, wire
from .processes import ROOT, Program, free_port, wait_until

#: The sample accounts of `--dev`, with the passwords that everybody knows.
ACCOUNTS = {
    "admin@example.com": "Admin@123",
    "legal@example.com": "Legal@123",
    "pm@example.com": "PM@123",
    "sales@example.com": "Sales@123",
    "user@example.com": "User@123",
}
COOKIE = "gateway_session"
DOMAIN = "demo.localhost"

#: Variables that the gateway reads; those of whoever runs the tests must not change them.
CONFIGURING_VARIABLES = ("GATEWAY_", "REDIS_URL", "DATABASE_URL", "JWT_", "IAM_", "AUTH_CACHE_TTL", "PORT")


def binary() -> Path:
    """The executable under test: AUTH_GATEWAY, or the release build."""
    path = Path(os.environ.get("AUTH_GATEWAY", ROOT / ".build/release/auth-gateway"))
    assert path.exists(), f"{path} does not exist; build it: swift build -c release --product auth-gateway"
    return path


def certificates() -> Path:
    """The folder with ca.pem, cert.pem and key.pem for the hosts of the tests."""
    subprocess.run([ROOT / "scripts/dev-certificates"], check=True, capture_output=True)
    return ROOT / ".dev"


class WithoutAliases(yaml.SafeDumper):
    """Writes out values that are used twice; the gateway refuses YAML's anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class FromAddress(HTTPAdapter):
    """Makes requests come from a loopback address of one's own, where limits count addresses."""

    def __init__(self, address: str):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self.address, 0), **options)


class Gateway:
    """One running gateway, its ports, and ways to speak to it."""

    def __init__(
        self,
        folder: Path,
        upstreams: dict[str, int],
        changes: dict | None = None,
        dev: bool = True,
        prefix: list[str] | None = None,
        **options: object,
    ):
        """`upstreams` are loopback ports by name; `changes` replaces top-level keys of the configuration.

        `prefix` is a command that becomes the gateway, such as `unshare`; `options` are those of `subprocess.Popen`.
        """
        self.folder = folder
        self.prefix = prefix or []
        self.options = options
        self.certificates = certificates()
        self.https_port, self.plain_port, self.redirect_port, self.admin_port = (free_port() for _ in range(4))
        self.configuration_file = folder / "gateway.yaml"
        self.configuration = {**self._base(upstreams), **copy.deepcopy(changes or {})}
        self.write()
        self.dev = dev
        self.tls = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
        self.program: Program | None = None
        self._sessions: dict[str, requests.Session] = {}

    # Life

    def write(self) -> None:
        self.configuration_file.write_text(yaml.dump(self.configuration, Dumper=WithoutAliases, sort_keys=False))

    def start(self) -> "Gateway":
        """Starts it and waits until it says that it can serve."""
        arguments = [*self.prefix, binary(), "run", "--config", self.configuration_file]
        arguments += ["--dev"] if self.dev else []
        self.program = Program(arguments, self.folder / "gateway.log", environment(), cwd=self.folder, **self.options)
        try:
            wait_until(self.is_ready, "the gateway is ready", timeout=90)
        except BaseException:
            self.kill()
            raise
        return self

    def is_ready(self) -> bool:
        assert self.program.is_running, f"ended with {self.program.process.returncode}:\n{self.log()[-3000:]}"
        try:
            return requests.get(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def stop(self) -> None:
        """Asks it to end; it must do so in good order."""
        if self.program is None:
            return
        program, self.program = self.program, None
        code = program.stop(timeout=40)
        assert code == 0, f"ended with {code}:\n{self.log()[-3000:]}"
        assert "Fatal error" not in self.log()

    def kill(self) -> None:
        """Ends it as a crash of the machine would."""
        program, self.program = self.program, None
        program.kill()

    def reload(self) -> None:
        """Writes the configuration and has it read, without waiting."""
        self.write()
        self.program.signal(signal.SIGHUP)

    def __enter__(self) -> "Gateway":
        return self.start()

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.stop()
        elif self.program is not None:
            self.kill()

    # What it says

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    def events(self) -> list[dict]:
        """Every JSON line of its output."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def metrics(self) -> dict[str, float]:
        """The samples of /metrics, by name with labels."""
        text = requests.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5).text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    # Asking it

    def url(self, host: str, path: str = "/") -> str:
        """`host` is the first label: flask, django, iam, raw."""
        return f"https://{host}.{DOMAIN}:{self.https_port}{path}"

    def client(self, source: str | None = None) -> requests.Session:
        """Somebody who is not signed in; redirects are not followed unless asked for."""
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.certificates / "ca.pem")
        if source:
            session.mount("https://", FromAddress(source))
        return session

    def get(self, host: str, path: str = "/", **options) -> requests.Response:
        """One GET by nobody in particular."""
        with self.client() as client:
            return client.get(self.url(host, path), allow_redirects=False, timeout=20, **options)

    def sign_in(self, user: str, source: str | None = None) -> requests.Session:
        """A client with a new session of this sample account."""
        client = self.client(source)
        answer = client.post(
            self.url("iam", "/api/auth/login"), json={"username": user, "password": ACCOUNTS[user]}, timeout=20
        )
        assert answer.status_code == 200, answer.text
        return client

    def as_user(self, user: str) -> requests.Session:
        """A client of this sample account; one session for all who ask, because sign-in is limited."""
        if user not in self._sessions:
            # Each account from an address of its own: five sign-ins a minute are allowed from one.
            self._sessions[user] = self.sign_in(user, source=f"127.0.0.{20 + list(ACCOUNTS).index(user)}")
        return self._sessions[user]

    def mint(self, user: str = "user@example.com", scope: str = "reports:read") -> str:
        """A token of the gateway's own key, by its command line."""
        arguments = ["token", "mint", "--config", self.configuration_file, "--user", user, "--scope", scope]
        return self.command(*arguments).stdout.strip()

    def command(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words = [str(argument) for argument in (binary(), *arguments)]
        done = subprocess.run(
            words, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stderr}"
        return done

    def raw(self, data: bytes, host: str = "raw", plain: bool = True, timeout: float = 10) -> tuple[bytes, bool]:
        """Exact bytes to the plain listener, or through TLS; all that came back, and whether it was closed."""
        if plain:
            return wire.raw(self.plain_port, data, timeout=timeout)
        return wire.raw(self.https_port, data, self.tls, f"{host}.{DOMAIN}", timeout)

    def connect(self, host: str = "raw", plain: bool = True, source: str | None = None):
        """A connection to the plain listener, or through TLS."""
        if plain:
            return wire.connect(self.plain_port, source=source)
        return wire.connect(self.https_port, self.tls, f"{host}.{DOMAIN}", source)

    def http2(self, host: str = "raw", source: str | None = None, **options) -> http2.Connection:
        """A connection that agreed on HTTP/2."""
        tls = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
        tls.set_alpn_protocols(["h2"])
        raw = wire.connect(self.https_port, tls, f"{host}.{DOMAIN}", source)
        assert raw.selected_alpn_protocol() == "h2"
        return http2.Connection(raw, **options)

    # Its configuration

    def _base(self, upstreams: dict[str, int]) -> dict:
        certificate = {"certificate": str(self.certificates / "cert.pem"), "key": str(self.certificates / "key.pem")}
        issuer = f"https://iam.{DOMAIN}:{self.https_port}"
        return {
            "workers": 2,
            "stop_timeout": "10s",
            "admin": {"address": f"127.0.0.1:{self.admin_port}"},
            "listeners": [
                {"address": f"127.0.0.1:{self.https_port}", "tls": {"certificates": [certificate]}},
                {"address": f"127.0.0.1:{self.plain_port}"},
                {"address": f"127.0.0.1:{self.redirect_port}", "redirect_to_https": self.https_port},
            ],
            "upstreams": {name: {"endpoints": [f"127.0.0.1:{port}"]} for name, port in upstreams.items()},
            "identity": {"database": str(self.folder / "gateway.db"), "issuer": issuer},
            "authentication": {
                "session": {"domain": DOMAIN, "login_url": f"{issuer}/auth/login"},
                "jwt": [{"keys": "identity"}],
            },
            "roles": {
                "admin": ["reports:read", "reports:write", "invoices:read", "invoices:write"],
                "legal": ["reports:read", "invoices:read"],
                "pm": ["reports:read", "reports:write"],
                "sales": ["invoices:read", "invoices:write"],
                "user": ["reports:read"],
            },
            "limits": {"five-a-minute": {"rate": "5/minute", "key": "subject"}},
            "routes": [route for name in (*upstreams, "iam") for route in ROUTES[name]],
        }


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without what would configure the gateway, and with `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFIGURING_VARIABLES)}
    return {**kept, **sanitizer.ENVIRONMENT, **more}


def route(host: str, path: str, upstream: str | None = None, **rule: object) -> dict:
    """One route of `gateway.yaml`; `host` is the first label."""
    return {"host": f"{host}.{DOMAIN}", "path": path, "upstream": upstream or host, **rule}


SIGNED_IN = {"require": {"authenticated": True}}

#: Routes by upstream; a test takes those of the upstreams that it names.
ROUTES = {
    "flask": [
        route("flask", "/", public=True),
        route("flask", "/static/**", public=True),
        route("flask", "/whoami", optional=True),
        *(
            route(
                "flask",
                path,
                rules=[
                    {"methods": ["GET"], "require": {"scopes": ["reports:read"]}},
                    {"methods": ["POST"], "require": {"scopes": ["reports:write"]}},
                ],
            )
            for path in ("/reports", "/api/reports")
        ),
        *(route("flask", path, **SIGNED_IN) for path in ("/upload", "/slow", "/stream", "/ws")),
        route("flask", "/limited", limit="five-a-minute", **SIGNED_IN),
        # The same application with all but the reports open to everybody: what leaks here has slipped past a rule.
        route("open", "/**", "flask", public=True),
        route("open", "/reports/**", "flask", require={"scopes": ["reports:read"]}),
        route("open", "/api/**", "flask", require={"scopes": ["reports:read"]}),
    ],
    "django": [
        route("django", "/", public=True),
        route("django", "/static/**", public=True),
        route("django", "/whoami", optional=True),
        route("django", "/admin/**", require={"roles": ["admin"]}),
        route(
            "django",
            "/invoices/**",
            rules=[
                {"methods": ["GET"], "require": {"scopes": ["invoices:read"]}},
                {"methods": ["POST"], "require": {"scopes": ["invoices:write"]}},
            ],
        ),
        # As `open` is for Flask.
        route("opendjango", "/**", "django", public=True),
        route("opendjango", "/invoices/**", "django", require={"scopes": ["invoices:read"]}),
        route("opendjango", "/admin/**", "django", require={"roles": ["admin"]}),
    ],
    "raw": [
        route("raw", "/public/**", public=True),
        route("raw", "/optional/**", optional=True),
        route("raw", "/private/**", **SIGNED_IN),
        route("raw", "/admin/**", require={"roles": ["admin"]}),
        route("raw", "/preflight/**", preflight="pass", **SIGNED_IN),
        route("raw", "/files/**", allow_encoded=["%2F"], **SIGNED_IN),
    ],
    "iam": [
        route("iam", path, "identity", public=True)
        for path in ("/auth/**", "/api/auth/**", "/.well-known/jwks.json", "/healthz")
    ],
}
