"""From samples to tables: medians, ratios within a round, goals."""

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import tools
from .measure import Sample
from .works import FLOOR, GATEWAY, HAPROXY, IDLE, LARGE_BYTES, NGINX, WORKS, Work

THRESHOLDS = tools.BENCH / "thresholds.json"
# From here on, a round is called disturbed: somebody else used this share of the proxy's core.
DISTURBANCE_MIN = 0.05
# What our gateway takes for one thing: the work with it, and the one without.
DIFFERENCES = (
    ("A limit by subject in memory", "S4", "S2"),
    ("A limit by subject in Redis, instead of in memory,", "S5", "S4"),
    ("A limit by address in Redis, instead of in memory,", "S5ip", "S4ip"),
    ("Our access log", "S1log", "S1"),
)


@dataclass(frozen=True)
class Figure:
    """What a number says: the field of the samples, its name, and how it is written."""

    field: str
    title: str
    digits: int = 1


CPU = Figure("cpu_microseconds", "CPU µs")
BULK = Figure("gigabytes_per_cpu_second", "GB for a CPU second", 2)
P50 = Figure("p50_microseconds", "p50, µs", 0)
P99 = Figure("p99_microseconds", "p99, µs", 0)
MEMORY = Figure("kib", "KiB for one")
FIGURES = {figure.field: figure for figure in (CPU, BULK, P50, P99, MEMORY)}


@dataclass(frozen=True)
class Goal:
    """A bound of thresholds.json for our gateway: of a ratio, or absolute where `of` is None."""

    work: str
    figure: Figure
    bound: float
    # Bytes for a CPU second are the better the more they are.
    is_least: bool
    # A peer at the same work, or another work of our own.
    of: str | None

    def is_missed_by(self, value: float) -> bool:
        """Whether a value is on the wrong side."""
        return value < self.bound if self.is_least else value > self.bound

    def __str__(self) -> str:
        of = f" of {self.of}" if self.of else ""
        unit = " GB" if self.figure is BULK and not self.of else ""
        return f"{'≥' if self.is_least else '≤'} {self.bound:g}{unit}{of}"


def figures(work: Work) -> tuple[Figure, ...]:
    """What is looked at in a work."""
    if work.bulk:
        return (BULK,)
    return (P50, P99) if work.pace else (CPU,)


class Results:
    """All samples of a run, in the order of measuring."""

    def __init__(self, samples: list[Sample], idle: list[tuple[str, float]], settings: dict):
        self.samples = samples
        self.idle = idle
        self.settings = settings
        self.goals = [_goal(entry) for entry in json.loads(THRESHOLDS.read_text())["goals"]]

    def of(self, work: str, subject: str) -> list[Sample]:
        """The samples of one proxy at one work."""
        return [sample for sample in self.samples if (sample.work, sample.subject) == (work, subject)]

    def pairs(self, *kinds: Figure) -> Iterable[tuple[str, str]]:
        """Every work of these figures with every proxy that did it, in the order of the tables."""
        for name, work in WORKS.items():
            if figures(work) != kinds:
                continue
            for subject in work.subjects:
                if self.of(name, subject):
                    yield name, subject

    def median(self, work: str, subject: str, figure: Figure) -> float | None:
        """The middle value of the rounds."""
        values = [getattr(sample, figure.field) for sample in self.of(work, subject)]
        return median(values) if values else None

    def ratios(self, work: str, subject: str, figure: Figure, other: tuple[str, str] | None = None) -> list[float]:
        """For each round, the figure of one proxy divided by that of another, which is haproxy at the same work."""
        others = {sample.round: getattr(sample, figure.field) for sample in self.of(*(other or (work, HAPROXY)))}
        return [
            getattr(sample, figure.field) / others[sample.round]
            for sample in self.of(work, subject)
            if sample.round in others
        ]

    def idle_median(self, subject: str) -> float | None:
        """KiB for one idle TLS connection."""
        values = [kib for name, kib in self.idle if name == subject]
        return median(values) if values else None

    def goals_of(self, work: str, figure: Figure) -> str:
        """The bounds for our gateway, as the tables have them."""
        return ", ".join(str(goal) for goal in self.goals if (goal.work, goal.figure) == (work, figure))

    def reached(self, goal: Goal) -> float | None:
        """What our gateway reached of a goal; None if it was not measured, or had nothing to be compared with."""
        if goal.work == IDLE.name:
            value, base = self.idle_median(GATEWAY), self.idle_median(goal.of) if goal.of else 1.0
            return value / base if value is not None and base else None
        if goal.of is None:
            return self.median(goal.work, GATEWAY, goal.figure)
        other = (goal.of, GATEWAY) if goal.of in WORKS else (goal.work, goal.of)
        ratios = self.ratios(goal.work, GATEWAY, goal.figure, other)
        return median(ratios) if ratios else None

    def misses(self) -> list[str]:
        """Goals that our gateway did not reach."""
        found = []
        for goal in self.goals:
            value = self.reached(goal)
            if value is not None and goal.is_missed_by(value):
                found.append(f"{goal.work}, {goal.figure.title}: {value:.2f}, the goal is {goal}")
        return found


