import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image

from labeller.images import Reason, decode
from model_build import features
from model_build.config import BuildConfig
from model_build.data import shifts
from model_build.data.dataset import DataError, Example
from model_build.features import Features, extract, joined, rows_of, window_means
from tests.model_build.examples import example_of

SIZE = 8


def column_sums(path: Path, gain: float = 1.0) -> Path:
    """A graph with known output: `gain` x the red sum of each column, float32 [N, 1, 8, 1]."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Slice", ["floats", "zero", "one", "channel"], ["red"]),
            helper.make_node("ReduceSum", ["red", "rows"], ["sums"], keepdims=1),
            helper.make_node("Mul", ["sums", "gain"], ["features"]),
        ],
        "columns",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 1, SIZE, 1])],
        [
            onnx.numpy_helper.from_array(np.array(values, dtype), name)
            for name, values, dtype in (
                ("zero", [0], np.int64),
                ("one", [1], np.int64),
                ("channel", [3], np.int64),
                ("rows", [1], np.int64),
                ("gain", gain, np.float32),
            )
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> BuildConfig:
    return BuildConfig(tmp_path / "data", image_size=SIZE, cache=tmp_path / "cache", inference_batch=4)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return column_sums(tmp_path / "graph.onnx")


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Ten pictures with different bright columns, so that no two have the same output."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(10):
        pixels = np.full((SIZE, SIZE, 3), index, np.uint8)
        pixels[:, index % SIZE] = 200 + index
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [example_of(path, index % 2) for index, path in enumerate(sorted(folder.iterdir()))]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Returns the number of pictures decoded since its last call."""
    seen: list[Example] = []
    read = features.PictureReader._read

    def counted(reader: features.PictureReader, example: Example) -> np.ndarray:
        seen.append(example)
        return read(reader, example)

    monkeypatch.setattr(features.PictureReader, "_read", counted)

    def count() -> int:
        number = len(seen)
        seen.clear()
        return number

    return count


def expected(examples: list[Example], gain: float = 1.0) -> np.ndarray:
    pixels = np.stack([decode(e.path.read_bytes(), (SIZE, SIZE), 10**6).pixels for e in examples])
    sums = gain * pixels[..., 0].astype(np.float32).sum(axis=1)
    return np.stack([sums.mean(axis=1), sums.max(axis=1)], axis=1)[..., np.newaxis]


def test_features_are_mean_and_maximum_of_the_graphs_output(config, graph, examples) -> None:
    features = extract(graph, examples, config)
    assert features.examples == tuple(examples)
    np.testing.assert_array_equal(features.labels, [0, 1] * 5)
    np.testing.assert_array_equal(features.values, expected(examples))
    assert features.values.dtype == np.float32


def test_windows_are_the_means_of_the_corners_and_the_centre_each_half_as_high_and_wide() -> None:
    maps = np.arange(42, dtype=np.float32).reshape(1, 6, 7, 1)  # 0 to 6 / 7 to 13 / ... / 35 to 41

    # Three rows and four columns each. The centre is the rows and the columns from 1.5, rounded down.
    np.testing.assert_allclose(window_means(maps)[0, :, 0], [8.5, 11.5, 29.5, 32.5, 16.5], rtol=1e-6)


def test_maps_of_few_places_have_the_whole_picture_for_windows() -> None:
    np.testing.assert_allclose(window_means(np.arange(25.0).reshape(1, 5, 5, 1)), np.full((1, 5, 1), 12), rtol=1e-6)
    assert window_means(np.full((2, 1, 1, 3), 7, np.float32)).tolist() == np.full((2, 5, 3), 7).tolist()


