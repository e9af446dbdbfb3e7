import os
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from model_build.data.dataset import MINIMUM, SPLITS, DataError, print_counts, scan, spread
from tests.support import encoded, plain

GIF = encoded(plain((9, 9, 9), 2, 2), "GIF")


def picture(text: str) -> bytes:
    """A unique picture: decoders ignore what follows a GIF's end."""
    return GIF + text.encode()


def fill(folder: Path, count: int, what: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index}.gif").write_bytes(picture(f"{what or folder} {index}"))
    return folder


def make(root: Path, labels: Mapping[str, int] | tuple[str, ...] = ("a", "b")) -> Path:
    """A data set with three splits of `number` pictures per label, by default the minimum."""
    for split in SPLITS:
        for label in labels:
            fill(
                root / split / label,
                labels[label] if isinstance(labels, Mapping) else MINIMUM[split],
                f"{split} {label}",
            )
    return root


def heap(root: Path, labels: Mapping[str, int]) -> Path:
    for label, count in labels.items():
        fill(root / label, count, label)
    return root


# ---- reading ------------------------------------------------------------------------------------------


def test_labels_are_the_sorted_folder_names_and_examples_carry_their_index(tmp_path: Path) -> None:
    data = scan(make(tmp_path, {"zebra": 10, "ant": 11}))
    assert data.labels == ("ant", "zebra")
    assert {(e.path.parent.name, e.label) for e in data.splits["train"]} == {("ant", 0), ("zebra", 1)}
    assert data.counts()["test"] == {"ant": 11, "zebra": 10}
    assert not data.split_by_content


def test_the_sha256_of_an_example_is_that_of_its_file(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "train/a/0.gif").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1: the digest of "abc".
    assert (
        scan(tmp_path).splits["train"][0].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "train/a/.DS_Store").write_bytes(b"x")
    (tmp_path / "train/.ipynb_checkpoints").mkdir()
    fill(tmp_path / "train/a/.thumbnails", 3)
    (tmp_path / ".git").mkdir()
    data = scan(tmp_path)
    assert data.labels == ("a", "b")
    assert len(data.splits["train"]) == 20
    assert data.left_out == {}


def test_pictures_in_subfolders_have_the_label_of_the_folder_above(tmp_path: Path) -> None:
    make(tmp_path)
    fill(tmp_path / "train/b/2026/november", 2, "nested")
    assert scan(tmp_path).counts()["train"] == {"a": 10, "b": 12}


def test_links_are_followed_except_to_folders_below_a_label(tmp_path: Path) -> None:
    data = make(tmp_path / "data")
    elsewhere = fill(tmp_path / "elsewhere", 10)
    (data / "train/a/linked.gif").symlink_to(fill(tmp_path / "single", 1) / "0.gif")
    (data / "train/a/gone.gif").symlink_to(tmp_path / "nowhere")
    (data / "train/a/circle").symlink_to(data / "train/a")
    (data / "train/a/itself.gif").symlink_to(data / "train/a/itself.gif")
    for split in SPLITS:
        (data / split / "c").symlink_to(elsewhere if split == "train" else fill(tmp_path / split, 5))
    data_set = scan(data)
    assert data_set.counts()["train"] == {"a": 11, "b": 10, "c": 10}
    assert data_set.left_out == {
        "train/a/circle": "a link to a folder below a label's folder; not followed",
        "train/a/gone.gif": "a broken link",
        "train/a/itself.gif": "cannot be opened: Too many levels of symbolic links",
    }


def test_files_and_folders_beside_the_expected_ones_are_left_out_and_listed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "README.md").write_text("of the whole, nobody takes it for a picture")
    (tmp_path / "train/loose.gif").write_bytes(picture("loose"))
    fill(tmp_path / "unsorted", 2)
    assert scan(tmp_path).left_out == {
        "train/loose.gif": "a file beside the label folders",
        "unsorted": "a folder beside train, validation and test",
    }


def test_a_device_is_left_out(tmp_path: Path) -> None:
    make(tmp_path)
    os.mkfifo(tmp_path / "train/a/pipe")
    assert scan(tmp_path).left_out == {"train/a/pipe": "not a file"}


def test_a_file_whose_name_is_not_utf8_is_left_out_because_no_object_can_have_that_name(tmp_path: Path) -> None:
    make(tmp_path)
    folder = fill(tmp_path / "train/a/sub", 1)
    os.rename(folder / "0.gif", os.fsencode(folder) + b"/latin1-\xe9.gif")
    fill(tmp_path / "train/b/sub", 1)
    os.rename(tmp_path / "train/b/sub", os.fsencode(tmp_path / "train/b") + b"/\xff")
    data = scan(tmp_path)
    assert data.left_out == {
        r"train/a/sub/latin1-\udce9.gif": "its name is not UTF-8; rename it",
        r"train/b/\udcff/0.gif": "its name is not UTF-8; rename it",
    }
    assert len(data.splits["train"]) == 20


