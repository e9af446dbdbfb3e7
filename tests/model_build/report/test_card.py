"""The model card, from a report made by hand; and the card of a real build."""

import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest

from evaluation.class_activation import Shade
from labeller.results import Neighbour
from model_build.data.dataset import Dataset, Example
from model_build.previous import PreviousModel
from model_build.report import card
from model_build.report.card import card_page
from model_build.report.report import Answers, BuildReport
from model_build.verify import Accuracy
from tests.evaluation.test_class_activation import network
from tests.model_build.report.example import familiarity, glance, mistake, report, search
from tests.support import RED, encoded, plain

PIXEL = "data:image/jpeg;base64,AAAA"


def page(given: BuildReport) -> str:
    return card_page(given, {mistake.path: PIXEL for mistake in given.mistakes[: card.MISTAKES_SHOWN]})


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


@pytest.mark.slow
def test_the_build_writes_the_card_with_the_mistakes_as_pictures_and_no_path_of_the_machine(
    built: Path, drawn_data: Path
) -> None:
    html = (built / "index.html").read_text("utf-8")
    report = json.loads((built / "report.json").read_text("utf-8"))
    sources = [attributes["src"] or "" for tag, attributes in Elements(html).found if tag == "img"]
    mistakes = min(len(report["mistakes"]), card.MISTAKES_SHOWN)
    assert (
        sum(source.startswith("data:image/jpeg;base64,/9j/") for source in sources) == mistakes + card.STRANGEST_SHOWN
    )
    assert sum(source.startswith("data:image/png;base64,iVBOR") for source in sources) == mistakes  # shades
    assert len(sources) == 2 * mistakes + card.STRANGEST_SHOWN
    for folder in (drawn_data, built, Path.home(), Path.cwd()):
        assert str(folder) not in html


