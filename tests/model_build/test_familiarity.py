"""How like the training pictures a picture is: on pictures with three or four channels, so that angles are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import scipy.spatial.distance
from onnx import TensorProto, helper

from model_build import familiarity_graph
from model_build.config import BuildConfig
from model_build.data.dataset import Dataset, Example
from model_build.familiarity import (
    Exemplars,
    Familiarity,
    Mahalanobis,
    Scale,
    _best_weight,
    _learn_direction,
    choose_exemplars,
    choose_familiarity,
    strangest_rows,
    unit_vectors,
)
from model_build.features import Features, joined, pool, rows_of, window_means

CONFIG = BuildConfig(Path("data"))
CHANNELS = 8
SIDE = 3


def features_of(means: np.ndarray, labels: np.ndarray, split: str) -> Features:
    """Pooled features with these channel means."""
    examples = tuple(
        Example(Path(f"data/{split}/{'ab?'[label]}/{row}.jpg"), int(label), f"{split}{row * 7919 % 1009:04}")
        for row, label in enumerate(labels)
    )
    return Features(examples, np.stack([means, means], axis=1).astype(np.float32), labels)


def clusters(split: str, count: int, seed: int) -> Features:
    """Two labels, `count` pictures of each: around the first and the second axis."""
    random, labels = np.random.default_rng(seed), np.arange(2 * count) % 2
    means = np.abs(0.1 * random.standard_normal((2 * count, CHANNELS))) + 3 * np.eye(CHANNELS)[labels]
    return features_of(means, labels, split)


def strangers(count: int, seed: int) -> Features:
    """Pictures around the diagonal of the first three axes."""
    random = np.random.default_rng(seed)
    means = np.abs(0.1 * random.standard_normal((count, CHANNELS))) + np.array([2, 2, 1] + [0] * (CHANNELS - 3))
    return features_of(means, np.full(count, 2), "other")


TRAINING, VALIDATION = clusters("train", 60, 1), clusters("validation", 50, 2)
KNOWN = joined(TRAINING, VALIDATION)
DATA = Dataset(Path("data"), ("a", "b"), {"train": TRAINING.examples, "validation": VALIDATION.examples})


# ---- the share of validation pictures that are less familiar ------------------------------------------


def test_a_share_is_the_part_of_the_validation_scores_up_to_the_score() -> None:
    scale = Scale.of(np.arange(1.0, 100.0))  # 1 to 99: the score s is the s-th of 99

    assert scale(np.array([10.0, 50.0, 90.0])) == pytest.approx([0.1, 0.5, 0.9], abs=0.001)


def test_shares_reach_0_and_1_beyond_the_validation_scores() -> None:
    scale = Scale.of(np.arange(1.0, 100.0))

    # The first quartile of 1 to 99 is 25.5, 24.5 above the lowest: so far below it, the share is 0.
    assert scale(np.array([-1000.0, 1 - 24.5, 1 - 24.5 / 2, 1000.0])) == pytest.approx([0, 0, 0.005, 1])


def test_a_scale_has_few_points_half_of_them_among_the_lowest_tenth() -> None:
    scale = Scale.of(np.arange(5000.0))

    assert len(scale.scores) == len(scale.shares) <= 128
    assert (scale.scores < 500).sum() >= 64
    assert np.diff(scale.shares).max() <= 1 / 62 + 1e-3  # the others are evenly spread


def test_a_score_that_all_validation_pictures_share_is_familiar() -> None:
    scale = Scale.of(np.full(20, 0.5))

    assert scale(np.array([0.4, 0.5])) == pytest.approx([0, 1])


# ---- exemplars ----------------------------------------------------------------------------------------


def test_each_label_has_as_many_exemplars_and_no_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_build.familiarity.EXEMPLARS", 31)

    chosen = choose_exemplars(TRAINING).examples

    assert [sum(example.label == label for example in chosen) for label in (0, 1)] == [15, 15]


def test_exemplars_do_not_depend_on_the_order_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_build.familiarity.EXEMPLARS", 20)
    order = np.random.default_rng(0).permutation(len(TRAINING.labels))
    shuffled = Features(tuple(TRAINING.examples[row] for row in order), TRAINING.values[order], TRAINING.labels[order])

    assert set(choose_exemplars(shuffled).examples) == set(choose_exemplars(TRAINING).examples)


def test_stored_exemplars_are_unit_vectors_within_a_hundredth() -> None:
    exemplars = choose_exemplars(TRAINING)

    lengths = np.linalg.norm(exemplars.vectors * exemplars.step, axis=1)

    assert lengths == pytest.approx(np.ones(len(lengths)), abs=0.01)


def test_the_score_is_the_mean_of_the_five_highest_cosines_less_offsets() -> None:
    # Exemplars on the axes of six dimensions; the cosines of a unit vector with them are its members.
    exemplars = Exemplars((), 100 * np.eye(6, dtype=np.int8), 0.01, np.array([0, 0, 0, 0, 0, 0.5], np.float32))
    vector = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.6], np.float32)
    picture = features_of(np.array([vector / np.linalg.norm(vector)]), np.array([0]), "test")

    # Divided by the length, 0.9539, the members are 0.524, 0.419, 0.314, 0.210, 0.105 and 0.629 - 0.5 = 0.129.
    assert exemplars.score(picture) == pytest.approx([(0.5241 + 0.4193 + 0.3145 + 0.2097 + 0.129) / 5], abs=1e-4)


def test_the_score_is_the_mean_of_the_three_windows_that_are_closest_to_exemplars() -> None:
    # One exemplar, on the first axis: the closeness of a window is the first member of its unit vector.
    exemplars = Exemplars((), np.array([[100, 0]], np.int8), 0.01, np.array([0.25], np.float32))
    windows = np.array([[[0.6, 0.8], [1, 0], [0, 1], [0.8, 0.6], [0.28, 0.96]]], np.float32)
    picture = Features((), windows[:, :2], np.array([0]), windows=windows)

    assert exemplars.score(picture) == pytest.approx([(0.6 + 1 + 0.8) / 3 - 0.25])


# Six exemplars on the axes of six dimensions, and a picture between the first two. Of the five nearest, the others have
# the cosine 0, so an exemplar scores 1 / 5, and 0 without itself; the picture between scores 2 x 0.7071 / 5.
AXES = Exemplars(
    tuple(Example(Path(f"data/train/a/{axis}.jpg"), 0, str(axis)) for axis in range(6)),
    100 * np.eye(6, dtype=np.int8),
    0.01,
    np.zeros(6, np.float32),
)
BETWEEN = Example(Path("data/validation/a/6.jpg"), 0, "6")
ON_AXES = Features(
    (*AXES.examples, BETWEEN),
    np.stack([np.vstack([np.eye(6), np.eye(6)[0] + np.eye(6)[1]])] * 2, axis=1).astype(np.float32),
    np.zeros(7, int),
)


def test_a_picture_can_be_compared_with_all_exemplars_but_one() -> None:
    assert AXES.score(ON_AXES) == pytest.approx([0.2] * 6 + [2 * np.sqrt(0.5) / 5], abs=1e-5)
    without = np.array([0, 1, 2, 3, -1, 4, -1])
    assert AXES.score(ON_AXES, without) == pytest.approx([0] * 4 + [0.2] * 2 + [2 * np.sqrt(0.5) / 5], abs=1e-5)

    many = rows_of(ON_AXES, np.arange(7) == 0)
    many = Features(many.examples * 1200, many.values.repeat(1200, axis=0), many.labels.repeat(1200))
    scores = AXES.score(many, np.where(np.arange(1200) % 400 == 399, 0, -1))
    assert np.flatnonzero(scores < 0.1).tolist() == [399, 799, 1199]


def taught_on_axes(direction: np.ndarray, mahalanobis: Mahalanobis | None = None) -> Familiarity:
    return Familiarity(AXES, direction, Scale(np.array([-4.0, 1.0]), np.array([0.0, 1.0])), 0.02, mahalanobis)


def test_the_strangest_pictures_come_first_with_the_exemplars_that_they_resemble_most() -> None:
    strangest = strangest_rows(taught_on_axes(np.zeros(12)), ON_AXES, 7, named=2)

    assert [row for row, _, _ in strangest] == list(range(7))
    shares = [share for _, share, _ in strangest]
    assert shares == pytest.approx([0.8] * 6 + [(4 + 2 * np.sqrt(0.5) / 5) / 5], abs=1e-5)
    assert strangest[0][2] == [(1, pytest.approx(0)), (2, pytest.approx(0))]  # itself is not named
    assert strangest[6][2] == [(0, pytest.approx(0.7071, abs=1e-3)), (1, pytest.approx(0.7071, abs=1e-3))]
    assert [row for row, _, _ in strangest_rows(taught_on_axes(np.zeros(12)), ON_AXES, 2)] == [0, 1]
    assert len(strangest_rows(taught_on_axes(np.zeros(12)), ON_AXES, 1)[0][2]) == 3
    assert strangest_rows(taught_on_axes(np.zeros(12)), ON_AXES, 1, named=0)[0][2] == []


def test_the_direction_and_the_mahalanobis_distance_say_how_strange_pictures_are() -> None:
    direction = np.zeros(12)
    direction[3] = direction[6 + 4] = -0.1  # of the means' fourth channel, and of the maxima's fifth
    distance = Mahalanobis(np.eye(6, dtype=np.float32), np.eye(6, dtype=np.float32)[:1])  # squared, to the first axis

    by_direction = strangest_rows(taught_on_axes(direction), ON_AXES, 7)
    by_distance = strangest_rows(taught_on_axes(np.zeros(12), distance), ON_AXES, 7)

    assert [row for row, _, _ in by_direction] == [3, 4, 0, 1, 2, 5, 6]
    assert [row for row, _, _ in by_distance] == [1, 2, 3, 4, 5, 6, 0]
    # -2 from another axis, -(2 - 2 x 0.7071) from between.
    assert [share for _, share, _ in by_distance] == pytest.approx([0.4] * 5 + [3.4142 / 5, 0.8], abs=1e-4)


def test_a_picture_is_as_familiar_beside_many_others_as_alone() -> None:
    exemplars = choose_exemplars(TRAINING)
    many = clusters("test", 600, 20)  # more than are compared at once

    alone = [exemplars.score(rows_of(many, np.arange(1200) == row))[0] for row in (0, 499, 500, 1199)]

    assert exemplars.score(many)[[0, 499, 500, 1199]] == pytest.approx(alone, abs=1e-6)


def test_a_window_with_a_things_picture_makes_a_picture_with_another_background_familiar() -> None:
    familiarity = choose_familiarity(DATA, KNOWN, None, CONFIG)
    thing, background = VALIDATION.values[:20, :1], strangers(20, 21).values[:, :1]
    whole = 0.3 * thing + 0.7 * background  # the thing fills some windows and a third of the picture
    partly = Features(
        VALIDATION.examples[:20],
        np.concatenate([whole, whole], axis=1),
        VALIDATION.labels[:20],
        windows=np.concatenate([thing, thing, thing, background, background], axis=1),
    )

    assert (familiarity(partly) >= familiarity.threshold).mean() > 0.9
    assert (familiarity(replace(partly, windows=None)) < familiarity.threshold).all()


def test_the_mahalanobis_distance_is_scipys_to_the_nearest_labels_mean() -> None:
    learnt = Mahalanobis.of(TRAINING)
    vectors, labels = unit_vectors(TRAINING.values).astype(float), TRAINING.labels
    means = [vectors[labels == label].mean(axis=0) for label in (0, 1)]
    covariance = np.cov(vectors - np.array(means)[labels], rowvar=False, bias=True)
    inverse = np.linalg.inv(covariance + 0.01 * covariance.trace() / CHANNELS * np.eye(CHANNELS))

    unseen = joined(rows_of(VALIDATION, np.arange(100) < 4), strangers(4, 15))
    distances = [
        min(scipy.spatial.distance.mahalanobis(one, mean, inverse) for mean in means)
        for one in unit_vectors(unseen.values)
    ]

    assert learnt.score(unseen) == pytest.approx([-(distance**2) / CHANNELS for distance in distances], rel=1e-3)


def test_the_mahalanobis_distance_is_finite_with_fewer_pictures_than_channels_and_with_equal_ones() -> None:
    few, equal = clusters("train", 3, 16), features_of(np.ones((6, CHANNELS)), np.arange(6) % 2, "train")

    for features in (few, equal):
        scores = Mahalanobis.of(features).score(VALIDATION)
        assert np.isfinite(scores).all()


# ---- the choice ---------------------------------------------------------------------------------------


def test_without_other_pictures_the_configured_share_of_validation_pictures_stays_familiar() -> None:
    familiarity = choose_familiarity(DATA, KNOWN, None, replace(CONFIG, familiar_share=0.95))

    assert familiarity.threshold == 0.05
    # 100 validation pictures: the i-th lowest has the share i / 101, and 5 / 101 < 0.05 <= 6 / 101.
    assert (familiarity(VALIDATION) >= 0.05).sum() == 95
    assert not familiarity.direction.any()


def test_strangers_are_less_familiar_than_unseen_pictures_of_the_labels() -> None:
    familiarity = choose_familiarity(DATA, KNOWN, None, CONFIG)

    assert familiarity(strangers(30, 3)).max() < familiarity.threshold
    assert (familiarity(clusters("test", 50, 4)) >= familiarity.threshold).mean() >= 0.9


def test_the_labels_pictures_do_not_become_strangers_in_a_small_collection() -> None:
    training, validation = clusters("train", 10, 5), clusters("validation", 5, 6)
    data = replace(DATA, splits={"train": training.examples, "validation": validation.examples})

    familiarity = choose_familiarity(data, joined(training, validation), None, CONFIG)

    assert (familiarity(validation) >= familiarity.threshold).all()
    assert (familiarity(clusters("test", 50, 7)) >= familiarity.threshold).mean() >= 0.9
    assert (familiarity(strangers(30, 8)) < familiarity.threshold).all()


def test_other_pictures_far_from_the_labels_leave_the_threshold() -> None:
    familiarity = choose_familiarity(DATA, KNOWN, strangers(20, 9), CONFIG)

    assert familiarity.threshold == 0.02
    assert not familiarity.direction.any()  # fewer than 50


def test_other_pictures_near_the_labels_raise_the_threshold_by_half_at_most() -> None:
    near = features_of(VALIDATION.values[:20, 0], np.full(20, 2), "other")

    assert choose_familiarity(DATA, KNOWN, near, CONFIG).threshold == pytest.approx(0.03)


def almost_labelled(split: str, count: int, seed: int) -> Features:
    """Pictures that differ from those of the first label in the last channel alone."""
    means = clusters(split, count, seed).values[::2, 0]
    means[:, -1] += 0.2
    return features_of(means, np.full(len(means), 2), "other" if split == "train" else split)


def test_other_pictures_teach_a_direction_where_the_neighbours_do_not_suffice() -> None:
    others, unseen = almost_labelled("train", 60, 10), almost_labelled("test", 40, 11)

    with_others, without = (choose_familiarity(DATA, KNOWN, taught, CONFIG) for taught in (others, None))

    assert with_others.direction[CHANNELS - 1] < 0
    assert with_others(unseen).mean() < 0.8 * without(unseen).mean()


@pytest.mark.parametrize(
    ("score", "along", "weight"),
    [
        (50.0, -2.0, 14.433),  # 50 of 100 validation pictures are below; with the weights 41, then 25
        (5.0, -2.0, 4.330),  # 5, then 3 with either weight: the smaller one does
        (50.0, 2.0, 0.0),  # ever more
        (50.0, 0.0, 0.0),
    ],
)
def test_the_direction_has_the_smallest_weight_that_no_larger_one_improves_on(
    score: float, along: float, weight: float
) -> None:
    # Scores of 0 to 99 have the deviation 28.866; half of the pictures are 2 along the direction, half against it. The
    # weights to try are 0.3 and 1 times 28.866 / 2.
    own, against = np.arange(100.0), np.where(np.arange(100) % 2, 2.0, -2.0)

    chosen, moved, others = _best_weight(own, np.full(60, score), against, np.full(60, along))

    assert chosen == pytest.approx(weight, abs=1e-3)
    assert moved == pytest.approx(own + chosen * against)
    assert others == pytest.approx(np.full(60, score + chosen * along))


def test_the_same_pictures_teach_the_same_direction() -> None:
    one, other = (_learn_direction(TRAINING, almost_labelled("train", 60, 10)) for _ in range(2))

    np.testing.assert_array_equal(one.direction, other.direction)
    np.testing.assert_array_equal(one.products_of_others, other.products_of_others)


def test_a_direction_along_which_no_picture_differs_has_no_weight() -> None:
    assert _best_weight(np.arange(100.0), np.full(60, 50.0), np.zeros(100), np.zeros(60))[0] == 0


def test_too_few_other_pictures_change_nothing() -> None:
    familiarity = choose_familiarity(DATA, KNOWN, strangers(9, 12), CONFIG)

    assert familiarity.threshold == 0.02
    assert not familiarity.direction.any()


# ---- the graph ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["nearest neighbours", "Mahalanobis"])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["no direction", "a direction"])
def taught(method: str, request: pytest.FixtureRequest) -> Familiarity:
    directed = request.param == "a direction"
    others = almost_labelled("train", 60, 10) if directed else strangers(60, 13)
    distance = Mahalanobis.of(TRAINING) if method == "Mahalanobis" else None
    familiarity = choose_familiarity(DATA, KNOWN, others, CONFIG, distance)
    assert familiarity.direction.any() == directed
    return familiarity


@pytest.fixture(scope="module")
def graph(taught: Familiarity, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose feature maps are its input, with familiarity."""
    path = network_of_maps(tmp_path_factory.mktemp("graph") / "model.onnx", CHANNELS)
    familiarity_graph.add_familiarity(path, "features", SIDE, taught)
    return path


