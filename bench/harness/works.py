"""The works: what each request asks of a proxy, and who can do it."""

from dataclasses import dataclass

GATEWAY, HAPROXY, NGINX = "gateway", "haproxy", "nginx"
# No proxy: it passes bytes on and checks nothing (native/forward.c, forward2.c).
FLOOR = "floor"
PROXIES = (GATEWAY, HAPROXY, NGINX)
SUBJECTS = (*PROXIES, FLOOR)
ES256, RS256 = "ES256", "RS256"
ROTATING_TOKENS = 10_000
MANY_ROUTES = 10_000
LARGE_BYTES = 10 << 20
# Connections for large bodies: enough to keep one core busy, few enough to have long runs of each.
BULK_CONNECTIONS = 8
HTTP2_CONNECTIONS, HTTP2_STREAMS = 10, 32
# Per second, and as a burst: the most that the file accepts, and far more than one core can do.
UNREACHABLE_RATE = 1_000_000


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    title: str
    subjects: tuple[str, ...]
    tls: bool = True
    # How many different tokens the requests carry in turn, and how these are signed.
    tokens: int = 0
    algorithm: str = ES256
    # What a limit counts: None, "address" or "subject".
    limit: str | None = None
    redis: bool = False
    log: bool = False
    # A handshake for each request: None, "full" or "resumed".
    handshake: str | None = None
    # Large bodies: None, "down" or "up".
    bulk: str | None = None
    http2: bool = False
    # How many routes the proxy has; with several, every request asks for another.
    routes: int = 1
    # Requests for a second, sent whether or not the last ones were answered; 0 for as many as go.
    pace: int = 0

    @property
    def is_varied(self) -> bool:
        """Whether requests differ, so that caches fill only once each was asked."""
        return self.tokens > 1 or self.routes > 1

    @property
    def unit(self) -> str:
        """What `bench/counts` counts by."""
        return "MiB" if self.bulk else "exchange with its handshake" if self.handshake else "exchange"

    @property
    def paths(self) -> list[str]:
        """A path for each route, in the order of the routes."""
        return ["/"] if self.routes == 1 else [f"/route-{index:05}/items/7" for index in range(self.routes)]


WORKS = {
    work.name: work
    for work in (
        Work("S12", "plain HTTP, forward", SUBJECTS, tls=False),
        Work("S1", "TLS 1.3, forward", SUBJECTS),
        Work("S1log", "S1 with an access log in a file", (GATEWAY, NGINX), log=True),
        Work("S2", "S1 + one ES256 token, scope, `sub` in a header", (GATEWAY, HAPROXY), tokens=1),
        Work("S3", "S2 with 10,000 tokens in rotation", (GATEWAY, HAPROXY), tokens=ROTATING_TOKENS),
        Work("S3r", "S3 with RS256 (2048 bits)", (GATEWAY, HAPROXY), tokens=ROTATING_TOKENS, algorithm=RS256),
        Work("S4", "S2 + limit by subject, in memory", (GATEWAY, HAPROXY), tokens=1, limit="subject"),
        Work("S4ip", "S1 + limit by address, in memory", PROXIES, limit="address"),
        Work("S5", "S2 + limit by subject, in Redis", (GATEWAY,), tokens=1, limit="subject", redis=True),
        Work("S5ip", "S1 + limit by address, in Redis", (GATEWAY,), limit="address", redis=True),
        Work("S6", "full TLS 1.3 handshake for each request", SUBJECTS, handshake="full"),
        Work("S6r", "resumed handshake for each request", SUBJECTS, handshake="resumed"),
        Work("S7d", "10 MiB down, TLS 1.3", SUBJECTS, bulk="down"),
        Work("S7u", "10 MiB up, TLS 1.3", SUBJECTS, bulk="up"),
        Work("S9", "S1 at 7,200 requests a second", SUBJECTS, pace=7200),
        Work("S10", "HTTP/2, 10 connections of 32 streams", SUBJECTS, http2=True),
        Work("S10j", "S10 + one ES256 token", (GATEWAY, HAPROXY), http2=True, tokens=1),
        Work("S11", "S1 with 10,000 routes, random ones asked", PROXIES, routes=MANY_ROUTES),
    )
}
# Memory, not time: idle TLS connections.
IDLE = Work("S8", "idle TLS connections", SUBJECTS)
