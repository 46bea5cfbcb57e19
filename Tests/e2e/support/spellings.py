"""Generated spellings: of field names that applications fold together, and of paths that they route alike."""

import itertools
import random
from collections.abc import Iterator

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
