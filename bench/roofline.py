#!/usr/bin/env python3
"""Draws what tristill-bench measured under the machine's roofs (Williams et al. 2009).

    for s in 100m 700m 2b; do build/release/bin/tristill-bench --shape $s -t 2 -s 1,4,16 -f json
    done > runs.jsonl
    bench/roofline.py runs.jsonl > docs/roofline.svg

A point is one figure: its operations a byte of weights against its int8 operations a second. The
sloped roof is the bandwidth measured from a buffer of the weights' size, the flat one the linear
kernel on data in the nearest cache; both are the medians of the runs in the file.
"""
import json
import math
import pathlib
import statistics
import sys

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
LABELS = [(7, 14, "start"), (7, -4, "start"), (-7, -4, "end")]  # beside a report's points
COLOURS = {"random-100m": "#1b6ca8", "random-700m": "#c2571a", "random-2b": "#3c7d3c"}


def points(report):
    """(label, operations a byte, operations a second) of every figure."""
    for run in report["runs"]:
        n = run["sequences"]
        speed = run["decode_share_of_operations"] * run["int8_ops_per_s"]
        read = run["decode_share_of_bytes"] * run["read_bytes_per_s"]
        yield f"decode {n}", speed / read, speed
        if n == 1:
            speed = run["prefill_share_of_operations"] * run["int8_ops_per_s"]
            steps = run["prefill_tokens_per_s"]["median"] / report["prompt_tokens"]
            yield "prefill", speed / (steps * run["decode_bytes"]), speed


class Axes:
    def __init__(self, x_range, y_range):
        self.x_range, self.y_range = x_range, y_range

    def x(self, value):
        low, high = map(math.log10, self.x_range)
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = map(math.log10, self.y_range)
        return HEIGHT - BOTTOM - (math.log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, anchor="middle", colour="#333"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">'
            f"{words}</text>")


def line(x1, y1, x2, y2, colour, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"/>')


def decades(low, high):
    value = 10 ** math.ceil(math.log10(low))
    while value <= high:
        yield value
        value *= 10


def roofs(axes, peak, bandwidth):
    ridge = peak / bandwidth
    return [line(axes.x(axes.x_range[0]), axes.y(axes.x_range[0] * bandwidth), axes.x(ridge),
                 axes.y(peak), "#555", 2),
            line(axes.x(ridge), axes.y(peak), axes.x(axes.x_range[1]), axes.y(peak), "#555", 2),
            text(axes.x(axes.x_range[1]) - 4, axes.y(peak) - 6,
                 f"int8 peak {peak / 1e9:.0f} GOP/s", "end"),
            text(axes.x(1.5 * axes.x_range[0]) + 10, axes.y(1.5 * axes.x_range[0] * bandwidth) + 10,
                 f"{bandwidth / 1e9:.0f} GB/s", "start")]


def draw(reports):
    runs = [run for report in reports for run in report["runs"]]
    peak = statistics.median(run["int8_ops_per_s"] for run in runs)
    bandwidth = statistics.median(run["read_bytes_per_s"] for run in runs)
    axes = Axes((2, 1e4), (3e10, 2 * peak))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for value in decades(*axes.x_range):
        out += [line(axes.x(value), TOP, axes.x(value), HEIGHT - BOTTOM, "#ddd"),
                text(axes.x(value), HEIGHT - BOTTOM + 16, f"{value:g}")]
    for value in decades(*axes.y_range):
        out += [line(LEFT, axes.y(value), WIDTH - RIGHT, axes.y(value), "#ddd"),
                text(LEFT - 6, axes.y(value) + 4, f"{value / 1e9:g}", "end")]
    out += [text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "int8 operations a byte of weights read"),
            f'<g transform="rotate(-90 18 {HEIGHT / 2})">',
            text(18, HEIGHT / 2, "int8 GOP/s"), "</g>"]
    out += roofs(axes, peak, bandwidth)
    for i, report in enumerate(reports):
        colour = COLOURS.get(report["model"], "#777")
        right, down, anchor = LABELS[i % len(LABELS)]
        threads = report["runs"][0]["threads"]
        out.append(text(WIDTH - RIGHT - 8, HEIGHT - BOTTOM - 12 - 16 * i,
                        f"{report['model']}, {threads} thread{'s' if threads > 1 else ''}", "end",
                        colour))
        for label, intensity, speed in points(report):
            x, y = axes.x(intensity), axes.y(speed)
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
                    text(x + right, y + down, label, anchor, colour)]
    return "\n".join(out + ["</svg>"])


def main():
    reports = [json.loads(row) for row in pathlib.Path(sys.argv[1]).read_text().splitlines()]
    print(draw(reports))


if __name__ == "__main__":
    main()
