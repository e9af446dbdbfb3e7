import copy
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from model_build.report import card

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built_report(built: Path) -> dict:
    return json.loads((built / "report.json").read_text("utf-8"))


@pytest.fixture
def report(built_report: dict) -> dict:
    return copy.deepcopy(built_report)


PIXEL = "data:image/jpeg;base64,AAAA"


def mistake(path: str, confidence: float, unsure: bool = False) -> dict:
    return {"path": path, "true": "day", "predicted": "night", "confidence": confidence, "unsure": unsure}


def text(html: str) -> str:
    """The words of a page as a reader sees them."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.S)))


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_build_writes_the_card_with_the_mistakes_as_pictures_and_no_path_of_the_machine(
    built: Path, built_report: dict, drawn_data: Path
) -> None:
    html = (built / "index.html").read_text("utf-8")
    sources = [attributes["src"] or "" for tag, attributes in Elements(html).found if tag == "img"]
    assert len(sources) == min(len(built_report["mistakes"]), card.MISTAKES_SHOWN)
    assert all(source.startswith("data:image/jpeg;base64,/9j/") for source in sources)
    for place in (drawn_data, built, Path.home(), Path.cwd()):
        assert str(place) not in html


def test_the_page_runs_and_loads_nothing(built: Path) -> None:
    html = (built / "index.html").read_text("utf-8")
    elements = Elements(html).found
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form"}
    policy = next(a["content"] or "" for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:")
    assert not [value for _, a in elements for value in a.values() if value and re.match(r"https?:|//|file:", value)]


def test_the_accuracy_comes_first_with_its_interval(report: dict) -> None:
    test = report["accuracy"]["test"]["int8"]
    test.update(accuracy=0.966, correct=966, images=1000, interval=[0.953, 0.9755])
    words = text(card.render(report, {}))
    assert words.index("96.6% right on 1000 pictures it has never seen") < words.index("Data")
    assert "966 of 1000; 95 % interval 95.3% to 97.5%" in words  # 97.55 is 97.5 in binary


def test_what_decided_and_what_came_out_is_on_the_page(report: dict) -> None:
    words = text(card.render(report, {}))
    for expected in (
        report["model_version"],
        report["data_sha256"],
        report["weights_sha256"],
        *(candidate["name"] for candidate in report["head"]["candidates"]),
        *(candidate["name"] for candidate in report["quantisation"]["candidates"]),
        f"{report['calibration']['temperature']:.3f}",
        *report["seconds"],
        *report["packages"].values(),
        report["calibration"]["caution"],
        f"make model DATA=FOLDER WEIGHTS=random IMAGE_SIZE={report['settings']['image_size']}",
    ):
        assert expected in words
    for label, scores in report["classes"].items():
        low, high = scores["interval"]
        assert (
            f"{label} {scores['accuracy']:.1%} {low:.1%} to {high:.1%} {scores['correct']} of {scores['images']}"
            in words
        )


def test_what_an_earlier_build_had_left_is_told_beside_the_seconds(report: dict) -> None:
    report["reused"] = 3005
    assert "an earlier build had left them: 3005 of the graphs and features" in text(card.render(report, {}))
    report["reused"] = 0
    assert "these are the seconds of a whole one" in text(card.render(report, {}))


def test_a_quantisation_is_shown_with_what_it_gets_right(report: dict) -> None:
    found = report["quantisation"]
    found.update(images=73, fp32_correct=70, chosen="minmax")
    found["candidates"] = [
        {"name": "minmax", "images": 100, "error": 0.3083, "correct": 69, "milliseconds": 60.5},
        {"name": "entropy", "images": 61, "error": None, "correct": 40, "milliseconds": 54.9},
    ]
    words = text(card.render(report, {}))
    assert "calibrated on error right of 73 ms a picture" in words
    assert "minmax taken 100 30.83% 69 60.5 entropy 61 not finite 40 54.9 FP32 70" in words


def test_int8_and_fp32_are_compared_in_points_on_the_same_pictures(report: dict) -> None:
    report["accuracy"]["test"] |= {
        "fp32": {"images": 488, "correct": 467, "accuracy": 0.957, "interval": [0.935, 0.972]},
        "int8_on_fp32_images": {"images": 488, "correct": 466, "accuracy": 0.9549, "interval": [0.933, 0.97]},
    }
    words = text(card.render(report, {}))
    assert "-0.2 points 466 right against 467 of 488" in words
    assert "test, FP32 on some 95.7% 93.5% to 97.2% 467 of 488 test, INT8 on those 95.5%" in words


def test_the_threshold_is_shown_with_what_it_does_on_test(report: dict) -> None:
    report["calibration"]["test"]["labelled"] = {
        "images": 880,
        "correct": 866,
        "accuracy": 0.984,
        "interval": [0.974, 0.991],
        "share": 0.88,
    }
    words = text(card.render(report, {}))
    assert "88.0% the rest is UNSURE; right: 866 of 880; 95 % interval 97.4% to 99.1%" in words
    assert "On test 12.0% get none, and 98.4% of the labels are right." in words
    report["calibration"]["test"]["labelled"] = {"images": 0, "correct": 0, "share": 0.0}
    assert "the rest is UNSURE; right: none was labelled" in text(card.render(report, {}))


def test_a_compressed_model_is_made_again_with_its_compression(report: dict) -> None:
    report["settings"]["compress"] = "3"
    assert re.search(r"make model DATA=FOLDER WEIGHTS=random IMAGE_SIZE=64 COMPRESS=3", text(card.render(report, {})))


@pytest.mark.parametrize(
    ("weights", "warning"),
    [
        ("random", "WARNING The base has random weights"),
        ("file", "WARNING The base has weights from a file"),
        ("imagenet", None),
    ],
)
def test_weights_that_are_not_imagenets_are_warned_of(report: dict, weights: str, warning: str | None) -> None:
    words = text(card.render({**report, "weights": weights}, {}))
    assert (warning in words) if warning else ("WARNING" not in words)


def test_a_threshold_that_does_not_reach_its_precision_is_warned_of(report: dict) -> None:
    report["calibration"]["threshold"]["reached"] = False
    assert "WARNING No confidence threshold makes 99% of what is labelled right" in text(card.render(report, {}))


def test_mistakes_that_were_kept_back_are_told_from_labels_that_are_wrong(report: dict) -> None:
    report["mistakes"] = [mistake("test/day/1.jpg", 0.98), mistake("test/day/2.jpg", 0.6, unsure=True)]
    words = text(card.render(report, {each["path"]: PIXEL for each in report["mistakes"]}))
    assert "2 of the test pictures, 1 of them kept back as UNSURE" in words
    assert "night 98.0% it is day test/day/1.jpg" in words
    assert "UNSURE 60.0% it is day; night kept back test/day/2.jpg" in words


def test_no_mistakes_are_no_error(report: dict) -> None:
    assert "None on the test pictures." in text(card.render({**report, "mistakes": []}, {}))


def test_of_many_mistakes_the_most_confident_are_shown(report: dict) -> None:
    report["mistakes"] = [mistake(f"test/day/{index}.jpg", 0.99) for index in range(100)]
    shown = {each["path"]: PIXEL for each in report["mistakes"][: card.MISTAKES_SHOWN]}
    html = card.render(report, shown)
    assert sum(tag == "img" for tag, _ in Elements(html).found) == card.MISTAKES_SHOWN
    assert f"The {card.MISTAKES_SHOWN} most confident; report.json lists all." in text(html)


def test_hostile_names_stay_text(report: dict) -> None:
    evil = "<img src=x onerror=alert(1)>\"'&\x1b[31m"
    renamed = json.loads(json.dumps(report).replace('"day"', json.dumps(evil)))
    renamed["left_out"] = {evil: evil}
    renamed["unreadable"] = {f"2{evil}": evil}
    renamed["mistakes"] = [mistake(evil, 0.9) | {"true": evil, "predicted": evil}]
    html = card.render(renamed, {evil: PIXEL})
    assert [a["src"] for tag, a in Elements(html).found if tag == "img"] == [PIXEL]
    assert not [a for _, a in Elements(html).found if "onerror" in a]
    assert "\x1b" not in html
    assert text(html).count("<img src=x onerror=alert(1)>") > 5


def test_with_many_labels_the_most_frequent_confusions_are_listed(report: dict) -> None:
    count = 200
    labels = [f"label {index}" for index in range(count)]
    report["labels"] = labels
    report["confusion"] = [[10 * (row == column) for column in range(count)] for row in range(count)]
    report["confusion"][7][9] = 4
    report["images"] = {split: dict.fromkeys(labels, 10) for split in report["images"]}
    report["classes"] = dict.fromkeys(labels, next(iter(report["classes"].values())))
    html = card.render(report, {})
    assert "label 7 label 9 4" in text(html)
    assert "label 0, label 1" in text(html)
    assert "and 192 more" in text(html)
    assert len(html) < 200_000  # 40,000 cells would be some megabytes


def test_files_that_were_left_out_are_listed_with_the_reason(report: dict) -> None:
    report["left_out"] = {"train/a/copy.jpg": "the same picture as train/a/1.jpg"}
    report["unreadable"] = {"test/b/x.jpg": "TRUNCATED: cut off"}
    words = text(card.render(report, {}))
    assert "2 files left out" in words
    assert "train/a/copy.jpg the same picture as train/a/1.jpg" in words
    assert "test/b/x.jpg TRUNCATED: cut off" in words
