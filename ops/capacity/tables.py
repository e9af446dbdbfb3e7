"""The figures of `python -m ops.capacity` as Markdown tables that read well as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ops.capacity.workload import TAGS

Figures = dict[str, Any]
"""What capacity.figures returns."""


def sections(values: Figures) -> dict[str, str]:
    """The tables by name, in the order of printing."""
    return {
        "inputs": _inputs(values),
        "costs": _costs(values),
        "parts": _parts(values),
        "queue": _queue(values),
        "limits": _limits(values),
        "recommendation": _recommendation(values),
    }


def write_into(page: Path, printed: dict[str, str]) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`, for each name. ValueError if one is missing."""
    text = page.read_text(encoding="utf-8")
    for name, table in printed.items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->")
        if not opening or not closing:
            raise ValueError(f"{page} has no <!-- {name} --> ... <!-- /{name} -->")
        text = before + opening + table + "\n" + closing + after
    page.write_text(text, encoding="utf-8")


def _inputs(values: Figures) -> str:
    rows = [[name, f"{value:g}"] for name, value in values["inputs"].items()]
    prices = values["prices"]
    return (
        f"Prices of {prices['region']}, looked up on {prices['looked_up']}. {prices['check']}\n\n"
        + _table(["what one image takes", "value"], rows)
        + f"\n\nBy these, batches of ten on two processors are labelled at {values['share_of_bare_inference']:.0%} of "
        "the rate of the network alone."
    )  # fmt: skip


def _costs(values: Figures) -> str:
    rows = [
        [
            each["architecture"] + (" (bound)" if each["architecture"] == "arm64" else ""),
            f"{each['memory_mb']:,}",
            f"{each['one_image_ms']:.0f}",
            f"{each['batch_of_10_ms']:.0f}",
            f"{each['usd_per_million_in_tens']['compute']:.2f}",
            f"{sum(each['usd_per_million_in_tens'].values()):.2f}",
            f"{sum(each['usd_per_million_one_by_one'].values()):.2f}",
        ]
        for each in values["costs"]
    ]
    return _table(
        ["architecture", "MB", "ms, one", "ms, ten", "Lambda, $", "all, $ in tens", "all, $ one by one"], rows
    )


def _parts(values: Figures) -> str:
    total = sum(values["parts"].values())
    rows = [[name, f"{value:.2f}", f"{value / total:.0%}"] for name, value in values["parts"].items()]
    rows.append(["all", f"{total:.2f}", "100%"])
    rate = values["rates"][-1]
    return (
        _table([f"a million images at {values['memory_mb']:,} MB, x86_64, in tens", "$", "share"], rows)
        + f"\n\nAt {rate:,} a second that is {total * rate * 86_400 / 1e6:,.0f} $ a day. With an input of 128 pixels a "
        + f"million costs {values['usd_per_million_at_128_pixels']:.2f} $. Keeping the {TAGS} tags, the row and the "
        + f"index entry of a million objects costs {values['usd_per_million_kept_a_month']:.2f} $ a month."
    )


def _queue(values: Figures) -> str:
    rows = [
        [
            each["arrivals"],
            f"{each['maximum_concurrency']:,}",
            f"{each['most_at_once']:,}",
            f"{each['images_per_invocation']:.1f}",
            f"{each['age_p50']:.1f}",
            f"{each['age_p99']:.1f}",
            f"{each['age_last']:.1f}",
            f"{each['longest_queue']:,}",
            f"{each['cold_starts']:,}",
            f"{each['usd_per_million']:.2f}",
        ]
        for each in values["queue"]
    ]
    return _table(
        [
            f"arrivals ({values['memory_mb']:,} MB)",
            "MaximumConcurrency",
            "used",
            "images each",
            "age p50, s",
            "p99",
            "of the last",
            "queue",
            "cold starts",
            "$ a million",
        ],
        rows,
    )


def _limits(values: Figures) -> str:
    def cell(need: float, allowed: int) -> str:
        return f"{need:,.1f}" + (f" **over, {need / allowed:.1f}x**" if need > allowed else "")

    rows = [
        [
            each["limit"],
            f"{each['allowed']:,}",
            *(cell(each[str(rate)], each["allowed"]) for rate in values["rates"]),
            each["source"],
        ]
        for each in values["limits"]
    ]
    return _table(["limit", "allowed", *(f"at {rate:,} a second" for rate in values["rates"]), "source"], rows)


def _recommendation(values: Figures) -> str:
    by_cost, by_latency = values["recommended_memory_mb"].values()
    x86 = {each["memory_mb"]: each for each in values["costs"] if each["architecture"] == "x86_64"}

    def said(size: int) -> str:
        total = sum(x86[size]["usd_per_million_in_tens"].values())
        return f"{total:.2f} $ a million, {x86[size]['one_image_ms']:.0f} ms an image"

    arm, default = values["processor_time_on_arm64"], values["default_memory_mb"]
    dearest = max(sum(each["usd_per_million_in_tens"].values()) for each in x86.values())
    return (
        f"By cost: {by_cost:,} MB ({said(by_cost)}). By latency: {by_latency:,} MB ({said(by_latency)}), the smallest "
        f"within a tenth of the fastest. The default of {default:,} MB: {said(default)}. Between the "
        f"cheapest and the dearest size lie "
        f"{dearest / sum(x86[by_cost]['usd_per_million_in_tens'].values()) - 1:.0%} of the whole cost: take the size "
        f"for its latency. arm64 pays when an image takes less than 1.25 times the processor time it takes on x86_64; "
        f"at the arithmetic peak of its cores it takes {arm:.1f} times as much."
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with its columns in line; what looks like a number is set to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    right = [all(row[column][:1].isdigit() for row in rows) for column in range(len(heads))]

    def line(cells: list[str]) -> str:
        padded = [cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(cells, widths, right, strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (width - 1) + ":" if r else "-" * width for width, r in zip(widths, right, strict=True)]
    return "\n".join([line(heads), line(rule), *(line(row) for row in rows)])