def test_the_page_runs_and_loads_nothing() -> None:
    elements = Elements(page(report(search=search()))).found
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form"}
    policy = next(a["content"] or "" for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:")
    assert not [value for _, a in elements for value in a.values() if value and re.match(r"https?:|//|file:", value)]


def test_the_accuracy_comes_first_with_its_interval() -> None:
    words = text(page(report()))
    assert words.index("96.6% accuracy on 1,000 unseen pictures") < words.index("Data")
    assert "966 of 1,000; 95% confidence interval 95.3% to 97.5%" in words  # 97.55 is 97.5 in binary


def test_the_decisions_and_the_results_are_on_the_page() -> None:
    given = report()
    words = text(page(given))
    for expected in (
        given.model_version,
        given.data_sha256,
        given.weights_sha256,
        "average chosen average 1e-04 95.2% 0.1234 0.0019 0.0021 8.1",
        "Dense 256 average 0e+00 95.2% 0.1234 0.0312 0.0021 8.1",
        "The chosen head has 1,026 parameters.",
        "minmax chosen 100 30.83% 69 60.5 entropy 61 not finite 40 54.9 FP32 70",
        "calibration pictures error right of 73 ms a picture",
        "divided by the temperature 1.321",
        "data 1.5 head 40.2 total 41.7",
        "onnxruntime 1.32.0",
        given.calibration.caution,
        "cat 96.0% 93.9% to 97.4% 480 of 500",
        "make model DATA=FOLDER WEIGHTS=imagenet IMAGE_SIZE=128 COMPRESS=none",
        "Against a Dense 256 layer +3 pictures 467 against 464 right of 488 pictures; p = 0.55",
    ):
        assert expected in words
    assert "Size and network" not in words


def test_the_page_says_whether_the_times_are_those_of_a_whole_build() -> None:
    assert "3,005 graphs and picture features came from the cache" in text(page(report(reused=3005)))
    assert "these are the times of a whole build" in text(page(report(reused=0)))


def test_int8_and_fp32_are_compared_in_points_on_the_same_pictures() -> None:
    words = text(page(report()))
    assert "-0.2 points 466 against 467 right of the same 488 pictures, each with a head of its own; p = 1.00" in words
    assert "test, FP32, a sample 95.7% 93.5% to 97.2% 467 of 488 test, INT8, the same sample 95.5%" in words


def test_the_threshold_is_shown_with_its_effect_on_test() -> None:
    given = report()
    words = text(page(given))
    assert (
        "On test, if none were UNKNOWN, 12.0% of the pictures are UNSURE, and 98.4% of the others are right." in words
    )
    nothing = replace(given.calibration.test.labelled, images=0, correct=0, accuracy=float("nan"), share=0.0)
    test = replace(given.calibration.test, labelled=nothing)
    words = text(page(report(calibration=replace(given.calibration, test=test))))
    assert "On test, if none were UNKNOWN, 100.0% of the pictures are UNSURE." in words


def test_the_pictures_that_get_a_label_are_counted_by_both_thresholds() -> None:
    words = text(page(report()))
    assert "86.0% 110 are UNSURE and 30 UNKNOWN; 851 of 860 labelled pictures are right, 95%" in words
    nothing = replace(familiarity().labelled, images=0, correct=0, accuracy=float("nan"), share=0.0)
    assert "30 UNKNOWN; no picture is labelled" in text(page(report(familiarity=familiarity(labelled=nothing))))


def test_the_ways_to_score_familiarity_are_compared_and_the_shipped_one_is_marked() -> None:
    words = text(page(report()))
    assert "below 0.03 is UNKNOWN. Of the test pictures 30 of 1,000 are UNKNOWN and 110 UNSURE" in words
    assert "99.0% of the 860 labelled ones are right" in words  # 98.95
    assert "nearest neighbours chosen 0.994 0.610 +0.000 0.000 energy of the logits 0.950 0.630 -0.044 0.008" in words
    assert "pictures 200 1,000" in words
    assert "Decided by: destroyed copies. Rule: the nearest neighbours, unless. With two labels none can" in words
    assert "other/" not in words


def test_what_becomes_of_the_test_pictures_of_other_is_on_the_page() -> None:
    words = text(page(report(familiarity=familiarity(other=Answers(100, 3, 7, 90)))))
    assert "of none of the labels ( other/ ) 3 of 100 got a label, 90 are UNKNOWN and 7 UNSURE." in words


def test_the_strangest_pictures_are_shown_with_the_nearest_others() -> None:
    strange = report().familiarity.strangest
    html = card_page(report(mistakes=[]), {strange[0].path: PIXEL})
    assert "dog familiarity 0.001 like train/cat/3.jpg (0.43) train/dog/9.jpg" in text(html)
    assert [a["src"] for tag, a in Elements(html).found if tag == "img"] == [PIXEL]
    assert "The strangest training" not in text(card_page(report(), {}))


def test_mistakes_name_the_nearest_training_pictures() -> None:
    wrong = replace(mistake("a.jpg", 0.98), unknown=True, nearest=(Neighbour("train/dog/1.jpg", "dog", 0.876),))
    words = text(page(report(mistakes=[wrong])))
    assert "UNKNOWN 98.0% true label: cat; predicted: dog; like train/dog/1.jpg (0.88) a.jpg" in words


def test_the_search_is_on_the_page_and_in_the_command() -> None:
    settings = {**report().settings, "auto_size": True, "auto_speedup": True}
    words = text(page(report(search=search(), settings=settings)))
    assert "320 px, 3x faster chosen 20.08 15.0 MB 50.2 25.1 3,000 95.0% 0.0530 0.0030 0.0040" in words
    assert "2 128 – – – 0.02 0.3" in words  # the last layer keeps its channels
    assert "IMAGE_SIZE=auto COMPRESS=auto" in words
    words = text(page(report(settings={**report().settings, "speedup": 2.5})))
    assert "IMAGE_SIZE=128 COMPRESS=2.5" in words


def test_a_network_that_was_asked_for_and_is_measurably_worse_is_a_warning() -> None:
    assert "measurably lower log loss" not in text(page(report(search=search())))
    worse = replace(search(), measurably_worse=True)
    assert "WARNING Another network has a measurably lower log loss" in text(page(report(search=worse)))
    for axis in ("auto_size", "auto_speedup"):  # what a search found was not asked for
        settings = report().settings | {axis: True}
        assert "measurably lower log loss" not in text(page(report(search=worse, settings=settings)))


@pytest.mark.parametrize(
    ("weights", "warning"),
    [
        ("random", "WARNING The base has random weights"),
        ("file", "WARNING The base's weights come from a file"),
        ("imagenet", None),
    ],
)
def test_weights_other_than_imagenets_give_a_warning(weights: str, warning: str | None) -> None:
    words = text(page(report(weights=weights)))
    assert (warning in words) if warning else ("WARNING" not in words)


def test_a_threshold_that_misses_its_precision_gives_a_warning() -> None:
    calibration = report().calibration
    missed = replace(calibration, threshold=replace(calibration.threshold, reached=False))
    shown = text(page(report(calibration=missed)))
    assert "WARNING No confidence threshold makes 99% of the labelled" in shown
    assert "In cross-validation no threshold makes 99% of the labelled pictures right; this one comes nearest." in shown
    assert "The threshold counts the copies, too, except for a change that costs more than" in shown
    for promise in ("so that 99% of the labelled pictures are right", "high enough for 99% right labels"):
        assert promise in text(page(report()))
        assert promise not in shown


def test_a_temperature_at_the_bound_of_its_search_gives_a_warning() -> None:
    bound = replace(report().calibration, at_bound=True)
    assert "WARNING The temperature is at a bound of its search, 0.1 to 10.0" in text(page(report(calibration=bound)))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [("WORSE", "measurably worse"), ("SAME", "no measurable difference"), ("BETTER", "measurably better")],
)
def test_the_replaced_model_is_compared_and_a_worse_one_gives_a_warning(outcome: str, words: str) -> None:
    previous = PreviousModel("vgg16-old", outcome, images=1000, correct_before=973, correct=955, p_value=0.002)
    expected = (
        "On the 1,000 test pictures that both have, the model that this one replaces (vgg16-old) is right on 973, this "
        f"one on 955: {words} (p = 0.002)."
    )
    shown = text(page(report(previous=previous)))
    assert expected in shown
    assert (f"WARNING {expected}" in shown) == (outcome == "WORSE")