def test_listed_names_are_printable(tmp_path: Path) -> None:
    make(tmp_path)
    for name in (b"red\x1b[31m.gif", b"latin1-\xe9.gif", "好.gif".encode()):
        os.symlink(b"/nowhere", os.fsencode(tmp_path / "train/a") + b"/" + name)
    names = list(scan(tmp_path).left_out)
    assert names == [r"train/a/latin1-\udce9.gif", r"train/a/red\x1b[31m.gif", "train/a/好.gif"]


def test_the_digest_depends_on_contents_and_names_but_not_on_the_path(tmp_path: Path) -> None:
    one, other = make(tmp_path / "one"), make(tmp_path / "other")
    assert scan(one).digest == scan(other).digest
    (other / "test/b/0.gif").write_bytes(b"another picture")
    changed = scan(other).digest
    assert changed != scan(one).digest
    (other / "test/b/0.gif").rename(other / "test/b/renamed.gif")
    assert scan(other).digest != changed


# ---- names of labels ---------------------------------------------------------------------------------------


def test_labels_may_have_any_names(tmp_path: Path) -> None:
    names = (
        "two words",
        "写真",
        "🐈 cat",
        "\"quoted\" 'n so on'",
        "<b>",
        "a;b",
        "Dog",
        "dog",
        "e+f=g",
    )
    assert set(scan(heap(tmp_path, dict.fromkeys(names, 20))).labels) == set(names)


def test_a_label_in_two_unicode_forms_is_one_label(tmp_path: Path) -> None:
    make(tmp_path, ("a", "café"))
    (tmp_path / "test/café").rename(tmp_path / "test" / unicodedata.normalize("NFD", "café"))
    assert scan(tmp_path).labels == ("a", "café")
    fill(tmp_path / "test/café", 5, "composed")
    with pytest.raises(DataError, match="two folders whose names read 'café'"):
        scan(tmp_path)


# ---- the same picture twice --------------------------------------------------------------------------------


def copy(root: Path, source: str, target: str) -> None:
    (root / target).write_bytes((root / source).read_bytes())


def test_the_same_picture_in_two_splits_is_an_error_that_names_both_files(tmp_path: Path) -> None:
    copy(make(tmp_path), "train/a/3.gif", "test/a/copy.gif")
    with pytest.raises(DataError, match=r"in two splits.*train/a/3\.gif and test/a/copy\.gif\. Delete"):
        scan(tmp_path)


def test_the_same_picture_under_two_labels_is_an_error_that_names_both_files(tmp_path: Path) -> None:
    copy(make(tmp_path), "train/a/3.gif", "train/b/copy.gif")
    with pytest.raises(DataError, match=r"under two labels: train/a/3\.gif and train/b/copy\.gif\. Delete"):
        scan(tmp_path)
    copy(heap(tmp_path / "heap", {"a": 20, "b": 20}), "a/3.gif", "b/copy.gif")
    with pytest.raises(DataError, match=r"under two labels: a/3\.gif and b/copy\.gif"):
        scan(tmp_path / "heap")


def test_three_duplicates_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    make(tmp_path)
    for index in range(5):
        copy(tmp_path, f"train/a/{index}.gif", f"test/a/copy{index}.gif")
    with pytest.raises(DataError, match=r"copy0.*copy1.*copy2\.gif; and 2 more such pairs\."):
        scan(tmp_path)


def test_the_same_picture_twice_in_a_label_and_split_counts_once_and_is_listed(tmp_path: Path) -> None:
    copy(make(tmp_path), "train/a/3.gif", "train/a/copy.gif")
    data = scan(tmp_path)
    assert data.counts()["train"]["a"] == 10
    assert data.left_out == {"train/a/copy.gif": "the same picture as train/a/3.gif"}


def test_equal_files_that_are_not_images_are_not_duplicates(tmp_path: Path) -> None:
    make(tmp_path)
    for name in ("train/a/Thumbs.db", "train/b/Thumbs.db", "test/a/Thumbs.db"):
        (tmp_path / name).write_bytes(b"the same everywhere")
    assert scan(tmp_path).counts()["train"] == {"a": 11, "b": 11}  # they are data_set unreadable later


# ---- data sets without splits ------------------------------------------------------------------------


def splits_by_name(root: Path) -> dict[str, str]:
    data = scan(root)
    assert data.split_by_content
    return {data.name(e): split for split, examples in data.splits.items() for e in examples}


