"""The tables as a picture: bars, one group for each work, scaled to the longest bar of the group."""

from html import escape
from statistics import median

from .report import BULK, CPU, P99, Results, figures
from .works import FLOOR, GATEWAY, HAPROXY, IDLE, NGINX, WORKS

UNITS = {CPU: "µs", BULK: "GB", P99: "µs"}
# Said in the title of the group; all others are CPU time for one request, the shorter the better.
MEANINGS = {CPU: "", BULK: ", for a CPU second (longer is better)", P99: ", p99 of latency"}

WIDTH, LEFT, RIGHT = 860, 100, 150
BAR, GAP, GROUP_GAP, TOP = 18, 4, 34, 56
COLOURS = {GATEWAY: "#1f6feb", HAPROXY: "#8b949e", NGINX: "#b9c0c8", FLOOR: "#e3d5a8"}
FONT = "font-family='system-ui, sans-serif'"


def svg(results: Results) -> str:
    """An SVG document; its text is readable by programs that read pages aloud."""
    groups = _groups(results)
    height = TOP + sum(GROUP_GAP + len(bars) * (BAR + GAP) for _, bars in groups) + 12
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}'"
        " role='img' aria-labelledby='title'>",
        f"<title id='title'>CPU time for one request, {escape(results.settings['date'])}</title>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        _text(16, 26, "CPU time for one request (shorter is better)", 16, "#1f2328", "600"),
        _text(16, 44, "Medians; each group has a scale of its own. In brackets: ratio to haproxy.", 12, "#59636e"),
    ]
    y = TOP
    for title, bars in groups:
        y += GROUP_GAP - 12
        parts.append(_text(16, y, title, 13, "#1f2328", "600"))
        y += 12 - GAP
        longest = max(value for _, value, _ in bars)
        for subject, value, label in bars:
            y += GAP
            width = (WIDTH - LEFT - RIGHT) * value / longest
            parts.append(_text(LEFT - 8, y + 13, subject, 12, "#1f2328", anchor="end"))
            parts.append(
                f"<rect x='{LEFT}' y='{y}' width='{width:.1f}' height='{BAR}' rx='2' fill='{COLOURS[subject]}'/>"
            )
            parts.append(_text(LEFT + width + 8, y + 13, label, 12, "#1f2328"))
            y += BAR
    return "\n".join([*parts, "</svg>"]) + "\n"


def _groups(results: Results) -> list[tuple[str, list[tuple[str, float, str]]]]:
    groups: dict[str, list[tuple[str, float, str]]] = {}
    for work in WORKS.values():
        figure = figures(work)[-1]
        for subject in work.subjects:
            value = results.median(work.name, subject, figure)
            if value is None:
                continue
            ratios = results.ratios(work.name, subject, figure)
            ratio = f" ({median(ratios):.2f})" if ratios and subject != HAPROXY else ""
            groups.setdefault(f"{work.name}: {work.title}{MEANINGS[figure]}", []).append(
                (subject, value, f"{value:.{figure.digits}f} {UNITS[figure]}{ratio}")
            )
    base = results.idle_median(HAPROXY)
    for subject in IDLE.subjects:
        kib = results.idle_median(subject)
        if kib is not None:
            ratio = f" ({kib / base:.2f})" if base and subject != HAPROXY else ""
            groups.setdefault(f"{IDLE.name}: memory for one idle TLS connection", []).append(
                (subject, max(kib, 0.01), f"{kib:.1f} KiB{ratio}")
            )
    return list(groups.items())


def _text(x: float, y: float, text: str, size: int, colour: str, weight: str = "400", anchor: str = "start") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' font-weight='{weight}' fill='{colour}'"
        f" text-anchor='{anchor}'>{escape(text)}</text>"
    )
