"""What labelling one image takes: processor time, waiting and requests; from that, seconds and dollars.

A vCPU millisecond is one millisecond of one of the function's processors. Lambda gives one vCPU for each 1,769 MB
(Lambda developer guide, "Configure Lambda function memory"), so processor time costs the same at every memory size.
A larger function pays more for the time in which it waits.
"""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from ops import ROOT
from ops.capacity.prices import Prices
from ops.template import read_template

BENCH = ROOT / "build/bench/bench.json"

Architecture = Literal["x86_64", "arm64"]
ARCHITECTURES: tuple[Architecture, ...] = ("x86_64", "arm64")
MB_PER_VCPU = 1769
GB = 1024  # MB; Lambda bills binary gigabytes
TAGS = 3  # of ours on an object

EVERYTHING = frozenset({"tags", "row", "event"})
"""What a stack may write of each result: the template's parameter Write."""
# Of Image.wait_ms and Image.overhead_vcpu_ms, what writing each takes. Tags take two calls of S3: they are read, while
# the network runs, and written. The events of a batch are sent together.
_WAIT_SHARES = {"tags": 20 / 55, "row": 5 / 55, "event": 10 / 55}
_OVERHEAD_SHARES = {"tags": 4 / 10, "row": 2 / 10, "event": 0.5 / 10}
_SECOND_LOOK_WAIT, _SECOND_LOOK_CPU = 20.0, 2.0
"""Milliseconds of HeadObject after the tags, which a backfill takes, and a stack that writes tags without rows."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that the build makes."""

    name: str
    gmac: float
    """10^9 multiply-accumulates of its convolutions for one image."""
    vcpu_ms: float
    """Processor time of its INT8 form for one image, on an AMD EPYC (Zen 4, with VNNI)."""


NETWORKS = {
    384: Network("VGG16 made 3.5 times as fast behind a glance, the default", 4.9, 24.9),
    224: Network("VGG16", 15.3, 69.6),
    128: Network("VGG16", 5.0, 23.1),
}
"""By the side of the input in pixels. Measured in one run on an idle machine, two pictures at a time on two cores, as
the function does (docs/performance.md, "Size and network"). That of 384 pixels is a mean of 0.42 of the thorough
network's 58.7 ms and 11.6 G, as for pictures of its labels: the glance answers 76% of them. A picture of something else
takes both networks, 68.5 ms."""
DEFAULT_SIDE = 384

EFFICIENCY = 0.9
"""Share of the processors that a batch keeps busy after its waiting, which this model adds separately. Assumed.

`make bench` measures another share: the handler's rate over the rate of the network alone, 72% in batches of 10 with a
network of 72 ms (docs/performance.md). Longer batches show how busy the processors are: in an earlier version they
reached 81% (batches of 40) and 84% (of 100) of the 87% that would be reached without any waiting, so 96%. 0.9 is
cautious."""

# Neoverse N1 (Graviton2, Lambda's arm64): two SDOT instructions of 16 multiply-accumulates a cycle at 2.5 GHz (Arm
# Neoverse N1 software optimization guide; AWS, "Graviton2"). No kernel can be faster.
_ARM_GMAC_PER_SECOND = 2 * 16 * 2.5