def network_of_maps(path: Path, channels: int) -> Path:
    """A network whose feature maps are its input."""
    maps, features = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", SIDE, SIDE, channels])
        for name in ("maps", "features")
    )
    network = helper.make_graph([helper.make_node("Identity", ["maps"], ["features"])], "maps", [maps], [features])
    onnx.save(helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("labels", "pictures"), [(2, 30), (2, 5000), (200, 30), (200, 50)])
@pytest.mark.parametrize("by_distance", [False, True])
def test_few_and_many_labels_and_pictures_add_less_than_two_megabytes_and_are_known_from_strangers(
    labels: int, pictures: int, by_distance: bool, tmp_path: Path
) -> None:
    """Label by label, channels with means of its own; `pictures` to train, 10 to validate, 5 unseen."""
    channels, random = 512, np.random.default_rng(17)
    of_each = {"train": pictures, "validation": max(10, 200 // labels), "test": max(5, 200 // labels)}
    centres = np.abs(random.standard_normal((labels, channels)))

    def drawn(split: str) -> Features:
        own = np.arange(labels * of_each[split]) % labels
        means = np.abs(centres[own] + 0.3 * random.standard_normal((len(own), channels)))
        examples = tuple(Example(Path(f"{split}/{row}.jpg"), int(label), f"{row:06}") for row, label in enumerate(own))
        return Features(examples, np.stack([means, means], axis=1).astype(np.float32), own)

    training, validation, test = (drawn(split) for split in of_each)
    splits = {"train": training.examples, "validation": validation.examples}
    data = Dataset(Path("data"), tuple(map(str, range(labels))), splits)
    distance = Mahalanobis.of(training) if by_distance else None

    familiarity = choose_familiarity(data, joined(training, validation), None, CONFIG, distance)
    path = network_of_maps(tmp_path / "model.onnx", channels)
    before = path.stat().st_size
    familiarity_graph.add_familiarity(path, "features", SIDE, familiarity)

    assert path.stat().st_size - before < 2_000_000
    most = 1000 if by_distance else 2000
    counts = np.bincount([example.label for example in familiarity.exemplars.examples])
    assert counts.tolist() == [min(pictures, most // labels)] * labels
    assert (familiarity(validation) >= familiarity.threshold).mean() == pytest.approx(CONFIG.familiar_share, abs=0.006)
    elsewhere = np.abs(random.standard_normal((20, 1, channels))).repeat(2, axis=1).astype(np.float32)
    strange = Features((), elsewhere, np.full(20, labels))
    assert (familiarity(strange) < familiarity.threshold).all()
    assert (familiarity(test) >= familiarity.threshold).mean() > 0.9
    unseen = np.concatenate([test.values[:100], elsewhere])
    assert outputs(path, unseen)[0] == pytest.approx(familiarity(Features((), unseen, np.zeros(len(unseen)))), abs=2e-3)


def outputs(graph: Path, features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Familiarity, rows and cosines for feature maps with these means."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    waves = np.array([[0.5, 1.5, 1.0], [1.0, 1.25, 0.75], [1.1, 1.3, 0.6]], np.float32)[..., None]  # their mean is 1
    maps = features[:, 0][:, None, None, :] * waves
    familiarity, nearest, similarity = session.run(["familiarity", "nearest", "similarity"], {"maps": maps})
    return familiarity, nearest, similarity


def test_the_graph_computes_the_familiarity_that_was_chosen(graph: Path, taught: Familiarity) -> None:
    nothing = features_of(np.zeros((1, CHANNELS)), np.array([2]), "test")
    pictures = joined(joined(VALIDATION, strangers(20, 14)), nothing)

    familiarity, _, _ = outputs(graph, pictures.values)

    assert familiarity == pytest.approx(taught(pictures), abs=1e-3)
    assert familiarity.dtype == np.float32
    assert familiarity.shape == (len(pictures.labels),)


def test_the_graph_computes_the_familiarity_of_pictures_whose_windows_differ(graph: Path, taught: Familiarity) -> None:
    random = np.random.default_rng(22)
    means = np.concatenate([VALIDATION.values[:40, 0], strangers(40, 23).values[:, 0]])[:, None, None]
    maps = (means + 0.1 * random.random((80, SIDE, SIDE, CHANNELS))).astype(np.float32)

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (familiarity,) = session.run(["familiarity"], {"maps": maps})

    expected = taught(Features((), pool(maps), np.zeros(80), windows=window_means(maps)))
    assert familiarity == pytest.approx(expected, abs=1e-3)
    assert len(np.unique(expected.round(3))) > 5


def test_the_graph_names_the_nearest_exemplars_the_most_similar_first(graph: Path, taught: Familiarity) -> None:
    _, nearest, similarity = outputs(graph, TRAINING.values)

    labels = [taught.exemplars.examples[row].label for row in nearest[:, 0]]

    assert nearest.dtype == np.int32
    assert nearest.shape == similarity.shape == (120, 3)
    assert labels == TRAINING.labels.tolist()
    assert similarity[:, 0] == pytest.approx(np.ones(120), abs=0.01)
    assert (np.diff(similarity, axis=1) <= 0).all()


def test_the_graph_declares_the_shapes_of_its_outputs(graph: Path) -> None:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    declared = {output.name: (output.type, output.shape) for output in session.get_outputs()[1:]}

    assert declared == {
        "familiarity": ("tensor(float)", ["N"]),
        "nearest": ("tensor(int32)", ["N", 3]),
        "similarity": ("tensor(float)", ["N", 3]),
    }


def test_exemplars_are_listed_with_path_and_label(tmp_path: Path, taught: Familiarity) -> None:
    familiarity_graph.write_exemplars(tmp_path, taught.exemplars, DATA)

    rows = json.loads((tmp_path / "exemplars.json").read_text("utf-8"))

    assert rows[:2] == [{"path": "train/a/0.jpg", "label": "a"}, {"path": "train/b/1.jpg", "label": "b"}]
    assert len(rows) == 120
