"""Writes what was measured: tables as Markdown, the ratios as a picture."""

import os
import platform
import re
import statistics
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from server import run


def write(options, server, contenders, ratios, figures):
    """Writes results.md and results.svg, and prints the ratios."""
    rows = [(ratio, paired(contenders, ratio)) for ratio in ratios]
    login = contenders["right code"]
    figures["WAL of a login"] = f"{statistics.median(login.wal):.0f} bytes"
    parts = [
        "# Speed of the extension\n",
        "Written by `benches/run`. Only ratios have targets: the machine decides the rest.\n",
        "![Medians of the ratios against their targets](results.svg)\n",
        table(["ratio", "median", "least", "most", "target", ""],
              [ratio_row(*row) for row in rows]),
        table(["contender", "a second, median", "least", "most", "WAL bytes of one"],
              [contender_row(contender) for contender in contenders.values()]),
        table(["", ""], figures.items()),
        table(["", ""], circumstances(options, server).items()),
    ]
    (options.output / "results.md").write_text("\n".join(parts))
    (options.output / "results.svg").write_text(picture([row for row in rows if row[0].target]))
    print(parts[3])


def paired(contenders, ratio):
    """The ratio in each round."""
    pairs = zip(contenders[ratio.above].rates, contenders[ratio.below].rates, strict=True)
    return [above / below for above, below in pairs]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def ratio_row(ratio, values):
    median = statistics.median(values)
    shown = [f"{value:.2f}" for value in (median, min(values), max(values))]
    if ratio.target is None:
        return [ratio.title, *shown, "", ""]
    verdict = "meets target" if median >= ratio.target else "misses target"
    return [ratio.title, *shown, f"≥ {ratio.target:.2f}", verdict]


def contender_row(contender):
    rates = contender.rates
    values = [f"{value:,.0f}" for value in (statistics.median(rates), min(rates), max(rates))]
    return [contender.name, *values, f"{statistics.median(contender.wal):.0f}"]


def circumstances(options, server):
    """On what, and how, it was measured."""
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    version = server.sql("bench", "SELECT extversion FROM pg_extension WHERE extname = 'totp'")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "server": server.sql("bench", "SELECT split_part(version(), ' on ', 1)"),
        "extension": f"totp {version}",
        "client": run([server.bin / "pgbench", "--version"]).strip() + ", -M prepared -c 4 -j 2",
        "accounts": f"{options.accounts:,}",
        "rounds": f"{options.rounds} of {options.seconds} s each, seed {options.seed}",
        "settings": ", ".join(f"{name} = {value}" for name, value in server.settings.items())
        + ", totp.force_sync_commit = off; synchronous_commit = on where it says sync",
    }


def picture(rows):
    """Each median over its target, from the least to the most."""
    left, width, height, step = 330, 380, 30, 34
    most = 2.0

    def x(value):
        return left + width * min(value, most) / most

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 90}" '
        f'height="{height + step * len(rows) + 40}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{x(1):.0f}" y="18" text-anchor="middle">target</text>',
        f'<line x1="{x(1):.1f}" x2="{x(1):.1f}" y1="24" y2="{height + step * len(rows)}" '
        'stroke="#888"/>',
    ]
    for number, (ratio, values) in enumerate(rows):
        y = height + step * number + step // 2
        least, median, most_seen = (value / ratio.target for value in
                                    (min(values), statistics.median(values), max(values)))
        colour = "#1a7f37" if median >= 1 else "#c0392b"
        lines += [
            f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(ratio.title)}</text>',
            f'<line x1="{x(least):.1f}" x2="{x(most_seen):.1f}" y1="{y}" y2="{y}" '
            f'stroke="{colour}" stroke-width="3" opacity="0.5"/>',
            f'<circle cx="{x(median):.1f}" cy="{y}" r="5" fill="{colour}"/>',
            f'<text x="{left + width + 12}" y="{y + 4}">{statistics.median(values):.2f}'
            f' / {ratio.target:g}</text>',
        ]
    y = height + step * len(rows) + 20
    lines += [f'<text x="{x(tick):.0f}" y="{y}" text-anchor="middle">{tick:g}</text>'
              for tick in (0, 0.5, 1, 1.5, most)]
    return "\n".join([*lines, "</svg>\n"])