@dataclass(frozen=True, slots=True)
class Image:
    """What one image takes. The source of each figure is beside it; the command line can replace each."""

    side: int = DEFAULT_SIDE
    """Of the network's input, in pixels."""
    gmac: float = NETWORKS[DEFAULT_SIDE].gmac
    """10^9 multiply-accumulates of the network; 0 if unknown, then nothing is calculated from it."""
    inference_vcpu_ms: float = NETWORKS[DEFAULT_SIDE].vcpu_ms
    """See NETWORKS."""
    decode_vcpu_ms: float = 1.5
    """Measured: 1.3 ms of processor time for a photograph of the demo set (21 KB); 14 ms for one of 12 megapixels."""
    overhead_vcpu_ms: float = 10.0
    """Measured: 8.2 to 8.4 ms of processor time in batches of 10, without TLS: five calls, the event loop, log line,
    metrics. The rest is for TLS, assumed."""
    wait_ms: float = 55.0
    """Assumed: first bytes of S3 (20 ms each to fetch and to tag; other tags are read while the network runs), DynamoDB
    (5 ms), EventBridge (10 ms)."""
    init_ms: float = 600.0
    """A cold start up to the first invocation, assumed: 320 ms were measured on two cores, with code and layers on the
    disk. Lambda has to fetch them."""
    efficiency: float = EFFICIENCY
    """See EFFICIENCY."""
    log_bytes: float = 651.0
    """Measured on `make demo`: 625 bytes a line, and CloudWatch's 26 bytes an entry."""
    invocation_log_bytes: float = 650.0
    """Metrics (250 bytes), Lambda's START, END and REPORT lines, 26 bytes for each entry."""
    row_kb: float = 0.7
    """A row as labeller.records makes it; up to 1 KB costs the same."""
    index_kb: float = 0.4
    """The row's entry in the index by label and day."""

    def vcpu_ms(self, architecture: Architecture) -> float:
        """Processor time of one image. arm64 is not measured: inference is taken at the chip's arithmetic peak, or as
        on x86_64 if that is slower."""
        return self._inference(architecture) + self.decode_vcpu_ms + self.overhead_vcpu_ms

    @property
    def look_ms(self) -> float:
        """Milliseconds to learn that an object has a current label: HeadObject (20 ms to the first byte), the row
        (5 ms), and 2 ms of processor time for each."""
        return 29.0

    def batch_ms(self, size: int, memory: int, architecture: Architecture) -> float:
        """Milliseconds that a warm function of `memory` MB takes for a batch of `size` images.

        One image runs on one processor: an image alone is labelled no faster by a function of several. In a batch the
        images share the processors, and one image waits while others are worked on.
        """
        vcpus = memory / MB_PER_VCPU
        alone = self.vcpu_ms(architecture) / min(1.0, vcpus)
        return self.wait_ms + max(alone, size * self.vcpu_ms(architecture) / (vcpus * self.efficiency))

    def writing(self, write: frozenset[str]) -> "Image":
        """The image in a stack that writes only `write` of each result."""
        left_out = EVERYTHING - write
        image = replace(
            self,
            wait_ms=self.wait_ms * (1 - sum(_WAIT_SHARES[name] for name in left_out)),
            overhead_vcpu_ms=self.overhead_vcpu_ms * (1 - sum(_OVERHEAD_SHARES[name] for name in left_out)),
        )
        return image.with_second_look() if "row" in left_out else image

    def with_second_look(self) -> "Image":
        """The image, if its object is looked at again after it was tagged."""
        return replace(
            self,
            wait_ms=self.wait_ms + _SECOND_LOOK_WAIT,
            overhead_vcpu_ms=self.overhead_vcpu_ms + _SECOND_LOOK_CPU,
        )

    def inference_share(self, size: int, memory: int) -> float:
        """Rate in batches of `size` on x86_64, as a share of the rate of the network alone on the same processors."""
        alone = size * self.inference_vcpu_ms / (memory / MB_PER_VCPU)
        return alone / self.batch_ms(size, memory, "x86_64")

    def _inference(self, architecture: Architecture) -> float:
        if architecture == "x86_64":
            return self.inference_vcpu_ms
        return max(self.gmac / _ARM_GMAC_PER_SECOND * 1000, self.inference_vcpu_ms)


