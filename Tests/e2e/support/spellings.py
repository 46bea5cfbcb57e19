"""Generated spellings: of field names that applications fold together, and of paths that they route alike."""

import itertools
import random
import re
from collections.abc import Iterator

from .wire import Message

#: Bytes that may stand in a field name and are neither letter nor digit (RFC 9110 section 5.6.2).
PUNCTUATION = "!#$%&'*+-.^_`|~"

#: Canonical spellings of names that only the gateway may write.
MANAGED = (
    "X-Auth-User",
    "X-Auth-Subject",
    "X-Auth-Name",
    "X-Auth-Email",
    "X-Auth-Roles",
    "X-Auth-Scopes",
    "X-Auth-Groups",
    "X-Auth-Tenant",
    "X-Auth-Method",
    "X-Auth-Assertion",
    "X-Auth-Anything-Else",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Auth-Request-User",
    "Forwarded",
    "X-Real-IP",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Method",
    "Remote-User",
    "Remote-Groups",
    "Remote-Name",
    "Remote-Email",
    "X-Authentik-Username",
    "X-Authentik-Groups",
    "X-Authentik-Email",
    "X-Authentik-Uid",
)


def folded(name: str) -> str:
    """What a name becomes where an application cannot tell its spellings apart."""
    return "".join(byte if byte.isascii() and byte.isalnum() else "-" for byte in name.lower())


def of_name(name: str, chance: random.Random) -> Iterator[str]:
    """Spellings of one field name: cases, each other separator, and mixtures of them."""
    cases = (name, name.lower(), name.upper(), name.swapcase())
    yield from cases
    for byte in PUNCTUATION:
        yield name.replace("-", byte)
        yield chance.choice(cases).replace("-", byte, 1)
        yield byte.join(chance.choice(cases).rsplit("-", 1))
    for _ in range(20):
        spelling = (chance.choice(PUNCTUATION) if byte == "-" else byte for byte in chance.choice(cases))
        yield "".join(spelling)


def of_path(path: str) -> Iterator[str]:
    """Spellings of a path with two segments or one, such as `/reports`, that some server might route to it."""
    segments = path.strip("/").split("/")
    first = segments[0]
    encoded = "".join(f"%{ord(byte):02x}" for byte in first)
    names = {
        first,
        encoded,
        encoded.upper().replace("%", "%"),
        f"%{ord(first[0]):02X}{first[1:]}",
        f"{first[:-1]}%{ord(first[-1]):02x}",
        f"%25{ord(first[0]):02x}{first[1:]}",
        f"{first};x=1",
        f"{first};",
        f"{first}%3bx",
        f"{first}%00",
        f"{first}%20",
        f"{first}.",
        first.upper(),
        first.capitalize(),
    }
    before = (
        "/",
        "//",
        "///",
        "/./",
        "/../",
        "/.//",
        "/static/../",
        "/static/./../",
        "/static//../",
        "/static/%2e%2e/",
        "/static/.%2e/",
        "/static/%2e./",
        "/static/..;/",
        "/static/.;/../",
        "/static/..%2f",
        "/static/%2e%2e%2f",
        "/static/..%5c",
        "/static/..\\",
        "/static/%252e%252e/",
        "/static/x/../../",
        "/%2f",
        "/%5c",
        "/\\",
        "/%2e/",
        "/;/",
        "/%09",
        "/%0a",
    )
    after = (
        "",
        "/",
        "//",
        "/.",
        "/./",
        "/x/..",
        "/%2e",
        "?x=/static/app.css",
        "?",
        "#/static/x",
        "%23/static/x",
        "%3fx",
    )
    rest = "/".join(segments[1:])
    for start, name, end in itertools.product(before, sorted(names), after):
        yield start + name + (f"/{rest}" if rest else "") + end


# Names that only the gateway may write

#: In each forged value.
CANARY = "evil-canary"
FIELDS_AT_ONCE = 60
FOLDED_MANAGED = {folded(name) for name in MANAGED}
FOLDED_MANAGED_BEGINNINGS = ("x-auth-", "x-forwarded-", "x-original-")


def of_managed_names(seed: int = 2026) -> list[str]:
    """Spellings of every managed name."""
    chance = random.Random(seed)
    return sorted({spelling for name in MANAGED for spelling in of_name(name, chance)})


def batches(names: list[str]) -> list[list[str]]:
    """As many as one request may carry, and then the next."""
    return [names[start : start + FIELDS_AT_ONCE] for start in range(0, len(names), FIELDS_AT_ONCE)]


