"""Which tests tell nothing about a gateway that was built with a sanitizer, and why.

SANITIZER names it: `address` or `thread`. `scripts/sanitize` sets it.
"""

import os

#: The sanitizer of the executable under test, if it has one.
NAME = os.environ.get("SANITIZER")

#: What the executable under test needs besides: a library that explains locks to ThreadSanitizer.
ENVIRONMENT = {"LD_PRELOAD": library} if (library := os.environ.get("SANITIZER_PRELOAD")) else {}

#: How many times longer a wait for the gateway may be, and how many times slower it is.
PATIENCE = {"address": 2, "thread": 4}.get(NAME, 1)

#: Threads that it starts for itself.
THREADS = 1 if NAME == "thread" else 0

_MEMORY = "memory: a sanitizer has its own, and keeps what was freed"
_COUNTS = "counts of instructions, system calls and allocations: a sanitizer makes its own"
_LIMITED = "memory limited by the kernel: a sanitizer reserves more than any limit"

#: Files, or tests by the beginning of their name, that are left out, each with what it measures.
LEFT_OUT = {
    "test_counts.py": _COUNTS,
    "test_memory.py": _MEMORY,
    "test_endurance.py::test_faults_leave_no_memory_and_no_descriptor_behind": _MEMORY,
    "test_upstream_faults.py::test_a_large_download_to_a_slow_client_stays_in_bounded_memory": _MEMORY,
    "test_upstream_faults.py::test_a_large_upload_to_a_slow_upstream_stays_in_bounded_memory": _MEMORY,
    "test_overload.py::test_when_memory_is_short": _LIMITED,
    "test_image.py": "what the executable loads: a sanitizer's library is no part of the product",
    "test_browser.py": "the pages in a browser: none of it is the gateway's memory",
}


def reason_to_leave_out(test: str) -> str | None:
    """Why this test, by its id, is left out; nothing if it runs."""
    if NAME is None:
        return None
    test = test.rpartition("e2e/")[2]
    return next((reason for beginning, reason in LEFT_OUT.items() if test.startswith(beginning)), None)
