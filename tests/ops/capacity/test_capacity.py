from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from local import ROOT
from ops.capacity import __main__ as capacity
from ops.capacity import figures
from ops.capacity.prices import load_prices
from ops.capacity.tables import render_sections, write_into
from ops.capacity.workload import Image, memory_sizes
from tests.support import load_template

PAGE = ROOT / "docs/scale.md"


@pytest.fixture(scope="module")
def sections() -> dict[str, str]:
    return render_sections(figures.figures(Image(), load_prices(), figures.DEFAULT_MEMORY))


def between(page: str, name: str) -> str:
    return page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0]


def test_the_page_has_the_tables_that_the_command_prints(sections: dict[str, str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    written = {name: between(page, name) for name in sections}
    assert written == sections, "run `python -m ops.capacity --defaults --write docs/scale.md`"


def test_the_defaults_are_the_templates() -> None:
    template = load_template()
    assert template["Parameters"]["MemorySize"]["Default"] == str(figures.DEFAULT_MEMORY)
    assert template["Resources"]["UploadsToClassify"]["Properties"]["BatchSize"] == figures.BATCH


def test_a_thousand_a_second_need_the_invocations_of_littles_law() -> None:
    image = Image(inference_vcpu_ms=100, decode_vcpu_ms=0, overhead_vcpu_ms=0, wait_ms=0, efficiency=1)
    assert figures.needed_concurrency(image, 1769, 1000) == pytest.approx(100)


def test_recommended_are_the_cheapest_size_and_the_smallest_within_ten_percent_of_the_fastest() -> None:
    by_cost, by_latency = figures.recommended_sizes(Image(), load_prices())
    assert by_cost == 1769  # what is waited for costs least there; processor time costs the same everywhere
    times = {size: Image().batch_ms(1, size, "x86_64") for size in memory_sizes()}
    assert times[by_latency] <= 1.1 * times[10240]
    assert all(time > 1.1 * times[10240] for size, time in times.items() if size < by_latency)


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(figures, "scenarios", lambda *_: [])
    status = capacity.main(list(arguments))
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_json_has_the_same_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, printed = command(capsys, monkeypatch, "--json", "--defaults", "--wait-ms", "0")
    values: dict[str, Any] = json.loads(printed)
    assert status == 0
    assert values["inputs"]["wait_ms"] == 0
    assert len(values["costs"]) == 2 * len(memory_sizes())
    assert values["prices"]["looked_up"] == load_prices().looked_up


def test_the_bench_replaces_defaults_and_the_command_line_replaces_both(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = tmp_path / "bench.json"
    bench.write_text(json.dumps({"image": {"side": 224, "inference_vcpu_ms": 50, "decode_vcpu_ms": 3}}))
    _, printed = command(capsys, monkeypatch, "--json", "--bench", str(bench), "--decode-vcpu-ms", "9")
    inputs = json.loads(printed)["inputs"]
    assert (inputs["inference_vcpu_ms"], inputs["decode_vcpu_ms"]) == (50, 9)
    assert inputs["gmac"] == 0, "the network that was measured may be a smaller one"
    _, printed = command(capsys, monkeypatch, "--json", "--bench", str(bench), "--defaults")
    assert json.loads(printed)["inputs"] == json.loads(json.dumps(asdict(Image())))


def test_a_side_stands_for_the_network_that_was_measured_at_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, printed = command(capsys, monkeypatch, "--json", "--defaults", "--side", "128")
    inputs = json.loads(printed)["inputs"]
    assert (inputs["side"], inputs["gmac"], inputs["inference_vcpu_ms"]) == (128, 5.0, 23.1)


def test_an_input_that_was_not_measured_needs_its_figure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status, printed = command(capsys, monkeypatch, "--defaults", "--side", "160")
    assert status == 2
    assert "give --inference-vcpu-ms" in printed
    status, _ = command(capsys, monkeypatch, "--defaults", "--side", "160", "--inference-vcpu-ms", "40")
    assert status == 0


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- one -->\nold\n<!-- /one -->\n")
    with pytest.raises(ValueError, match="has no <!-- two -->"):
        write_into(page, {"one": "new", "two": "new"})
    assert "old" in page.read_text()
    write_into(page, {"one": "new"})
    assert page.read_text() == "<!-- one -->\nnew\n<!-- /one -->\n"
