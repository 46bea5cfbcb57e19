"""From samples to a table: medians, ratios within a round, goals."""

import json
import platform
from collections.abc import Iterable
from pathlib import Path
from statistics import median

from . import tools
from .measure import Sample
from .works import GATEWAY, HAPROXY, IDLE, WORKS

THRESHOLDS = tools.BENCH / "thresholds.json"
# From here on, a round is called disturbed: somebody else used this share of the proxy's core.
DISTURBANCE_MIN = 0.05


class Results:
    """All samples of a run, in the order of measuring."""

    def __init__(self, samples: list[Sample], idle: list[tuple[str, float]], settings: dict):
        self.samples = samples
        self.idle = idle
        self.settings = settings
        self.goals = json.loads(THRESHOLDS.read_text())

    def of(self, work: str, subject: str) -> list[Sample]:
        """The samples of one proxy at one work."""
        return [sample for sample in self.samples if (sample.work, sample.subject) == (work, subject)]

    def pairs(self) -> Iterable[tuple[str, str]]:
        """Every work with every proxy that did it, in the order of the tables."""
        for name, work in WORKS.items():
            for subject in work.subjects:
                if self.of(name, subject):
                    yield name, subject

    def ratios(self, work: str, subject: str, other: str = HAPROXY) -> list[float]:
        """For each round, the CPU time of one proxy divided by that of another."""
        others = {sample.round: sample.cpu_microseconds for sample in self.of(work, other)}
        return [
            sample.cpu_microseconds / others[sample.round]
            for sample in self.of(work, subject)
            if sample.round in others
        ]

    def idle_median(self, subject: str) -> float | None:
        """KiB for one idle TLS connection."""
        values = [kib for name, kib in self.idle if name == subject]
        return median(values) if values else None

    def misses(self) -> list[str]:
        """Goals that our gateway did not reach."""
        found = []
        for work, goal in self.goals["ratio_to_haproxy"].items():
            ratios = self.ratios(work, GATEWAY)
            if ratios and median(ratios) > goal:
                found.append(f"{work}: {median(ratios):.2f} of haproxy, the goal is {goal}")
        kib, goal = self.idle_median(GATEWAY), self.goals["idle_kib"]
        if kib is not None and kib > goal:
            found.append(f"{IDLE.name}: {kib:.1f} KiB for an idle connection, the goal is {goal}")
        return found


def markdown(results: Results) -> str:
    """The table, with what has to be known to read it."""
    settings = results.settings
    lines = [
        f"# CPU time for one request, {settings['date']}",
        "",
        f"{settings['rounds']} rounds of {settings['seconds']:g} s, {settings['connections']} connections,"
        f" {settings['machine']}. Made by `{settings['command']}`. Compare only within one run.",
        "",
        "| work | proxy | CPU µs, median (min) | ratio to haproxy (range) | goal | requests/s | disturbed rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    previous = None
    for work, subject in results.pairs():
        title = f"{work}: {WORKS[work].title}" if work != previous else ""
        lines.append(f"| {title} | {subject} | {_cells(results, work, subject)} |")
        previous = work
    if results.idle:
        lines += ["", "| idle TLS connections | KiB for one | ratio to haproxy | goal |", "|---|---|---|---|"]
        lines += [_idle_row(results, subject) for subject in IDLE.subjects if results.idle_median(subject) is not None]
    lines += ["", *_notes(results)]
    return "\n".join(lines) + "\n"


def _cells(results: Results, work: str, subject: str) -> str:
    samples = results.of(work, subject)
    times = [sample.cpu_microseconds for sample in samples]
    ratios = results.ratios(work, subject)
    ratio = "–"
    if ratios and subject != HAPROXY:
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    elif subject == HAPROXY:
        ratio = "1"
    goal = results.goals["ratio_to_haproxy"].get(work) if subject == GATEWAY else None
    rate = median(sample.requests_per_second for sample in samples)
    disturbed = sum(sample.disturbance > DISTURBANCE_MIN for sample in samples)
    return (
        f"{median(times):.1f} ({min(times):.1f}) | {ratio} | {f'≤ {goal}' if goal else ''} | {rate:,.0f}"
        f" | {disturbed} of {len(samples)}"
    )


def _idle_row(results: Results, subject: str) -> str:
    kib, base = results.idle_median(subject), results.idle_median(HAPROXY)
    ratio = f"{kib / base:.2f}" if base else "–"
    goal = f"≤ {results.goals['idle_kib']} KiB" if subject == GATEWAY else ""
    return f"| {subject} | {kib:.1f} | {ratio} | {goal} |"


def _notes(results: Results) -> list[str]:
    notes = [
        "- CPU time is user and system time of the proxy's whole process tree, divided by the requests that reached the"
        " upstream in the same time. The proxy has a core to itself, with one worker; the load, the upstream and Redis"
        " share the other, and their time does not count.",
        "- No access log anywhere, except in S1log: haproxy cannot log to a file by itself, so only ours and nginx"
        " are in that row.",
        "- The peers do the least that the work allows; ours also rebuilds `X-Forwarded-*` and sends a request id.",
    ]
    for what, with_it, without in (("A limit in Redis", "S5", "S2"), ("Our access log", "S1log", "S1")):
        base = {sample.round: sample.cpu_microseconds for sample in results.of(without, GATEWAY)}
        extra = [s.cpu_microseconds - base[s.round] for s in results.of(with_it, GATEWAY) if s.round in base]
        if extra:
            notes.append(f"- {what} costs {median(extra):+.1f} µs ({with_it} − {without} in the same round).")
    return notes


def machine() -> str:
    """What was measured on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{model}, Linux {platform.release()}"
