"""What callgrind wrote: instructions by function, and who calls the allocator.

The format is line by line: `fn=(3) name` begins a function and `(3)` alone names it again, `calls=5 …` after `cfn=…`
says how often it called another, the line after that is what those calls cost inside, and every other line that begins
with a position is cost of the function itself.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ALLOCATORS = frozenset(("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"))
# Functions that only pass a request for memory on: whoever calls them is named instead.
PASSING_ON = frozenset(
    ("swift_allocObject", "swift_slowAlloc", "swift_slowAllocTyped", "CRYPTO_malloc", "CRYPTO_zalloc", "CRYPTO_realloc")
)


def read(path: Path) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Instructions by function, and calls by caller and callee."""
    names: dict[str, str] = {}
    own: Counter[str] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    current = callee = ""
    is_inside_call = False
    with path.open(errors="replace") as lines:
        for line in lines:
            if line.startswith("fn="):
                current = _name(line[3:], names)
            elif line.startswith("cfn="):
                callee = _name(line[4:], names)
            elif line.startswith("calls="):
                calls[current, callee] += int(line[6:].split()[0])
                is_inside_call = True
            elif line[:1] in "0123456789+-*" and line.strip():
                if not is_inside_call:
                    own[current] += int(line.split()[1])
                is_inside_call = False
    return own, calls


def allocating(calls: Counter[tuple[str, str]]) -> Counter[str]:
    """Calls of the allocator by caller. One that only passes on appears under its own callers, as `caller → name`."""
    found: Counter[str] = Counter()
    for (caller, callee), count in calls.items():
        if callee in ALLOCATORS and caller not in PASSING_ON | ALLOCATORS:
            found[caller] += count
        elif callee in PASSING_ON and caller not in PASSING_ON:
            found[f"{caller} → {callee}"] += count
    return found


def counting_references(calls: Counter[tuple[str, str]]) -> Counter[str]:
    """Calls that count references, by caller."""
    found: Counter[str] = Counter()
    for (caller, callee), count in calls.items():
        if callee in ("swift_retain", "swift_release"):
            found[caller] += count
    return found


def readable(names: Iterable[str]) -> dict[str, str]:
    """Swift's names as the source has them, where there is a `swift` to ask."""
    listed = list(names)
    swift = shutil.which("swift")
    if swift is None or not listed:
        return {name: name for name in listed}
    result = subprocess.run(
        [swift, "demangle", "--simplified"], input="\n".join(listed), capture_output=True, text=True, check=False
    )
    lines = result.stdout.splitlines()
    return dict(zip(listed, lines if len(lines) == len(listed) else listed, strict=True))


def _name(text: str, names: dict[str, str]) -> str:
    # Recursion is written as name'2: the same function.
    number, _, name = text.strip().partition(" ")
    if name:
        names[number] = re.sub(r"'\d+$", "", name)
    return names[number]