def test_windows_are_kept_beside_the_features(config, graph, examples) -> None:
    features, again = extract(graph, examples, config), extract(graph, examples, config)

    red = np.stack([decode(e.path.read_bytes(), (SIZE, SIZE), 10**6).pixels for e in examples])[..., 0]
    whole = red.astype(np.float32).sum(axis=1).mean(axis=1)  # a map of one row
    np.testing.assert_allclose(features.windows[:, :, 0], np.repeat(whole[:, None], 5, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(again.windows, features.windows)


def test_parts_of_features_have_their_windows_and_can_be_joined_again(config, graph, examples) -> None:
    features, first = extract(graph, examples, config), np.arange(10) < 4

    whole = joined(rows_of(features, first), rows_of(features, ~first))

    assert whole.examples == features.examples
    for name in ("values", "labels", "windows"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(features, name))
    without = Features(features.examples, features.values, features.labels)
    assert joined(features, without).windows is None
    assert rows_of(without, first).windows is None


def test_a_second_extraction_computes_nothing_and_gives_the_same(config, graph, examples, computed) -> None:
    first = extract(graph, examples, config)
    assert computed() == 10
    again = extract(graph, examples, config)
    assert computed() == 0
    np.testing.assert_array_equal(again.values, first.values)
    assert again.examples == first.examples


def test_only_a_changed_picture_is_computed_again(config, graph, examples, computed) -> None:
    extract(graph, examples, config)
    computed()
    Image.new("RGB", (SIZE, SIZE), (9, 0, 0)).save(examples[3].path)
    examples[3] = example_of(examples[3].path, examples[3].label)
    features = extract(graph, examples, config)
    assert computed() == 1
    np.testing.assert_array_equal(features.values, expected(examples))


def test_a_moved_and_renamed_data_set_computes_nothing(config, graph, examples, computed, tmp_path: Path) -> None:
    first = extract(graph, examples, config)
    computed()
    moved = [
        example_of(Path(shutil.copy(example.path, tmp_path / f"moved {index}.png")), example.label)
        for index, example in enumerate(reversed(examples))
    ]
    features = extract(graph, moved, config)
    assert computed() == 0
    np.testing.assert_array_equal(features.values, first.values[::-1])


def test_another_graph_has_features_of_its_own(config, graph, examples, tmp_path: Path) -> None:
    extract(graph, examples, config)
    features = extract(column_sums(tmp_path / "other.onnx", gain=2), examples, config)
    np.testing.assert_array_equal(features.values, expected(examples, gain=2))


def test_unreadable_pictures_are_left_out_and_cached_with_the_reason(config, graph, examples, computed) -> None:
    examples[2].path.write_bytes(b"no picture")
    examples[2] = example_of(examples[2].path, 0)
    for round_ in ("computed", "from the cache"):
        features = extract(graph, examples, config)
        assert computed() == (10 if round_ == "computed" else 0)
        assert [(e, reason.reason) for e, reason in features.unreadable.items()] == [(examples[2], Reason.NOT_AN_IMAGE)]
        assert examples[2] not in features.examples
        np.testing.assert_array_equal(features.values, expected([e for e in examples if e != examples[2]]))


def test_another_way_to_change_copies_makes_the_copies_stale_and_not_the_pictures(
    config, graph, examples, computed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> list[int]:
        counts = []
        for changed in (None, shifts.CHANGES):
            extract(graph, examples, config, changed)
            counts.append(computed())
        return counts

    assert both() == [10, 10]
    (tmp_path / "edited.py").write_bytes(Path(shifts.__file__).read_bytes() + b"# edited\n")
    monkeypatch.setattr(shifts, "__file__", str(tmp_path / "edited.py"))
    assert both() == [0, 10]


def spoilt(examples: Sequence[Example]) -> list[Example]:
    for example in examples:
        example.path.write_bytes(f"no picture {example.path}".encode())
    return [example_of(e.path, e.label) for e in examples]


def test_a_sample_may_lose_the_only_picture_of_a_label(config, graph, examples) -> None:
    (unreadable,) = spoilt(examples[1:2])
    features = extract(graph, [examples[0], unreadable, examples[2]], config)
    assert features.examples == (examples[0], examples[2])


def test_only_unreadable_pictures_are_an_error_that_names_one_and_the_reason(config, graph, examples) -> None:
    with pytest.raises(DataError, match=rf"none of 10 pictures can be read, such as {examples[0].path}: NOT_AN_IMAGE"):
        extract(graph, spoilt(examples), config)


def test_a_picture_that_changes_during_the_build_is_an_error(config, graph, examples) -> None:
    examples[4].path.write_bytes(examples[5].path.read_bytes())
    with pytest.raises(DataError, match=r"4\.png changed while the build ran"):
        extract(graph, examples, config)


def garbage(entry: Path) -> None:
    entry.write_bytes(b"no checksum" * 1000)


def truncated(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[: entry.stat().st_size // 2])


def emptied(entry: Path) -> None:
    entry.write_bytes(b"")


def bit_flipped(entry: Path) -> None:
    content = entry.read_bytes()
    entry.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("damage", [garbage, truncated, emptied, bit_flipped])
def test_a_damaged_row_is_computed_again(config, graph, examples, computed, damage, capsys) -> None:
    extract(graph, examples, config)
    computed()
    for entry in sorted(config.cache.iterdir())[:2]:
        damage(entry)
    features = extract(graph, examples, config)
    assert computed() == 2
    assert capsys.readouterr().err.count("is damaged") == 1
    np.testing.assert_array_equal(features.values, expected(examples))
    extract(graph, examples, config)
    assert computed() == 0  # the entries are whole again


def test_an_unwritable_cache_only_costs_time(
    config, graph, examples, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    features = extract(graph, examples, replace(config, cache=tmp_path / "file" / "cache"))
    np.testing.assert_array_equal(features.values, expected(examples))
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("small_disk", [4, 20], indirect=True)  # no room for a row; room for some
def test_a_cache_on_a_full_disk_is_reported_once_and_only_costs_time(
    config, graph, examples, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = replace(config, cache=small_disk / "cache")
    for _ in range(2):
        np.testing.assert_array_equal(extract(graph, examples, there).values, expected(examples))
    error = capsys.readouterr().err
    assert error.count("cache:") == 1
    assert f"{small_disk}/cache cannot be written" in error


def test_results_before_an_interruption_are_kept(
    config, graph, examples, computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = onnxruntime.InferenceSession.run
    calls = iter(range(100))

    def interrupted(session, *arguments):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return run(session, *arguments)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(graph, examples, config)
    monkeypatch.setattr(onnxruntime.InferenceSession, "run", run)
    computed()
    features = extract(graph, examples, config)
    assert computed() == 2  # two batches of four out of ten are cached
    np.testing.assert_array_equal(features.values, expected(examples))
