from pathlib import Path

import pytest

from model_build.dataset import SPLITS, DataError, scan, spread


def make(root: Path, classes: dict[str, int], splits: tuple[str, ...] = SPLITS) -> Path:
    for split in splits:
        for label, count in classes.items():
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.jpg").write_bytes(f"{split} {label} {index}".encode())
    return root


def test_labels_are_the_sorted_folder_names_and_examples_carry_their_index(tmp_path: Path) -> None:
    data = scan(make(tmp_path, {"zebra": 1, "ant": 2}))
    assert data.labels == ("ant", "zebra")
    assert [(e.path.parent.name, e.label) for e in data.splits["train"]] == [
        ("ant", 0),
        ("ant", 0),
        ("zebra", 1),
    ]
    assert data.counts()["test"] == {"ant": 2, "zebra": 1}


def test_the_sha256_of_an_example_is_that_of_its_file(tmp_path: Path) -> None:
    make(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "train/a/0.jpg").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1: the digest of "abc".
    assert (
        scan(tmp_path).splits["train"][0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_hidden_files_and_folders_are_no_pictures_and_no_classes(tmp_path: Path) -> None:
    make(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "train/a/.DS_Store").write_bytes(b"x")
    (tmp_path / "train/.ipynb_checkpoints").mkdir()
    data = scan(tmp_path)
    assert data.labels == ("a", "b")
    assert len(data.splits["train"]) == 2


def test_the_digest_follows_the_content_and_the_names_but_not_the_place(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one", {"a": 2, "b": 1}), make(tmp_path / "other", {"a": 2, "b": 1})
    assert scan(one).digest == scan(other).digest
    (other / "test/b/0.jpg").write_bytes(b"another picture")
    changed = scan(other).digest
    assert changed != scan(one).digest
    (other / "test/b/0.jpg").rename(other / "test/b/renamed.jpg")
    assert scan(other).digest != changed


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: [p.unlink() for p in (root / "validation/b").iterdir()],
            r"validation/b holds no pictures",
        ),
        (lambda root: (root / "validation").rename(root / "valid"), r"no folder .*validation.*DATA="),
        (lambda root: (root / "test/b").rename(root / "test/c"), r"test has the classes \['a', 'c'\]"),
        (
            lambda root: [(root / s / "b").rename(root / s / "UNSURE") for s in SPLITS],
            r"\['UNSURE'\] are names of outcomes",
        ),
        (
            lambda root: [(root / s / "b").rename(root / s / ".b") for s in SPLITS],
            r"at least two class folders, found 1",
        ),
    ],
    ids=["empty class", "no split", "other classes", "reserved label", "one class"],
)
def test_a_data_set_that_cannot_be_used_is_an_error_that_says_why(tmp_path: Path, damage, message: str) -> None:
    make(tmp_path, {"a": 2, "b": 2})
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        scan(tmp_path)


@pytest.mark.parametrize(("count", "per_class"), [(10, 5), (4, 2), (100, 10)])
def test_a_spread_choice_takes_the_same_number_of_each_class(tmp_path: Path, count: int, per_class: int) -> None:
    examples = scan(make(tmp_path, {"a": 10, "b": 10})).splits["train"]
    chosen = spread(examples, count)
    assert [sum(e.label == label for e in chosen) for label in (0, 1)] == [per_class, per_class]
    assert len(set(chosen)) == len(chosen)
