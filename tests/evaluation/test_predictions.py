import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.predictions import COLUMNS, PREDICTIONS_FILE, Scored, read_csv, write_csv
from labeller.results import Prediction, Status
from local import ROOT


def scored(
    key: str = "cats/a.jpg",
    true: str = "cats",
    label: str = "cats",
    sha256: str = "ab",
    status: Status = Status.LABELLED,
    familiarity: float | None = None,
) -> Scored:
    confidence = 0.9
    scores = {label: confidence, true: confidence if true == label else 1 - confidence}
    return Scored(key, true, sha256, Prediction(label, confidence, scores, familiarity), status)


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_the_file_has_the_name_that_the_documentation_gives_it() -> None:
    assert f"| `{PREDICTIONS_FILE}` |" in (ROOT / "docs" / "model.md").read_text(encoding="utf-8")


def test_each_picture_has_a_line_ordered_by_key() -> None:
    lines = rows(write_csv([scored("dogs/b.jpg", "dogs", "cats", "02"), scored("cats/a.jpg")]))
    assert list(lines[0]) == list(COLUMNS)
    assert [row["key"] for row in lines] == ["cats/a.jpg", "dogs/b.jpg"]
    assert lines[1] == {
        "key": "dogs/b.jpg",
        "true": "dogs",
        "predicted": "cats",
        "right": "no",
        "status": "LABELLED",
        "confidence": "0.900000",
        "familiarity": "",
        "probability_of_true": "0.100000",
        "sha256": "02",
    }


def test_a_picture_of_a_label_that_the_model_does_not_know_has_probability_0_of_it() -> None:
    answer = Scored("fox/a.jpg", "fox", "ab", Prediction("cats", 0.9, {"cats": 0.9, "dogs": 0.1}), Status.UNSURE)

    assert rows(write_csv([answer]))[0]["probability_of_true"] == "0.000000"


@pytest.mark.parametrize("label", ["cats", "dogs"])
@pytest.mark.parametrize("status", [Status.LABELLED, Status.UNSURE, Status.UNKNOWN])
def test_a_line_says_whether_the_answer_is_right_and_what_an_upload_would_get(label: str, status: Status) -> None:
    (line,) = rows(write_csv([scored("cats/a.jpg", "cats", label, status=status, familiarity=0.0125)]))

    assert (line["right"], line["status"]) == ("yes" if label == "cats" else "no", status.value)
    assert line["familiarity"] == "0.012500"


@pytest.mark.parametrize("key", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(key: str) -> None:
    # OWASP, "CSV Injection": =, +, -, @, tab, carriage return and line feed begin one.
    for row in csv.reader(io.StringIO(write_csv([scored(key, true=key, label=key)]).decode("utf-8-sig"), newline="")):
        assert not [cell for cell in row if cell[:1] in set("=+-@\t\r\n")]


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_labels_survive_a_round_trip(labels: list[tuple[str, str]]) -> None:
    written = [scored(f"k{n}", true, label, str(n)) for n, (true, label) in enumerate(labels)]
    assert read_csv(write_csv(written)) == {answer.identity: answer.prediction.label for answer in written}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        "true,predicted,sha256\n\xff".encode("latin-1"),
        b"true,predicted,sha256\ncats,do",  # half a line
        b"true,predicted,sha256\n" + b"c" * 200_000 + b",dogs,ab\n",  # above the parser's limit
    ],
)
def test_other_and_damaged_files_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"csv|decode"):
        read_csv(content)
