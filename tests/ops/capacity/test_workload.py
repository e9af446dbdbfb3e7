from __future__ import annotations

import json

import numpy as np
import pytest

from ops.capacity.prices import FILE, Prices, load_prices
from ops.capacity.workload import ARCHITECTURES, Image, backfill_cost, kept_cost, memory_sizes, upload_cost

PLAIN = Image(
    inference_vcpu_ms=80,
    decode_vcpu_ms=10,
    overhead_vcpu_ms=10,
    wait_ms=50,
    efficiency=1.0,
    log_bytes=1000,
    invocation_log_bytes=1000,
)


def prices(**given: float) -> Prices:
    names = json.loads(FILE.read_text())["prices"]
    return Prices("nowhere", "2026-01-01", "", {name: given.get(name, 0.0) for name in names})


def test_one_vcpu_takes_processor_time_plus_waiting() -> None:
    assert PLAIN.batch_ms(1, 1769, "x86_64") == pytest.approx(50 + 100)


def test_an_image_alone_runs_on_one_of_two_vcpus() -> None:
    assert PLAIN.batch_ms(1, 2 * 1769, "x86_64") == pytest.approx(50 + 100)


def test_a_batch_keeps_all_vcpus_busy_and_waits_once() -> None:
    assert PLAIN.batch_ms(10, 2 * 1769, "x86_64") == pytest.approx(50 + 10 * 100 / 2)


def test_waiting_and_other_work_lower_the_share_of_bare_inference() -> None:
    # 10 x 80 ms on two vCPUs alone, and 50 ms of waiting and 10 x 100 ms on two vCPUs.
    assert PLAIN.inference_share(10, 2 * 1769) == pytest.approx(400 / 550)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_more_memory_is_never_slower_and_more_images_never_faster(architecture: str) -> None:
    times = [[Image().batch_ms(n, size, architecture) for n in range(1, 11)] for size in memory_sizes()]  # type: ignore[arg-type]
    assert (np.diff(times, axis=0) <= 0).all()
    assert (np.diff(times, axis=1) >= 0).all()


def test_arm64_is_bounded_by_its_arithmetic() -> None:
    # 4.9 billion multiply-accumulates at 80 billion a second: 61.25 ms.
    assert Image().vcpu_ms("arm64") - Image().vcpu_ms("x86_64") == pytest.approx(61.25 - 24.9)


@pytest.mark.parametrize("gmac", [1.0, 0.0])
def test_arm64_is_never_taken_to_be_faster_than_x86_64(gmac: float) -> None:
    image = Image(gmac=gmac)  # 12.5 ms at the arithmetic peak; unknown
    assert image.vcpu_ms("arm64") == image.vcpu_ms("x86_64")


@pytest.mark.parametrize(
    ("name", "price", "dollars"),
    [
        ("lambda_gb_second_x86_64", 1.0, 1e5 * 1.05 * 1769 / 1024),  # 100,000 batches of 1.05 s
        ("lambda_request", 1.0, 1e5),
        ("s3_get", 1.0, 2e6),  # GetObject and GetObjectTagging
        ("s3_put", 1.0, 1e6),  # PutObjectTagging
        ("sqs_request", 1.0, 1e6 + 2e5),  # sent singly; received and deleted in tens
        ("dynamodb_write", 1.0, 2e6),  # row and index
        ("eventbridge_event", 1.0, 1e6),
        ("logs_gb", 1.0, 1.1),  # 1,000 bytes an image and as much a batch
        ("xray_trace", 1.0, 5e3),  # 5 % of the batches
    ],
)
def test_a_million_uploads_in_tens_pay_for(name: str, price: float, dollars: float) -> None:
    assert upload_cost(PLAIN, prices(**{name: price}), 1769, "x86_64", 10).total == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("write", "dollars"),
    [
        ("tags,row,event", 2.0 + 1.0 + 2.0 + 1.0),
        ("tags", 3.0 + 1.0),  # without a row the object is looked at again
        ("row,event", 1.0 + 2.0 + 1.0),
        ("row", 1.0 + 2.0),
    ],
)
def test_what_is_not_written_is_not_paid_for(write: str, dollars: float) -> None:
    # A dollar a million: GetObject and, with tags, GetObjectTagging, PutObjectTagging; row, index; event.
    each = prices(**dict.fromkeys(("s3_get", "s3_put", "dynamodb_write", "eventbridge_event"), 1e-6))
    assert upload_cost(PLAIN, each, 1769, "x86_64", 10, frozenset(write.split(","))).total == pytest.approx(dollars)


