"""All figures of `python -m ops.capacity`: cost by memory size, the queue at several rates, AWS's limits."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from labeller.records import INDEX_SHARDS
from ops.capacity import queueing
from ops.capacity.prices import Prices
from ops.capacity.queueing import Scaling, Times
from ops.capacity.workload import (
    ARCHITECTURES,
    NETWORKS,
    TAGS,
    Image,
    cost_of,
    kept_cost,
    memory_sizes,
    upload_cost,
)
from ops.template import read_template

BATCH = 10  # messages an invocation takes at most; BatchSize of the template's UploadsToClassify
RATES = (10, 1_000, 10_000)  # uploads a second
DEFAULT_MEMORY = 3008  # MB; the template's
TWO_VCPUS = 3538  # MB; the measurements are of two vCPUs
SEED = 6


@dataclass(frozen=True, slots=True)
class Scenario:
    """Arrivals, and the MaximumConcurrency of the queue."""

    name: str
    arrivals: Callable[[], Times]
    concurrency: int


@dataclass(frozen=True, slots=True)
class Limit:
    """A default limit of AWS, and what one upload a second takes of it."""

    name: str
    allowed: int
    per_upload: float
    source: str


def figures(image: Image, prices: Prices, memory: int) -> dict[str, Any]:
    """The content of the tables, as numbers; `memory` is that of the function, in MB."""
    return {
        "inputs": asdict(image),
        "memory_mb": memory,
        "default_memory_mb": DEFAULT_MEMORY,
        "rates": RATES,
        "tags": TAGS,
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
        "networks": [
            {
                "side": side,
                "name": network.name,
                "vcpu_ms": network.vcpu_ms,
                "usd_per_million_in_tens": upload_cost(of_network, prices, memory, "x86_64", BATCH).total,
                "usd_per_million_one_by_one": upload_cost(of_network, prices, memory, "x86_64", 1).total,
            }
            for side, network in NETWORKS.items()
            for of_network in [replace(image, side=side, gmac=network.gmac, inference_vcpu_ms=network.vcpu_ms)]
        ],
        "writes": [
            {
                "write": write,
                "batch_of_10_ms": image.writing(names).batch_ms(BATCH, memory, "x86_64"),
                "usd_per_million_in_tens": upload_cost(image, prices, memory, "x86_64", BATCH, names).total,
                "usd_per_million_one_by_one": upload_cost(image, prices, memory, "x86_64", 1, names).total,
                "usd_per_million_kept_a_month": kept_cost(image, prices, names),
            }
            for write in read_template()["Parameters"]["Write"]["AllowedValues"]
            for names in [frozenset(write.split(","))]
        ],
        "usd_per_million_kept_a_month": kept_cost(image, prices),
        "queue": [_simulated(scenario, image, prices, memory) for scenario in scenarios(image, memory)],
        "limits": [
            {"limit": limit.name, "allowed": limit.allowed, "source": limit.source}
            | {str(rate): limit.per_upload * rate for rate in RATES}
            for limit in limits(image, memory)
        ],
        "recommended_memory_mb": dict(zip(("by_cost", "by_latency"), recommended_sizes(image, prices), strict=True)),
    }


def recommended_sizes(image: Image, prices: Prices) -> tuple[int, int]:
    """Memory on x86_64: the cheapest size, and the smallest whose latency is within 10% of the largest's."""
    sizes = memory_sizes()
    cheapest = min(sizes, key=lambda size: upload_cost(image, prices, size, "x86_64", BATCH).total)
    latencies = {size: image.batch_ms(1, size, "x86_64") for size in sizes}
    return cheapest, next(size for size in sizes if latencies[size] <= 1.1 * min(latencies.values()))


def needed_concurrency(image: Image, memory: int, rate: float) -> float:
    """Invocations at once that `rate` uploads a second keep busy, in full batches (Little's law)."""
    return rate * image.batch_ms(BATCH, memory, "x86_64") / BATCH / 1000


def scenarios(image: Image, memory: int) -> list[Scenario]:
    """What is simulated: steady rates with a tight and a wide MaximumConcurrency, a day, a burst."""
    steady = [
        Scenario(f"{rate:,} a second", lambda rate=rate: queueing.constant(rate, 180, SEED), concurrency)  # type: ignore[misc]
        for rate in RATES
        for concurrency in _concurrencies(image, memory, rate)
    ]
    day = [Scenario("a day, 2 a second on average", lambda: queueing.daily(2, SEED), most) for most in (2, 10)]
    bursts = [
        Scenario("1 a second and 10,000 at once", lambda: queueing.burst(1, 10_000, 60, 600, SEED), most)
        for most in (10, 100)
    ]
    return [*steady, *day, *bursts]


def limits(image: Image, memory: int) -> list[Limit]:
    """What AWS allows by default, and what one upload a second takes of it."""
    at_once = needed_concurrency(image, memory, 1)
    return [
        Limit("invocations at once (account; one queue)", 1000, at_once, "Lambda quotas; MaximumConcurrency"),
        Limit("invocations a second (10 x concurrency)", 10_000, 1 / BATCH, "Lambda, understanding concurrency"),
        Limit("S3 PUT and tagging a second and prefix", 3500, 1, "S3, optimizing performance"),
        Limit("S3 GET and HEAD a second and prefix", 5500, 3, "S3, optimizing performance"),
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


def _concurrencies(image: Image, memory: int, rate: float) -> tuple[int, ...]:
    """25% more than full batches need; and 50% more than single images need, at least the default of ten."""
    tight = max(2, ceil(1.25 * needed_concurrency(image, memory, rate)))
    wide = max(10, ceil(1.5 * rate * image.batch_ms(1, memory, "x86_64") / 1000))
    return (tight, wide) if wide <= 1000 else (min(tight, 1000),)  # MaximumConcurrency is 1,000 at most


def _simulated(scenario: Scenario, image: Image, prices: Prices, memory: int) -> dict[str, Any]:
    """One run of the queue, and what a million images cost at its batches, waiting and cold starts."""
    run = queueing.simulate(
        scenario.arrivals(),
        lambda images: image.batch_ms(images, memory, "x86_64") / 1000,
        Scaling(scenario.concurrency),
        BATCH,
        image.init_ms / 1000,
    )
    images = len(run.arrived)
    cost = cost_of(image, prices, memory, "x86_64", images, run.invocations, run.busy_seconds)
    p50, p99 = np.percentile(run.age, [50, 99])
    return {
        "arrivals": scenario.name,
        "maximum_concurrency": scenario.concurrency,
        "most_at_once": run.most_at_once,
        "images_per_invocation": images / run.invocations,
        "age_p50": float(p50),
        "age_p99": float(p99),
        "age_last": float(run.age[-1]),
        "longest_queue": run.longest_queue(),
        "cold_starts": run.cold_starts,
        "usd_per_million": cost.total / images * 1e6,
    }