def test_label_folders_alone_are_split_by_half_and_quarters_in_each_label(tmp_path: Path) -> None:
    data = scan(heap(tmp_path, {"a": 400, "b": 100}))
    for label, total in (("a", 400), ("b", 100)):
        for split, share in (("train", 0.5), ("validation", 0.25), ("test", 0.25)):
            # Four standard deviations of a binomial distribution.
            assert data.counts()[split][label] == pytest.approx(
                total * share, abs=4 * (total * share * (1 - share)) ** 0.5
            )


def test_a_file_beside_label_folders_is_listed_without_splits_too(tmp_path: Path) -> None:
    heap(tmp_path, {"a": 20, "b": 20})
    (tmp_path / "notes.txt").write_text("x")
    assert scan(tmp_path).left_out == {"notes.txt": "a file beside the label folders"}


def test_an_added_picture_moves_no_other(tmp_path: Path) -> None:
    before = splits_by_name(heap(tmp_path, {"a": 60, "b": 60}))
    fill(tmp_path / "a/more", 20, "more")
    after = splits_by_name(tmp_path)
    assert {name: after[name] for name in before} == before
    assert len(after) == 140


def test_names_and_paths_do_not_decide_the_split(tmp_path: Path) -> None:
    before = splits_by_name(heap(tmp_path / "one", {"a": 40, "b": 40}))
    (tmp_path / "two").mkdir()
    for label in ("a", "b"):
        (tmp_path / "one" / label).rename(tmp_path / "two" / f"{label}!")
        for path in list((tmp_path / "two" / f"{label}!").iterdir()):
            path.rename(path.with_name(f"other {path.name}"))
    after = splits_by_name(tmp_path / "two")
    assert {name.replace("!", "").replace("other ", ""): split for name, split in after.items()} == before


def test_the_minimum_that_can_be_split_gives_each_split_its_minimum(tmp_path: Path) -> None:
    data = scan(heap(tmp_path, {"a": 20, "b": 20}))
    assert data.counts() == {split: {"a": MINIMUM[split], "b": MINIMUM[split]} for split in SPLITS}


# ---- pictures of none of the labels ------------------------------------------------------------------


def test_the_folder_other_is_no_label_and_its_pictures_are_kept_apart_in_each_split(tmp_path: Path) -> None:
    make(tmp_path)
    fill(tmp_path / "train/other", 3, "train other")
    fill(tmp_path / "test/other", 2, "test other")
    data = scan(tmp_path)
    assert data.labels == ("a", "b")
    assert {data.name(e).split("/")[1] for examples in data.splits.values() for e in examples} == {"a", "b"}
    assert {split: [data.name(e) for e in examples] for split, examples in data.others.items()} == {
        "train": ["train/other/0.gif", "train/other/1.gif", "train/other/2.gif"],
        "validation": [],
        "test": ["test/other/0.gif", "test/other/1.gif"],
    }


def test_the_folder_other_is_split_by_content_too_whatever_its_size(tmp_path: Path) -> None:
    data = scan(heap(tmp_path, {"a": 20, "b": 20, "other": 2}))
    assert data.labels == ("a", "b")
    assert sum(map(len, data.others.values())) == 2


def test_a_picture_of_a_label_in_the_folder_other_is_an_error(tmp_path: Path) -> None:
    make(tmp_path)
    fill(tmp_path / "train/other", 1, "train a")
    with pytest.raises(DataError, match=r"the same picture under two labels: train/a/0\.gif and train/other/0\.gif"):
        scan(tmp_path)


def test_other_pictures_of_training_count_in_the_digest_of_the_data(tmp_path: Path) -> None:
    digest = scan(make(tmp_path)).digest
    fill(tmp_path / "train/other", 1, "stranger")
    assert scan(tmp_path).digest != digest


def test_the_number_of_other_pictures_is_printed_if_there_are_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_counts(scan(make(tmp_path)))
    assert "other" not in capsys.readouterr().out
    fill(tmp_path / "test/other", 2, "test other")
    print_counts(scan(tmp_path))
    assert "      test       5 a, 5 b, 2 other\n" in capsys.readouterr().out


# ---- unusable data -----------------------------------------------------------------------------------


def emptied(folder: Path, keep: int) -> None:
    for path in sorted(folder.iterdir())[keep:]:
        path.unlink()