def test_what_is_not_written_is_not_waited_for() -> None:
    # Of 55 ms a call of S3 (20 ms) and EventBridge (10 ms) are left out, of 10 ms two calls of 2 ms and a part of one.
    only_row = Image(wait_ms=55, overhead_vcpu_ms=10).writing(frozenset({"row"}))
    assert (only_row.wait_ms, only_row.overhead_vcpu_ms) == (pytest.approx(25), pytest.approx(5.5))
    # The row's 5 ms and 2 ms, and the event's 10 ms and 0.5 ms, and instead another look, of 20 ms and 2 ms.
    only_tags = Image(wait_ms=55, overhead_vcpu_ms=10).writing(frozenset({"tags"}))
    assert (only_tags.wait_ms, only_tags.overhead_vcpu_ms) == (pytest.approx(60), pytest.approx(9.5))


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("s3_batch_job", 1),
        ("s3_batch_object", 1e6),
        ("s3_batch_manifest_object", 1e6),
        ("s3_get", 3 * 0.25e6 + 1e6),  # a HEAD for each, and three more for the quarter that is labelled
        ("s3_put", 0.25e6),
        ("sqs_request", 0),
        ("dynamodb_read", 1e6 + 0.25e6),
        ("dynamodb_write", 3 * 0.25e6),  # row; index entry deleted and put
        ("lambda_request", 1e6),
    ],
)
def test_a_backfill_of_a_million_of_which_three_quarters_are_current_pays_for(name: str, dollars: float) -> None:
    cost = backfill_cost(PLAIN, prices(**{name: 1.0}), 1769, "x86_64", 1e6, only_stale=True, current=0.75e6)
    assert cost.total == pytest.approx(dollars)


def test_three_tags_and_a_row_are_kept_for_an_object() -> None:
    assert kept_cost(PLAIN, prices(s3_tag_month=1.0)) == 3e6
    assert kept_cost(PLAIN, prices(s3_tag_month=1.0), frozenset({"row"})) == 0
    assert kept_cost(PLAIN, prices(dynamodb_gb_month=1.0), frozenset({"tags"})) == 0
    assert kept_cost(Image(row_kb=0.7, index_kb=0.3), prices(dynamodb_gb_month=1.0)) == pytest.approx(1)


def test_every_price_has_a_unit_and_a_source() -> None:
    content = json.loads(FILE.read_text())
    assert content["region"]
    assert content["looked_up"].count("-") == 2
    assert "Check them" in content["check"]
    for name, entry in content["prices"].items():
        assert entry["price"] > 0, name
        assert entry["per"] >= 1, name
        assert entry["unit"], name
        assert entry["source"], name


def test_every_price_is_used() -> None:
    loaded = load_prices().unit_prices
    both = [upload_cost, lambda *a: backfill_cost(*a, 1e6, 1e5), lambda *a: kept_cost(a[0], a[1])]
    for name in loaded:
        used = [
            part(PLAIN, prices(**{name: 1.0}), 1769, architecture, *([10] if part is upload_cost else []))
            for part in both
            for architecture in ARCHITECTURES
        ]
        assert any((cost if isinstance(cost, float) else cost.total) > 0 for cost in used), name