def measured_image(given: dict[str, Any] | None = None, bench: Path | None = BENCH) -> Image:
    """The defaults, replaced by the `image` member of the file `bench` if it exists, replaced by `given`.

    Raises ValueError for an unknown member, and for a side at which inference was not measured.
    """
    given, measured = dict(given or {}), {}
    if bench is not None and bench.is_file():
        measured = json.loads(bench.read_text(encoding="utf-8")).get("image", {})
        if unknown := set(measured) - {field.name for field in fields(Image)}:
            raise ValueError(f"{bench}: image has unknown members {', '.join(sorted(unknown))}")
    side = given.get("side", measured.get("side", DEFAULT_SIDE))
    if measured.get("side") != side or "inference_vcpu_ms" not in measured:
        if side in NETWORKS:
            given = {"gmac": NETWORKS[side].gmac, "inference_vcpu_ms": NETWORKS[side].vcpu_ms} | given
        elif "inference_vcpu_ms" not in given:
            raise ValueError(f"inference at {side} pixels was not measured; give --inference-vcpu-ms")
    return replace(Image(gmac=0.0), **measured | given)


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars by what they pay for."""

    compute: float  # Lambda: GB-seconds and invocations
    s3: float  # GET, tagging; Batch Operations for a backfill
    queue: float
    table: float  # row and index entry
    events: float  # EventBridge
    logs: float  # CloudWatch and X-Ray

    @property
    def total(self) -> float:
        """The sum."""
        return sum(asdict(self).values())


def upload_cost(
    image: Image,
    prices: Prices,
    memory: int,
    architecture: Architecture,
    batch: int,
    write: frozenset[str] = EVERYTHING,
) -> Cost:
    """The cost of labelling a million uploads that come in batches of `batch`, in a stack that writes `write`."""
    images, invocations = 1e6, 1e6 / batch
    seconds = invocations * image.writing(write).batch_ms(batch, memory, architecture) / 1000
    cost = cost_of(image, prices, memory, architecture, images, invocations, seconds)
    # Of objects under new keys. One that replaces another takes two more calls, to see whether its tags are its own.
    # Without rows, which would show that, every object is looked at again.
    return replace(
        cost,
        s3=cost.s3 + prices.of("s3_get", 0 if "row" in write else images)
        if "tags" in write
        else prices.of("s3_get", images),
        table=cost.table if "row" in write else 0.0,
        events=cost.events if "event" in write else 0.0,
    )


def cost_of(
    image: Image,
    prices: Prices,
    memory: int,
    architecture: Architecture,
    images: float,
    invocations: float,
    seconds: float,
    index_writes: int = 1,
) -> Cost:
    """The cost of `images` uploads that took `invocations` of `seconds` together, initialisation included.

    Lambda has billed initialisation like the rest since August 2025.
    """
    return Cost(
        compute=prices.of(f"lambda_gb_second_{architecture}", seconds * memory / GB)
        + prices.of("lambda_request", invocations),
        # GetObject, GetObjectTagging; PutObjectTagging.
        s3=prices.of("s3_get", 2 * images) + prices.of("s3_put", images),
        queue=prices.of("sqs_request", images + 2 * invocations),  # sent one by one, received and deleted by batch
        table=prices.of("dynamodb_write", images * (1 + index_writes)),
        events=prices.of("eventbridge_event", images),
        logs=prices.of("logs_gb", (images * image.log_bytes + invocations * image.invocation_log_bytes) / 1e9)
        + prices.of("xray_trace", 0.05 * invocations),  # X-Ray's default rule: 5% of the invocations
    )


def backfill_cost(
    image: Image,
    prices: Prices,
    memory: int,
    architecture: Architecture,
    images: float,
    only_stale: bool = False,
    current: float = 0.0,
) -> Cost:
    """The cost of a job of S3 Batch Operations over `images` objects, one an invocation, without a queue.

    Each labelled object is taken to have a row, which is read, and whose index entry moves: a delete and a put. With
    `only_stale` every object takes a HEAD and a read of its row first, and the `current` ones nothing more.
    """
    stale = images - current
    seconds = stale * image.with_second_look().batch_ms(1, memory, architecture) / 1000
    cost = cost_of(image, prices, memory, architecture, stale, stale, seconds, index_writes=2)
    looks = images if only_stale else 0.0  # beforehand; each object that is labelled takes another one at the end
    return Cost(
        compute=cost.compute
        + prices.of(f"lambda_gb_second_{architecture}", looks * image.look_ms / 1000 * memory / GB)
        + prices.of("lambda_request", current),
        s3=cost.s3
        + prices.of("s3_get", looks + stale)
        + prices.of("s3_batch_job", 1)
        + prices.of("s3_batch_object", images)
        + prices.of("s3_batch_manifest_object", images),
        queue=0.0,
        table=cost.table + prices.of("dynamodb_read", stale + looks),
        events=cost.events,
        logs=cost.logs + prices.of("logs_gb", current * (image.log_bytes + image.invocation_log_bytes) / 1e9),
    )


def kept_cost(image: Image, prices: Prices, write: frozenset[str] = EVERYTHING) -> float:
    """Dollars a month for keeping the tags, rows and index entries of a million objects."""
    gigabytes = image.row_kb + image.index_kb
    return ("tags" in write) * prices.of("s3_tag_month", 1e6 * TAGS) + ("row" in write) * prices.of(
        "dynamodb_gb_month", gigabytes
    )


def memory_sizes() -> list[int]:
    """The sizes that the template allows, in MB."""
    return [int(size) for size in read_template()["Parameters"]["MemorySize"]["AllowedValues"]]
