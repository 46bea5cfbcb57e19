"""What one warm exchange (or MiB) costs in system calls, allocations and instructions: guards independent of the clock.

`bench/counts` takes the same counts with more exchanges and of more works, and memory besides; the thresholds are in
`bench/thresholds.json`.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
THRESHOLDS = json.loads((ROOT / "bench" / "thresholds.json").read_text())["counts"]
EXCHANGES = 200
COUNTS = {
    "S12": ("system_calls", "clock_reads", "allocations", "instructions"),
    "S1": ("system_calls", "clock_reads", "allocations", "instructions"),
    "S1log": ("system_calls", "clock_reads", "allocations"),
    "S2": ("system_calls", "clock_reads", "allocations"),
    "S4": ("system_calls", "clock_reads", "allocations"),
    "S4ip": ("system_calls", "clock_reads", "allocations"),
    "S6": ("system_calls", "clock_reads", "allocations"),
    "S7d": ("system_calls", "clock_reads"),
    "S7u": ("system_calls", "clock_reads"),
    "S10": ("system_calls", "clock_reads", "allocations", "instructions"),
}
CASES = [(work, name) for work, names in COUNTS.items() for name in names]


def counted(works: list[str], kinds: str, subject: str = "gateway") -> dict[str, dict]:
    command = [sys.executable, str(ROOT / "bench" / "counts"), "--json", "--exchanges", str(EXCHANGES)]
    command += ["--works", ",".join(works), "--only", kinds, "--subject", subject]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def counts() -> dict[str, dict]:
    """The counts of all cases, taken once."""
    counts = counted(list(COUNTS), "system_calls,allocations")
    slow = counted([work for work, names in COUNTS.items() if "instructions" in names], "instructions")
    return {work: counts[work] | slow.get(work, {}) for work in counts}


@pytest.mark.parametrize(("work", "name"), CASES)
def test_a_warm_exchange_stays_within_its_threshold(counts: dict[str, dict], work: str, name: str) -> None:
    """Each count of each work, compared with the file."""
    assert counts[work][name] <= THRESHOLDS[work][name], counts[work]


def test_the_counts_are_of_real_exchanges(counts: dict[str, dict]) -> None:
    """An exchange cannot do with less than a read and a write on each side: fewer means that nothing was counted."""
    assert all(counts[work]["system_calls"] >= 4 for work in counts)
    assert all(counts[work]["instructions"] > 10_000 for work in ("S12", "S1", "S10"))


def test_the_floor_does_nothing_that_is_not_needed() -> None:
    """Two reads, two writes, two waits, nothing allocated beside TLS: else all that is compared with it looks good."""
    counts = counted(["S12", "S1", "S10"], "system_calls,allocations", "floor")
    assert all(4 <= counts[work]["system_calls"] <= 6.2 for work in counts), counts
    assert counts["S12"]["allocations"] <= 0.05