def is_managed(name: str) -> bool:
    name = folded(name)
    return name in FOLDED_MANAGED or name.startswith(FOLDED_MANAGED_BEGINNINGS)


def assert_clean(request: Message) -> None:
    """No forged value arrived under any name, and managed names come once, in their canonical spelling."""
    for name, value in request.fields + request.trailers:
        assert CANARY not in value, f"{name}: {value}"
    managed = [name for name, _ in request.fields if is_managed(name)]
    assert len({folded(name) for name in managed}) == len(managed), managed
    assert all("_" not in name and "." not in name for name in managed), managed


#: Whatever says where a request came from, with values that an application would believe.
FORWARDING = {
    "X-Forwarded-For": ("203.0.113.9", "127.0.0.1, 203.0.113.9", "::1", "unknown"),
    "X-Forwarded-Proto": ("https", "http", "gopher", "https,http"),
    "X-Forwarded-Host": ("evil.example", "iam.demo.localhost", "raw.demo.localhost:1"),
    "X-Forwarded-Port": ("443", "80", "1", "-1"),
    "X-Forwarded-Prefix": ("/admin", "/", "//evil.example"),
    "X-Forwarded-Server": ("evil.example",),
    "X-Forwarded-Scheme": ("https",),
    "X-Forwarded-Ssl": ("on",),
    "X-Forwarded-Uri": ("/admin",),
    "X-Forwarded-Method": ("DELETE",),
    "Forwarded": ("for=203.0.113.9;host=evil.example;proto=https", "for=127.0.0.1"),
    "X-Real-IP": ("203.0.113.9", "127.0.0.1"),
    "X-Original-Host": ("evil.example",),
    "X-Original-URL": ("/admin",),
    "X-Original-Forwarded-For": ("203.0.113.9",),
}


def is_about_forwarding(name: str) -> bool:
    return folded(name).startswith(("x-forwarded", "forwarded", "x-real", "x-original"))


# Paths and hosts

#: What the reports of the sample for Flask show.
FLASK_SECRET = b"Payroll, first quarter"
#: The invoices, and any page of the admin site.
DJANGO_SECRET = re.compile(rb"<h1>All invoices</h1>|Django administration|Django site admin")


def queries(seed: int) -> list[str]:
    """Queries that hold the open path in each way in which a rule could take it for the path."""
    open_paths = ("/public/", "/public/x", "//public/", "public/", "../public/x", "/static/app.css")
    forms = ("{}", "x={}", "{}=", "a?b={}", "a&{}", "&{}", ";{}", "x=1;{}", "?{}", "%3f{}", "{}?x", "x={}&x={}")
    chance = random.Random(seed)

    def encoded(path: str) -> str:
        return "".join(f"%{ord(byte):02x}" if chance.random() < 0.4 else byte for byte in path)

    made = {form.replace("{}", path) for form in forms for path in open_paths}
    made |= {form.replace("{}", encoded(path)) for form in forms for path in open_paths for _ in range(2)}
    return sorted(made)


def hosts_that_are_ours(seed: int) -> list[str]:
    """Spellings of the host: each case, the trailing dot, ports."""
    chance = random.Random(seed)
    name = "raw.demo.localhost"
    cases = {"".join(chance.choice((byte.lower(), byte.upper())) for byte in name) for _ in range(40)} | {name}
    return sorted(f"{case}{end}" for case in cases for end in ("", ".", ":80", ":8443", ".:8443", ".:65535"))


#: Hosts that look like ours to somebody, and are not: 400, or the answer for a host that no route names.
OTHER_HOSTS = [
    *(
        f"raw.demo.localhost{end}"
        for end in ("..", "...", ".x", "x", "%2e", "%00", "/", "@x", "\\", " x", ":80:80", ":")
    ),
    *(f"{beginning}raw.demo.localhost" for beginning in (".", "x.", "x", "@", "x@", "%72", "/", "//", "http://", "*")),
    *("raw..demo.localhost", "raw_demo.localhost", "raw.demo", "localhost", "*.demo.localhost", "127.0.0.1", "[::1]"),
    *("raw.demo.localhost:-1", "raw.demo.localhost:65536", "raw.demo.localhost:x", "r\xe4w.demo.localhost", ""),
    *("raw.demo.localhost,iam.demo.localhost", "raw.demo.localhost;x", "raw.demo.localhost?x", "raw.demo.localhost#x"),
]