def markdown(results: Results) -> str:
    """The tables, with what has to be known to read them."""
    settings = results.settings
    lines = [
        f"# CPU time for one request, {settings['date']}",
        "",
        f"{settings['rounds']} rounds of {settings['seconds']:g} s, {settings['connections']} connections,"
        f" {settings['machine']}. Made by `{settings['command']}`. Compare only within one run.",
    ]
    lines += _table(
        results,
        [CPU],
        "| work | proxy | CPU µs, median (min) | ratio to haproxy (range) | goal | requests/s | disturbed rounds |",
    )
    lines += _table(
        results,
        [BULK],
        "| large bodies | proxy | GB for a CPU second, median (max) | ratio to haproxy (range) | goal | MB/s"
        " | disturbed rounds |",
    )
    lines += _latency_table(results)
    if results.idle:
        lines += ["", "| idle TLS connections | KiB for one | ratio to haproxy | goal |", "|---|---|---|---|"]
        lines += [_idle_row(results, subject) for subject in IDLE.subjects if results.idle_median(subject) is not None]
    lines += ["", *_notes(results)]
    return "\n".join(lines) + "\n"


def _goal(entry: dict) -> Goal:
    if ("most" in entry) == ("least" in entry) or ("of" in entry) == entry.get("absolute", False):
        raise tools.Missing(f"{THRESHOLDS}: a goal has 'most' or 'least', and 'of' or 'absolute': {entry}")
    bound = entry["most"] if "most" in entry else entry["least"]
    return Goal(entry["work"], FIGURES[entry["figure"]], bound, "least" in entry, entry.get("of"))


def _table(results: Results, kinds: list[Figure], head: str) -> list[str]:
    rows = _titled(results, kinds, lambda work, subject: _cells(results, work, subject))
    return ["", head, "|" + "---|" * (head.count("|") - 1), *rows] if rows else []


def _latency_table(results: Results) -> list[str]:
    head = "| latency | proxy | p50 µs | p99 µs | ratios to nginx | goals | CPU µs | requests/s |"
    rows = _titled(results, [P50, P99], lambda work, subject: _latency_cells(results, work, subject))
    return ["", head, "|" + "---|" * (head.count("|") - 1), *rows] if rows else []


def _titled(results: Results, kinds: list[Figure], cells) -> list[str]:
    rows, previous = [], None
    for work, subject in results.pairs(*kinds):
        title = f"{work}: {WORKS[work].title}" if work != previous else ""
        rows.append(f"| {title} | {subject} | {cells(work, subject)} |")
        previous = work
    return rows


def _cells(results: Results, work: str, subject: str) -> str:
    samples = results.of(work, subject)
    (figure,) = figures(WORKS[work])
    values = [getattr(sample, figure.field) for sample in samples]
    best = max(values) if figure is BULK else min(values)
    ratios = results.ratios(work, subject, figure)
    ratio = "–"
    if ratios and subject != HAPROXY:
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
    elif subject == HAPROXY:
        ratio = "1"
    goal = results.goals_of(work, figure) if subject == GATEWAY else ""
    rate = median(sample.requests_per_second for sample in samples) * (LARGE_BYTES / 1e6 if figure is BULK else 1)
    disturbed = sum(sample.disturbance > DISTURBANCE_MIN for sample in samples)
    return (
        f"{median(values):.{figure.digits}f} ({best:.{figure.digits}f}) | {ratio} | {goal} | {rate:,.0f}"
        f" | {disturbed} of {len(samples)}"
    )


def _latency_cells(results: Results, work: str, subject: str) -> str:
    ratios = [results.ratios(work, subject, figure, (work, NGINX)) for figure in (P50, P99)]
    cells = [f"{results.median(work, subject, figure):.0f}" for figure in (P50, P99)]
    cells.append(" / ".join(f"{median(values):.2f}" for values in ratios) if all(ratios) else "–")
    goals = [results.goals_of(work, figure) for figure in (P50, P99)] if subject == GATEWAY else []
    cells.append(" / ".join(goals))
    cells.append(f"{results.median(work, subject, CPU):.1f}")
    cells.append(f"{median(sample.requests_per_second for sample in results.of(work, subject)):,.0f}")
    return " | ".join(cells)


def _idle_row(results: Results, subject: str) -> str:
    kib, base = results.idle_median(subject), results.idle_median(HAPROXY)
    ratio = f"{kib / base:.2f}" if base else "–"
    goal = results.goals_of(IDLE.name, MEMORY) if subject == GATEWAY else ""
    return f"| {subject} | {kib:.1f} | {ratio} | {goal} |"


def _notes(results: Results) -> list[str]:
    notes = [
        "- CPU time is user and system time of the proxy's whole process tree, divided by the requests that reached the"
        " upstream in the same time; GB for a CPU second are the bodies' bytes divided by it. The proxy has a core to"
        " itself, with one worker; the load, the upstream and Redis share the other, and their time does not count.",
        "- No access log anywhere, except in S1log: haproxy cannot log to a file by itself, so only ours and nginx"
        " are in that row.",
        "- Latency counts from the time that a request was due, so that a stall is charged for all who would have asked"
        " meanwhile.",
        "- The peers do the least that the work allows; ours also rebuilds `X-Forwarded-*` and sends a request id.",
    ]
    if any(sample.subject == FLOOR for sample in results.samples):
        notes.append(
            "- The floor is no proxy: a small C program that passes bytes on and checks nothing. It shows what sockets,"
            " TLS and HPACK cost, whoever does the rest."
        )
    for what, with_it, without in DIFFERENCES:
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
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    return f"{model}, Linux {platform.release()}, TCP with {congestion}"
