"""The works: what each request asks of a proxy, and who can do it."""

from dataclasses import dataclass

GATEWAY, HAPROXY, NGINX = "gateway", "haproxy", "nginx"
SUBJECTS = (GATEWAY, HAPROXY, NGINX)
ROTATING_TOKENS = 10_000
# Per second, and as a burst: the most that the file accepts, and far more than one core can do.
UNREACHABLE_RATE = 1_000_000


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    name: str
    title: str
    subjects: tuple[str, ...]
    tls: bool = True
    # How many different ES256 tokens the requests carry in turn.
    tokens: int = 0
    # What a limit counts: None, "address" or "subject".
    limit: str | None = None
    redis: bool = False
    log: bool = False


WORKS = {
    work.name: work
    for work in (
        Work("S12", "plain HTTP, forward", SUBJECTS, tls=False),
        Work("S1", "TLS 1.3, forward", SUBJECTS),
        Work("S1log", "S1 with an access log in a file", (GATEWAY, NGINX), log=True),
        Work("S2", "S1 + one ES256 token, scope, `sub` in a header", (GATEWAY, HAPROXY), tokens=1),
        Work("S3", "S2 with 10,000 tokens in rotation", (GATEWAY, HAPROXY), tokens=ROTATING_TOKENS),
        Work("S4ip", "S1 + limit by address, in memory", SUBJECTS, limit="address"),
        Work("S5", "S2 + limit by subject, in Redis", (GATEWAY,), tokens=1, limit="subject", redis=True),
    )
}
# Memory, not time: idle TLS connections.
IDLE = Work("S8", "idle TLS connections", SUBJECTS)
