"""How many, how fast, how much: `python -m ops.capacity [--json] [--defaults] [--write docs/scale.md]`.

Prints what labelling costs at each memory size and on each architecture, how the queue behaves at 10, 1,000 and
10,000 uploads a second, over a day and in a burst, and how far AWS's limits are. Every figure follows from
prices.json, workload.Image and queueing, here in ops/capacity; the options replace what was measured or assumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from labeller.records import INDEX_SHARDS
from ops import ROOT
from ops.capacity import queueing
from ops.capacity.prices import Prices, load_prices
from ops.capacity.queueing import Run, Scaling, Times
from ops.capacity.tables import sections, write_into
from ops.capacity.workload import ARCHITECTURES, INFERENCE_VCPU_MS, Image, cost_of, kept_cost, memory_sizes, upload_cost

BENCH = ROOT / "build/bench/bench.json"
BATCH = 10  # messages an invocation takes at most; the template's BatchSize
RATES = (10, 1_000, 10_000)  # uploads a second
DEFAULT_MEMORY = 3008  # the template's
TWO_VCPUS = 3538  # MB; what was measured had two
SEED = 6


@dataclass(frozen=True, slots=True)
class Scenario:
    """Arrivals, and how many invocations may take them at once."""

    name: str
    arrivals: Callable[[], Times]
    most: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of AWS's, and what one upload a second takes of it."""

    name: str
    allowed: int
    per_upload: float
    source: str


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or JSON, or write them between their marks in a page."""
    options = _parse(arguments)
    try:
        image = _image(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(figures(image, load_prices(), options.memory), indent=2))
        return 0
    printed = sections(figures(image, load_prices(), options.memory))
    if options.write:
        try:
            write_into(options.write, printed)
        except (ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        print(f"{options.write}: {len(printed)} tables written")
        return 0
    print("\n\n".join(printed.values()))
    return 0


def figures(image: Image, prices: Prices, memory: int) -> dict[str, Any]:
    """All that the tables say, as numbers."""
    small = replace(image, side=128, inference_vcpu_ms=INFERENCE_VCPU_MS[128])
    return {
        "inputs": asdict(image),
        "memory_mb": memory,
        "default_memory_mb": DEFAULT_MEMORY,
        "rates": RATES,
        "share_of_bare_inference": image.inference_share(BATCH, TWO_VCPUS),
        "processor_time_on_arm64": image.vcpu_ms("arm64") / image.vcpu_ms("x86_64"),
        "prices": {"region": prices.region, "looked_up": prices.looked_up, "check": prices.check},
        "costs": [
            {
                "architecture": architecture,
                "memory_mb": size,
                "one_image_ms": image.batch_ms(1, size, architecture),
                "batch_of_10_ms": image.batch_ms(BATCH, size, architecture),
                "usd_per_million_in_tens": asdict(upload_cost(image, prices, size, architecture, BATCH)),
                "usd_per_million_one_by_one": asdict(upload_cost(image, prices, size, architecture, 1)),
            }
            for architecture in ARCHITECTURES
            for size in memory_sizes()
        ],
        "parts": asdict(upload_cost(image, prices, memory, "x86_64", BATCH)),
        "usd_per_million_at_128_pixels": upload_cost(small, prices, memory, "x86_64", BATCH).total,
        "usd_per_million_kept_a_month": kept_cost(image, prices),
        "queue": [_played(each, image, prices, memory) for each in scenarios(image, memory)],
        "limits": [
            {"limit": each.name, "allowed": each.allowed, "source": each.source}
            | {str(rate): each.per_upload * rate for rate in RATES}
            for each in limits(image, memory)
        ],
        "recommended_memory_mb": dict(zip(("by_cost", "by_latency"), recommended(image, prices), strict=True)),
    }


def recommended(image: Image, prices: Prices) -> tuple[int, int]:
    """Memory on x86_64: the cheapest size, and the smallest whose latency is within a tenth of the largest's."""
    sizes = memory_sizes()
    cheapest = min(sizes, key=lambda size: upload_cost(image, prices, size, "x86_64", BATCH).total)
    best = min(image.batch_ms(1, size, "x86_64") for size in sizes)
    return cheapest, next(size for size in sizes if image.batch_ms(1, size, "x86_64") <= 1.1 * best)


def needed(image: Image, memory: int, rate: float) -> float:
    """Invocations at once that `rate` uploads a second keep busy, in full batches (Little's law)."""
    return rate * image.batch_ms(BATCH, memory, "x86_64") / BATCH / 1000


def scenarios(image: Image, memory: int) -> list[Scenario]:
    """What is simulated: steady rates with a tight and a wide MaximumConcurrency, a day, a burst."""
    steady = [
        Scenario(f"{rate:,} a second", lambda rate=rate: queueing.constant(rate, 180, SEED), most)  # type: ignore[misc]
        for rate in RATES
        for most in _widths(image, memory, rate)
    ]
    day = [Scenario("a day, 2 a second on average", lambda: queueing.daily(2, SEED), most) for most in (2, 10)]
    bursts = [
        Scenario("1 a second and 10,000 at once", lambda: queueing.burst(1, 10_000, 60, 600, SEED), most)
        for most in (10, 100)
    ]
    return [*steady, *day, *bursts]