def test_a_replaced_model_that_cannot_be_compared_says_why() -> None:
    shown = text(page(report(previous=PreviousModel("vgg16-old", reason="it has other labels"))))
    assert "this one replaces (vgg16-old) cannot be compared with it: it has other labels." in shown


def test_a_mistake_shows_why_if_somebody_asks() -> None:
    wrong = replace(mistake("a.jpg", 0.98), predicted="<dog>")
    given = report(mistakes=[wrong, mistake("b.jpg", 0.9)])
    html = card_page(
        given, {"a.jpg": PIXEL, "b.jpg": PIXEL}, shades={"a.jpg": Shade("data:image/png;base64,AAAA", "top left")}
    )
    (shade,) = (attributes for _, attributes in Elements(html).found if attributes.get("class") == "shade")
    assert shade["src"] == "data:image/png;base64,AAAA"
    assert shade["alt"] == "top left speaks most for <dog>"
    assert text(html).count("Why Bright: what speaks for <dog>") == 1


def test_a_mistake_is_explained_at_the_size_that_the_search_found(tmp_path: Path) -> None:
    picture = tmp_path / "test" / "dog" / "a.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(encoded(plain(RED, 60, 40)))
    example = Example(picture, 1, hashlib.sha256(picture.read_bytes()).hexdigest())
    data = Dataset(tmp_path, ("cat", "dog"), {"test": (example,)})
    onnx.save(network("average"), tmp_path / "model.onnx")  # of 32 pixels
    wrong = replace(mistake("test/dog/a.png", 0.9), predicted="cat")
    given = report(mistakes=[wrong])
    assert given.settings["image_size"] == 128  # what was asked for

    (shade,) = card.shades(given, data, 32, tmp_path).values()

    assert shade.uri.startswith("data:image/png;base64,")


def test_the_glance_network_is_described_with_what_it_answered() -> None:
    words = text(page(report(glance=glance())))
    assert "Here that is a confidence of 0.9927 and a familiarity of 0.10." in words
    assert "differs by -0.0027 ± 0.0017 from that of the thorough network alone" in words
    assert "test 76.0% 99.9% 99.3% to 100.0% 759 of 760" in words
    # 5 + (1 - 0.76) x 30
    assert "5.0 ms by the glance network and 30.0 ms by the thorough one" in words
    assert "pictures like those of test take 12.2 ms on average" in words
    assert "Glance network" not in text(page(report()))


def test_unsure_mistakes_are_told_apart_from_wrong_labels() -> None:
    words = text(page(report()))
    assert "2 test pictures with a wrong prediction, 1 of them UNSURE or UNKNOWN" in words
    assert "dog 98.0% true label: cat test/cat/1.jpg" in words
    assert "UNSURE 60.0% true label: cat; predicted: dog test/cat/2.jpg" in words


def test_a_test_without_mistakes_is_no_error() -> None:
    assert "None: every prediction on test is right." in text(page(report(mistakes=[])))


def test_of_many_mistakes_the_most_confident_are_shown() -> None:
    html = page(report(mistakes=[mistake(f"test/cat/{index}.jpg", 0.99) for index in range(100)]))
    assert sum(tag == "img" for tag, _ in Elements(html).found) == card.MISTAKES_SHOWN
    assert f"The {card.MISTAKES_SHOWN} most confident are shown; report.json lists all." in text(html)