def renamed(root: Path, old: str, new: str | bytes) -> None:
    for split in SPLITS:
        os.rename(os.fsencode(root / split / old), os.fsencode(root / split) + b"/" + os.fsencode(new))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            lambda root: emptied(root / "validation/b", 0), "'b' in validation .*: 0 where at least 5", id="empty"
        ),
        pytest.param(lambda root: emptied(root / "train/a", 7), "'a' in train .*: 7 where at least 10", id="too few"),
        pytest.param(
            lambda root: (root / "validation").rename(root / "other"),
            r"no folder .*validation beside test, train\..*DATA=",
            id="no split",
        ),
        pytest.param(
            lambda root: (root / "validation").rename(root / "Val"),
            r"no folder .*validation beside Val, test, train\.",
            id="split misnamed",
        ),
        pytest.param(
            lambda root: (root / "test/b").rename(root / "test/c"),
            r"test has the labels \['a', 'c'\]",
            id="other labels",
        ),
        pytest.param(lambda root: renamed(root, "b", "UNSURE"), r"\['UNSURE'\] are names of outcomes", id="reserved"),
        pytest.param(
            lambda root: renamed(root, "b", ".b"), r"at least two label folders, found 1: \['a'\]", id="one label"
        ),
        pytest.param(lambda root: renamed(root, "b", " "), r"' ' cannot be a label", id="blank"),
        pytest.param(lambda root: renamed(root, "b", b"\xff"), r"cannot be a label", id="bytes"),
        pytest.param(
            lambda root: renamed(root, "b", "new\nline"), r"'new\\nline' cannot be a label; rename it", id="line"
        ),
        pytest.param(lambda root: renamed(root, "b", "\x1b[2J"), r"'\\x1b\[2J' cannot be a label", id="control"),
    ],
)
def test_an_unusable_data_set_is_an_error_with_the_reason(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    make(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        scan(tmp_path)


def test_too_few_pictures_to_split_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'b' in .*: 19 where at least 20 are needed \(10 for train, 5 for validation"):
        scan(heap(tmp_path, {"a": 20, "b": 19}))


def test_too_few_pictures_because_of_copies_is_an_error_that_names_one(tmp_path: Path) -> None:
    heap(tmp_path / "unsplit", {"a": 20, "b": 19})
    copy(tmp_path / "unsplit", "b/0.gif", "b/copy.gif")
    with pytest.raises(
        DataError, match=r"'b' .*: 19 .*; 1 more is left out: b/copy\.gif: the same picture as b/0\.gif"
    ):
        scan(tmp_path / "unsplit")
    make(tmp_path / "split")
    folder = tmp_path / "split/test/a"
    emptied(folder, 4)
    for number in (1, 2):
        copy(tmp_path / "split", "test/a/0.gif", f"test/a/copy{number}.gif")
    with pytest.raises(
        DataError, match=r"'a' in test .*: 4 .*; 2 more are left out, such as test/a/copy1\.gif: the same"
    ):
        scan(tmp_path / "split")


def test_a_label_with_too_few_pictures_is_an_error_that_says_what_can_be_done(tmp_path: Path) -> None:
    heap(tmp_path, {"a": 20, "b": 20, "__MACOSX": 0})
    what = rf"'__MACOSX' in {tmp_path}: 0 .*\. Add pictures, or remove the label's folder"
    with pytest.raises(DataError, match=what):
        scan(tmp_path)


def test_labels_that_would_be_the_same_tag_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the labels '🐈' and '🐕' would be the same tag, '_'"):
        scan(heap(tmp_path, {"🐈": 20, "🐕": 20}))


@pytest.mark.parametrize(
    "make_it", [lambda path: None, lambda path: path.write_bytes(b"PK")], ids=["nothing", "a file"]
)
def test_a_path_that_is_not_a_folder_is_an_error(tmp_path: Path, make_it: Callable[[Path], object]) -> None:
    make_it(tmp_path / "data.zip")
    with pytest.raises(DataError, match=r"no folder .*data\.zip: it (does not exist|is a file; unpack it)"):
        scan(tmp_path / "data.zip")


def test_a_folder_of_pictures_without_labels_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"at least two label folders, found 0"):
        scan(tmp_path)


@pytest.mark.parametrize(("count", "per_label"), [(10, 5), (4, 2), (100, 10)])
def test_spread_takes_the_same_number_of_each_label(tmp_path: Path, count: int, per_label: int) -> None:
    examples = scan(make(tmp_path)).splits["train"]
    chosen = spread(examples, count)
    assert [sum(e.label == label for e in chosen) for label in (0, 1)] == [per_label, per_label]
    assert len(set(chosen)) == len(chosen)


def test_the_first_five_files_that_are_left_out_are_printed_and_the_others_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path)
    for index in range(7):
        (root / "train/a" / f"copy {index}.gif").write_bytes((root / "train/a/3.gif").read_bytes())
    print_counts(scan(root))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["      train      10 a, 10 b", "      validation 5 a, 5 b", "      test       5 a, 5 b"]
    reason = "the same picture as train/a/3.gif"
    assert lines[3:8] == [f"      left out: train/a/copy {index}.gif: {reason}" for index in range(5)]
    assert lines[8:] == ["      left out: 2 more files; report.json lists them"]


def test_a_split_by_content_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_counts(scan(heap(tmp_path, {"a": 60, "b": 60})))
    assert (
        "(split by image content, because there are no folders train, validation and test)" in capsys.readouterr().out
    )
