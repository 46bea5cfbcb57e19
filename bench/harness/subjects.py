"""The proxies: for each work a configuration that does it and nothing else.

The peers get the least that the work allows: no access log, no `X-Forwarded-*`, no request id, no `traceparent`, no
metrics. Ours does what it does for everybody. Whatever the peers could save by less strictness is theirs.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from . import credentials, tools
from .credentials import Credentials, Tokens
from .works import FLOOR, GATEWAY, HAPROXY, NGINX, UNREACHABLE_RATE, Work

CONNECTIONS_MAX = 8192
# Kept by each proxy: more than any work has in flight.
UPSTREAM_IDLE_MAX = 512


@dataclass(frozen=True)
class Site:
    """Where one proxy runs."""

    directory: Path
    port: int
    upstream_port: int
    credentials: Credentials
    redis_port: int | None = None
    # Permitted requests in each second, for works with a limit.
    rate: int = UNREACHABLE_RATE
    # Instead of our binary.
    gateway: str | None = None

    def tokens(self, work: Work) -> Tokens:
        """Those that the requests of a work carry."""
        return self.credentials.tokens[work.algorithm]


def required_tool(subject: str) -> str | None:
    """The program of a peer; ours is no package, and the floor is compiled here."""
    return None if subject in (GATEWAY, FLOOR) else subject


def command(subject: str, work: Work, site: Site) -> list[str]:
    """Writes the configuration and returns the command that runs in the foreground."""
    return {GATEWAY: _gateway, HAPROXY: _haproxy, NGINX: _nginx, FLOOR: _floor}[subject](work, site)


def log_file(site: Site) -> Path:
    """Where a work with an access log has it."""
    return site.directory / "access.log"


def _gateway(work: Work, site: Site) -> list[str]:
    files = site.credentials
    limit = "limit: bench, " if work.limit else ""
    access = f"require: {{ scopes: ['{credentials.SCOPE}'] }}" if work.tokens else "public: true"
    lines = [
        "workers: 1",
        "stop_timeout: 1s",
        f"log: {{ access: '{log_file(site) if work.log else 'off'}', level: warning }}",
        "admin: off",
        f"identity: {{ database: '{site.directory / 'gateway.db'}' }}",
        "listeners:",
        f"  - address: 127.0.0.1:{site.port}",
        f"    connections_max: {CONNECTIONS_MAX}",
        "    head_timeout: 10m",
        "    idle_timeout: 10m",
    ]
    if work.tls:
        certificate = f"{{ certificate: '{files.certificate}', key: '{files.certificate_key}' }}"
        lines.append(f"    tls: {{ profile: modern, certificates: [{certificate}] }}")
    lines += [
        "upstreams:",
        "  app:",
        f"    endpoints: ['127.0.0.1:{site.upstream_port}']",
        f"    keep_alive: {{ connections_max: {UPSTREAM_IDLE_MAX} }}",
    ]
    if work.tokens:
        lines += [
            "authentication:",
            "  jwt:",
            f"    - issuer: {credentials.ISSUER}",
            f"      audience: {credentials.AUDIENCE}",
            f"      keys: {{ jwks_file: '{site.tokens(work).jwks}' }}",
            f"      algorithms: [{work.algorithm}]",
        ]
    if work.redis:
        lines.append(f"redis: {{ url: 'redis://127.0.0.1:{site.redis_port}/0' }}")
    if work.limit:
        store = "redis, on_store_error: deny" if work.redis else "memory"
        lines += [
            "limits:",
            f"  bench: {{ rate: {site.rate}/second, burst: {site.rate}, key: {work.limit}, store: {store} }}",
        ]
    credential = "credentials: [jwt], " if work.tokens else ""
    lines += ["routes:"]
    lines += [
        f"  - {{ path: {pattern}, upstream: app, {credential}{limit}{access} }}" for pattern in _patterns(work, "/**")
    ]
    return [site.gateway or tools.gateway(), "run", "--config", _written(site, "gateway.yaml", lines), "--dev"]


def _patterns(work: Work, rest: str) -> list[str]:
    """A pattern for each route: everything below its first segment, and everything if there is but one."""
    return [rest] if work.routes == 1 else [f"/{path.split('/')[1]}{rest}" for path in work.paths]


def _haproxy(work: Work, site: Site) -> list[str]:
    files = site.credentials
    tls = ""
    if work.tls:
        tls = (
            f" ssl crt {files.certificate_and_key} ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.3"
            " ciphersuites TLS_AES_128_GCM_SHA256 curves X25519"
            f" alpn {'h2,http/1.1' if work.http2 else 'http/1.1'}"
        )
    lines = [
        "global",
        "    nbthread 1",
        f"    maxconn {CONNECTIONS_MAX}",
        "defaults",
        "    mode http",
        "    timeout connect 5s",
        "    timeout client 600s",
        "    timeout server 60s",
        "    timeout http-request 600s",
        "    http-reuse always",
        "frontend bench",
        f"    bind 127.0.0.1:{site.port}{tls}",
        *_haproxy_routes(work, site),
    ]
    if work.limit == "address":
        # The rate is counted over one second, so that the number in the file means what ours means.
        lines += [
            "    stick-table type ip size 100k expire 60s store http_req_rate(1s)",
            "    http-request track-sc0 src",
            f"    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {site.rate} }}",
        ]
    if work.tokens:
        lines += _haproxy_token_rules(site.tokens(work))
    if work.limit == "subject":
        lines += [
            "    stick-table type string len 64 size 100k expire 60s store http_req_rate(1s)",
            "    http-request track-sc0 var(txn.token),jwt_payload_query('$.sub')",
            f"    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {site.rate} }}",
        ]
    lines += [
        "backend app",
        f"    server app 127.0.0.1:{site.upstream_port} pool-max-conn {UPSTREAM_IDLE_MAX}",
    ]
    return [tools.find("haproxy"), "-db", "-f", _written(site, "haproxy.cfg", lines)]


def _haproxy_routes(work: Work, site: Site) -> list[str]:
    if work.routes == 1:
        return ["    default_backend app"]
    # Beginnings in a file are looked up in a tree, one look-up for each request; who is not found gets nothing.
    routes = _written(site, "routes.map", [f"{pattern} app" for pattern in _patterns(work, "/")])
    return [
        f"    use_backend %[path,map_beg({routes})]",
        "    default_backend none",
        "backend none",
        "    http-request return status 404",
    ]


def _haproxy_token_rules(tokens: Tokens) -> list[str]:
    refuse = "    http-request deny deny_status 401"
    return [
        "    http-request del-header X-Auth-User",
        "    http-request del-header X-Auth-Subject",
        "    http-request set-var(txn.token) http_auth_bearer",
        f"{refuse} unless {{ var(txn.token),jwt_header_query('$.alg') -m str {tokens.algorithm} }}",
        f"{refuse} unless {{ var(txn.token),jwt_payload_query('$.iss') -m str {credentials.ISSUER} }}",
        f"{refuse} unless {{ var(txn.token),jwt_payload_query('$.aud') -m str {credentials.AUDIENCE} }}",
        "    http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')",
        "    http-request set-var(txn.now) date()",
        f"{refuse} if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}",
        f'{refuse} unless {{ var(txn.token),jwt_verify("{tokens.algorithm}","{tokens.public_key}") -m int 1 }}',
        "    http-request deny deny_status 403 unless "
        f"{{ var(txn.token),jwt_payload_query('$.scope') -m reg '(^| ){credentials.SCOPE}( |$)' }}",
        "    http-request set-header X-Auth-User %[var(txn.token),jwt_payload_query('$.sub')]",
        "    http-request del-header Authorization",
    ]


def _nginx(work: Work, site: Site) -> list[str]:
    files = site.credentials
    directory = site.directory
    listen = f"        listen 127.0.0.1:{site.port}{' ssl' if work.tls else ''}{' http2' if work.http2 else ''};"
    lines = [
        "daemon off;",
        "worker_processes 1;",
        f"pid {directory}/nginx.pid;",
        f"error_log {directory}/nginx.log warn;",
        # Started by root it would become another user, who cannot read this folder.
        *(["user root;"] if os.geteuid() == 0 else []),
        f"events {{ worker_connections {CONNECTIONS_MAX}; }}",
        "http {",
        f"    access_log {f'{log_file(site)} combined' if work.log else 'off'};",
        *[
            f"    {kind}_temp_path {directory}/nginx-{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ],
        "    keepalive_timeout 600s;",
        "    client_header_timeout 600s;",
        # The default, 1,000, would add a handshake to every thousandth request.
        "    keepalive_requests 1000000000;",
        "    upstream app {",
        f"        server 127.0.0.1:{site.upstream_port};",
        f"        keepalive {UPSTREAM_IDLE_MAX};",
        "        keepalive_requests 1000000000;",
        "    }",
    ]
    if work.limit == "address":
        lines.append(f"    limit_req_zone $binary_remote_addr zone=bench:1m rate={site.rate}r/s;")
    lines += ["    server {", listen]
    if work.tls:
        lines += [
            f"        ssl_certificate {files.certificate};",
            f"        ssl_certificate_key {files.certificate_key};",
            "        ssl_protocols TLSv1.3;",
            "        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
            "        ssl_ecdh_curve X25519;",
        ]
    # For the server as a whole: every location inherits these.
    lines += ["        proxy_http_version 1.1;", '        proxy_set_header Connection "";']
    if work.bulk:
        # Bodies go through, and not through a file.
        lines += [
            "        client_max_body_size 0;",
            "        proxy_request_buffering off;",
            "        proxy_max_temp_file_size 0;",
        ]
    if work.limit == "address":
        lines += [f"        limit_req zone=bench burst={site.rate} nodelay;", "        limit_req_status 429;"]
    lines += [f"        location {pattern} {{ proxy_pass http://app; }}" for pattern in _patterns(work, "/")]
    if work.routes > 1:
        lines.append("        location / { return 404; }")
    lines += ["    }", "}"]
    configuration = _written(site, "nginx.conf", lines)
    return [tools.find("nginx"), "-p", str(directory), "-e", f"{directory}/nginx.log", "-c", configuration]


def _floor(work: Work, site: Site) -> list[str]:
    files = site.credentials
    tls = [str(files.certificate), str(files.certificate_key)] if work.tls else []
    return [tools.forwarder(work.http2), str(site.port), str(site.upstream_port), *tls]


def _written(site: Site, name: str, lines: list[str]) -> str:
    path = site.directory / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)