def test_hostile_names_stay_text() -> None:
    evil = "<img src=x onerror=alert(1)>\"'&\x1b[31m"
    given = report(
        labels=(evil, "dog"),
        images={"test": {evil: 1, "dog": 1}},
        classes={evil: Accuracy(1, 1, 1.0, (0.2, 1.0))},
        left_out={evil: evil},
        unreadable={f"2{evil}": evil},
        mistakes=[replace(mistake(evil, 0.9), true=evil, predicted=evil)],
    )
    html = page(given)
    assert [a["src"] for tag, a in Elements(html).found if tag == "img"] == [PIXEL]
    assert not [a for _, a in Elements(html).found if "onerror" in a]
    assert "\x1b" not in html
    assert text(html).count("<img src=x onerror=alert(1)>") > 5


def test_with_many_labels_the_most_frequent_confusions_are_listed() -> None:
    count = 200
    labels = tuple(f"label {index}" for index in range(count))
    confusion = [[10 * (row == column) for column in range(count)] for row in range(count)]
    confusion[7][9] = 4
    given = report(
        labels=labels,
        confusion=confusion,
        images={split: dict.fromkeys(labels, 10) for split in ("train", "validation", "test")},
        classes=dict.fromkeys(labels, Accuracy(10, 10, 1.0, (0.72, 1.0))),
    )
    html = page(given)
    assert "label 7 label 9 4" in text(html)
    assert "label 0, label 1" in text(html)
    assert "and 192 more" in text(html)
    assert len(html) < 200_000  # 40,000 cells would be some megabytes


def many_labels(confusions: dict[tuple[int, int], int], count: int = 25) -> BuildReport:
    labels = tuple(f"label {index}" for index in range(count))
    confusion = [
        [50 if row == column else confusions.get((row, column), 0) for column in range(count)] for row in range(count)
    ]
    return report(
        labels=labels,
        confusion=confusion,
        images={split: dict.fromkeys(labels, 50) for split in ("train", "validation", "test")},
        classes=dict.fromkeys(labels, Accuracy(50, 50, 1.0, (0.93, 1.0))),
    )


def listed(given: BuildReport) -> list[tuple[int, int, int]]:
    """True label, predicted label and number of pictures in the list of confusions."""
    rows = re.findall(r"label (\d+) label (\d+) (\d+)", text(page(given)))
    return [(int(true), int(predicted), int(number)) for true, predicted, number in rows]


def test_the_confusions_are_listed_with_the_most_frequent_first_and_no_more_than_thirty() -> None:
    # 40 pairs of labels: (0, 1) is confused once, (1, 2) twice and so on.
    pairs = [(number % 25, (number + 1 + number // 25) % 25) for number in range(40)]
    counts = {pair: number for number, pair in enumerate(pairs, start=1)}
    expected = sorted(((*pair, number) for pair, number in counts.items()), key=lambda row: -row[2])[:30]
    assert listed(many_labels(counts)) == expected


def test_pairs_that_are_never_confused_are_not_listed() -> None:
    assert listed(many_labels({(3, 4): 2, (7, 1): 5})) == [(7, 1, 5), (3, 4, 2)]
    assert listed(many_labels({})) == []


@pytest.mark.parametrize(("count", "is_table"), [(20, True), (21, False)])
def test_up_to_twenty_labels_have_a_table_with_all_numbers(count: int, is_table: bool) -> None:
    words = text(page(many_labels({(3, 4): 2}, count)))
    assert ("The most frequent confusions; report.json has the whole matrix." not in words) is is_table


def test_files_that_were_left_out_are_listed_with_the_reason() -> None:
    words = text(
        page(
            report(
                left_out={"train/a/copy.jpg": "the same picture as train/a/1.jpg"},
                unreadable={"test/b/x.jpg": "TRUNCATED: cut off"},
            )
        )
    )
    assert "2 files left out" in words
    assert "train/a/copy.jpg the same picture as train/a/1.jpg" in words
    assert "test/b/x.jpg TRUNCATED: cut off" in words


def test_changed_copies_are_listed_with_what_becomes_of_their_labels() -> None:
    words = text(page(report()))
    assert "blurred 92.0% of 125 85.9% to 95.6% 97.6% 80.0% 99.0%" in words
    assert "mirrored (not counted) 47.6% of 126 39.1% to 56.3% 98.4% 71.4% 44.4%" in words