def limits(image: Image, memory: int) -> list[Limit]:
    """What AWS allows by default, and what one upload a second takes of it."""
    at_once = needed(image, memory, 1)
    return [
        Limit("invocations at once (account; one queue)", 1000, at_once, "Lambda quotas; MaximumConcurrency"),
        Limit("invocations a second (10 x concurrency)", 10_000, 1 / BATCH, "Lambda, understanding concurrency"),
        Limit("S3 PUT and tagging a second and prefix", 3500, 1, "S3, optimizing performance"),
        Limit("S3 GET and HEAD a second and prefix", 5500, 2, "S3, optimizing performance"),
        Limit("SQS messages in flight", 120_000, at_once * BATCH, "SQS quotas, standard queues"),
        Limit("DynamoDB writes a second, new table", 4000, 1, "DynamoDB, on-demand capacity mode"),
        Limit("DynamoDB writes a second, table's quota", 40_000, 1, "DynamoDB quotas"),
        Limit(
            f"index writes a second and shard, of {INDEX_SHARDS}, all one label", 1000, 1 / INDEX_SHARDS, "DynamoDB, "
            "write sharding",
        ),
        Limit("EventBridge PutEvents a second, us-east-1", 10_000, 1 / BATCH, "EventBridge quotas"),
        Limit("EventBridge PutEvents a second, smallest regions", 600, 1 / BATCH, "EventBridge quotas"),
    ]  # fmt: skip


# ---- figures ----------------------------------------------------------------------------------------------


def _played(scenario: Scenario, image: Image, prices: Prices, memory: int) -> dict[str, Any]:
    run = queueing.simulate(
        scenario.arrivals(),
        lambda images: image.batch_ms(images, memory, "x86_64") / 1000,
        Scaling(scenario.most),
        BATCH,
        image.init_ms / 1000,
    )
    p50, p99 = np.percentile(run.age, [50, 99])
    return {
        "arrivals": scenario.name,
        "maximum_concurrency": scenario.most,
        "most_at_once": run.most_at_once,
        "images_per_invocation": len(run.arrived) / run.invocations,
        "age_p50": float(p50),
        "age_p99": float(p99),
        "age_last": float(run.age[-1]),
        "longest_queue": run.longest_queue(),
        "cold_starts": run.cold_starts,
        "usd_per_million": _dollars(run, image, prices, memory),
    }


def _dollars(run: Run, image: Image, prices: Prices, memory: int) -> float:
    """What a million images cost at this run's batches, waiting and cold starts."""
    images = len(run.arrived)
    cost = cost_of(image, prices, memory, "x86_64", images, run.invocations, run.busy_seconds)
    return cost.total / images * 1e6


def _widths(image: Image, memory: int, rate: float) -> tuple[int, ...]:
    """A quarter more than full batches need; and half more than single images need, at least the default of ten."""
    tight = max(2, ceil(1.25 * needed(image, memory, rate)))
    wide = max(10, ceil(1.5 * rate * image.batch_ms(1, memory, "x86_64") / 1000))
    return (tight, wide) if wide <= 1000 else (min(tight, 1000),)  # the most that one queue may have


# ---- command line -----------------------------------------------------------------------------------------


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ops.capacity", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="figures instead of tables")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between their marks in PAGE")
    parser.add_argument("--memory", type=int, choices=memory_sizes(), default=DEFAULT_MEMORY, help="MB, for the queue")
    parser.add_argument(
        "--bench", type=Path, help=f"measurements of this machine [{BENCH.relative_to(ROOT)}, if there]"
    )
    parser.add_argument("--defaults", action="store_true", help="take no measurements but those in the source")
    for field in fields(Image):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=None)
    return parser.parse_args(arguments)


def _image(options: argparse.Namespace) -> Image:
    given = {f.name: getattr(options, f.name) for f in fields(Image) if getattr(options, f.name) is not None}
    if options.defaults:
        return measured_image(given, None)
    if options.bench is not None and not options.bench.is_file():
        raise FileNotFoundError(
            f"there are no measurements {options.bench}: `make bench` makes {BENCH.relative_to(ROOT)}"
        )
    return measured_image(given, options.bench or BENCH)


def measured_image(given: dict[str, Any] | None = None, bench: Path | None = BENCH) -> Image:
    """Defaults, then the bench's `image` member if there is one, then what is given. ValueError for what is unknown."""
    given, measured = dict(given or {}), {}
    if bench is not None and bench.is_file():
        measured = json.loads(bench.read_text(encoding="utf-8")).get("image", {})
        unknown = set(measured) - {field.name for field in fields(Image)}
        if unknown:
            raise ValueError(f"{bench}: image has unknown members {', '.join(sorted(unknown))}")
    side = given.get("side", measured.get("side", Image().side))
    if "inference_vcpu_ms" not in given and (measured.get("side") != side or "inference_vcpu_ms" not in measured):
        if side not in INFERENCE_VCPU_MS:
            raise ValueError(f"inference at {side} pixels was not measured; give --inference-vcpu-ms")
        given["inference_vcpu_ms"] = INFERENCE_VCPU_MS[side]
    return replace(Image(), **measured | given)


if __name__ == "__main__":
    sys.exit(main())
