"""The page in a real browser, on the local AWS with 60 uploads that the real handler has labelled."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import re
import socket
import threading
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import expect

from classify import app
from evaluation.storage import row_of
from local.aws.moto import LocalAws
from local.aws.poller import deliver
from local.aws.stack import Stack
from local.classify import classify_handler
from ops.review.__main__ import opened, uploads_desk
from ops.review.desk import Item, NotFound
from ops.review.server import make_app
from ops.review.uploads import DISAGREEMENTS, Uploads
from tests import browser
from tests.support import colour_network, encoded, plain, write_familiar_model, write_model

pytestmark = pytest.mark.slow

RUN = "document.documentElement.setAttribute('data-run','yes')"
HOSTILE = f'"><img src=x onerror="{RUN}">\u202e<script>{RUN}</script>.png'
UNSURE, LABELLED, UNKNOWN = 44, 12, 4
ORIGIN = "http://127.0.0.1"
T = TypeVar("T")


def grey(shade: int, **options: Any) -> bytes:
    return encoded(plain((shade, shade, shade), 320, 200), **options)


def uploads() -> dict[str, bytes]:
    """60 pictures: greys, which the model is unsure of, reds and blues, and greens, which it does not know."""
    exif = Image.Exif()
    exif[0x010E] = HOSTILE  # ImageDescription
    exif[0x0112] = 6
    pictures = {HOSTILE: grey(10, exif=exif), "scan.tif": grey(20, format_name="TIFF")}
    pictures |= {f"grey {number:02}.png": grey(40 + number) for number in range(UNSURE - len(pictures))}
    pictures |= {f"red {number}.png": encoded(plain((200 + number, 0, 0))) for number in range(8)}
    pictures |= {f"blue {number}.png": encoded(plain((0, 0, 200 + number))) for number in range(4)}
    return pictures | {f"green {number}.png": encoded(plain((0, 250 + number, 0))) for number in range(4)}


class Desk:
    """The stack with its uploads, and the page's server."""

    def __init__(self, aws: LocalAws, stack: Stack, model: Path, log: Path) -> None:
        self.aws, self.stack, self.s3 = aws, stack, aws.client("s3")
        self._listen()
        for key, content in uploads().items():
            self.s3.put_object(Bucket=stack.uploads_bucket, Key=key, Body=content)
        app.get_labeller.cache_clear()
        with log.open("w") as stream, classify_handler(stack, model, stream) as handler:
            assert deliver(aws, stack, handler).succeeded == 61  # and the test event of S3
        app.get_labeller.cache_clear()
        self.app, self.token = make_app(self.uploads(model))

    def uploads(self, model: Path) -> Uploads:
        options = {"stack": self.stack.name, "model": model, "day": datetime.now(UTC).date(), "days": 2}
        made = uploads_desk(argparse.Namespace(**options))
        assert isinstance(made, Uploads)
        return made

    @contextmanager
    def served(self) -> Iterator[str]:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"{ORIGIN}:{listener.getsockname()[1]}/{self.token}/"
        finally:
            server.should_exit = True
            thread.join()
            listener.close()

    def _listen(self) -> None:
        """A queue behind the event bus, so that the test sees what is published."""
        sqs, events = self.aws.client("sqs"), self.aws.client("events")
        self.queue = sqs.create_queue(QueueName="reviewed")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="reviewed", EventPattern=json.dumps({"detail-type": ["ImageReviewed"]}))
        events.put_targets(Rule="reviewed", Targets=[{"Id": "reviewed", "Arn": arn}])

    def events(self) -> list[dict[str, Any]]:
        sqs, details = self.aws.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            details += [json.loads(message["Body"])["detail"] for message in messages]
            for message in messages:
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return details

    def rows(self) -> dict[str, dict[str, Any]]:
        rows = map(row_of, self.aws.client("dynamodb").scan(TableName=self.stack.results_table)["Items"])
        return {row["key"]: row for row in rows}

    def human_labels(self) -> dict[str, str]:
        return {key: row["human_label"] for key, row in self.rows().items() if "human_label" in row}

    def tags(self, key: str) -> dict[str, str]:
        tags = self.s3.get_object_tagging(Bucket=self.stack.uploads_bucket, Key=key)["TagSet"]
        return {tag["Key"]: tag["Value"] for tag in tags}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_familiar_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def desk(aws: LocalAws, stack: Stack, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(aws, stack, model, tmp_path_factory.mktemp("desk") / "log")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser.started() as running:
        yield running


def settled(page: Any) -> None:
    page.wait_for_selector("body[data-ready=yes][data-pending='0']")


def shown(page: Any) -> str:
    return str(page.text_content("#name"))


def key_of(name: str) -> str:
    """The key of a picture by what the page shows of it: an escaped text for the hostile one, whose turn is any."""
    return HOSTILE if "onerror" in name else name


def test_forty_pictures_by_keyboard(desk: Desk, chromium: Any) -> None:
    answered_before = desk.human_labels()  # by other tests
    desk.events()
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    with desk.served() as address:
        page = context.new_page()
        page.goto(address)
        settled(page)
        browser.screenshot(page, "review-1280")
        _why_is_shown_when_somebody_asks(page)
        assert browser.accessibility_violations(page) == []

        given = {}
        for number in range(40):
            if number == 20:  # in the middle, the page is loaded again: what is on its way is not lost
                page.reload()
                settled(page)
            name = shown(page)
            key, label = [("1", "red"), ("2", "blue"), ("o", "other")][number % 3]
            given[name] = label
            page.keyboard.press(key)
            expect(page.locator("#name")).not_to_have_text(name)
        settled(page)

        assert len(given) == 40
        answers = {key_of(name): label for name, label in given.items()}
        assert desk.human_labels() == answered_before | answers
        for name, label in list(answers.items())[::7]:
            assert desk.tags(name) == {"image-label": label, "image-label-source": "human"}
        assert {event["key"]: event["human_label"] for event in desk.events()} == answers
        assert page.get_attribute("html", "data-run") is None

        _undo_takes_back_the_last(desk, page, list(answers.items())[-1])
        _a_second_tab_has_no_picture_that_the_first_has_answered(desk, context, page, address)
        _what_the_server_has_not_got_is_sent_when_it_is_back(desk, page)
    context.close()


def _why_is_shown_when_somebody_asks(page: Any) -> None:
    page.keyboard.press("w")
    expect(page.locator("#because")).to_have_text(re.compile("^Bright: what speaks for (red|blue), says colour-1.$"))
    assert page.locator("#why").bounding_box() == page.locator("#picture").bounding_box()
    browser.screenshot(page, "review-why-1280")
    assert browser.accessibility_violations(page) == []
    page.keyboard.press("w")
    expect(page.locator("#why")).to_be_hidden()


def _undo_takes_back_the_last(desk: Desk, page: Any, last: tuple[str, str]) -> None:
    page.keyboard.press("u")
    settled(page)
    assert key_of(shown(page)) == last[0]
    assert last[0] not in desk.human_labels()
    assert desk.tags(last[0])["image-label"] == "UNSURE"
    (event,) = desk.events()
    assert (event["key"], event.get("human_label")) == (last[0], None)
    page.keyboard.press("1")
    settled(page)
    assert desk.human_labels()[last[0]] == "red"


def _a_second_tab_has_no_picture_that_the_first_has_answered(desk: Desk, context: Any, page: Any, address: str) -> None:
    second = context.new_page()
    second.goto(address)
    settled(second)
    name = shown(second)
    assert shown(page) == name
    second.keyboard.press("2")
    settled(second)
    expect(page.locator("#name")).not_to_have_text(name)
    assert desk.human_labels()[key_of(name)] == "blue"
    assert [entry["label"] for entry in desk.rows()[key_of(name)]["reviews"]] == ["blue"]
    second.close()


def _what_the_server_has_not_got_is_sent_when_it_is_back(desk: Desk, page: Any) -> None:
    key = key_of(shown(page))
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector("#problem:not([hidden])")
    assert "Not saved yet" in page.text_content("#problem")
    assert key not in desk.human_labels()
    page.context.set_offline(False)
    page.reload()
    settled(page)
    assert desk.human_labels()[key] == "red"


def test_a_page_of_labels_is_confirmed_at_once_and_the_random_sample_measures_the_errors(
    desk: Desk, chromium: Any
) -> None:
    context = chromium.new_context(viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True)
    with desk.served() as address:
        page = context.new_page()
        page.goto(address)
        settled(page)
        browser.screenshot(page, "review-400")
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.select_option("#queue", "SAMPLE")
        expect(page.locator("#said")).to_contain_text("LABELLED")
        page.tap("#grid")
        assert page.locator("#tiles li").count() == LABELLED
        page.locator("#tiles li button").first.tap()
        browser.screenshot(page, "review-grid-400")
        assert browser.accessibility_violations(page) == []
        page.tap("#confirm")
        settled(page)
        page.keyboard.press("o")  # the one that was marked
        settled(page)

        answers = {key: label for key, label in desk.human_labels().items() if key.startswith(("red", "blue"))}
        assert len(answers) == LABELLED
        wrong = [key for key, label in answers.items() if label != key.split()[0]]
        assert [answers[key] for key in wrong] == ["other"]
        # Wilson's interval for 1 of 12, by an independent calculator: 0.0149 to 0.3539.
        assert page.text_content("#figures") == "Wrong labels: 1 of 12, 8.3% (1.5% to 35.4% at 95%)"
        page.reload()
        settled(page)
        assert page.text_content("#figures").startswith("Wrong labels: 1 of 12")
        assert page.is_visible("#empty")
    context.close()


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns, in a thread of its own: Playwright runs a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def request(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str]]:
    asked = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(asked, timeout=20) as response:
            return response.status, dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers)


def test_nobody_but_the_page_is_answered(desk: Desk) -> None:
    with desk.served() as address:
        origin = re.match(r"http://[^/]+", address)[0]  # type: ignore[index]
        body = json.dumps({"id": "x", "label": "red", "queue": "UNSURE", "opened": "1"}).encode()
        json_type = {"Content_Type": "application/json"}

        status, headers = request(address)
        assert status == 200
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert request(f"{origin}/")[0] == 403
        assert request(f"{origin}/guess/")[0] == 403
        assert request(address, Host="attacker.example:80")[0] == 403  # a name that resolves to 127.0.0.1
        assert request(address, Sec_Fetch_Site="cross-site")[0] == 403
        assert request(address, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 200  # a link
        picture = f"{address}api/picture?id=x"
        assert request(picture, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document")[0] == 403
        assert request(f"{address}api/answer", body, **json_type)[0] == 403
        assert request(f"{address}api/answer", body, Origin="http://attacker.example", **json_type)[0] == 403
        assert request(f"{address}api/answer", body, Origin=origin, Content_Type="text/plain")[0] == 403
        assert request(f"{address}api/answer", body, Origin=origin, **json_type)[0] == 404  # there is no such picture
        assert request(f"{address}api/picture?id=x")[0] == 404
        assert request(f"{address}static/../server.py")[0] in (403, 404)


def test_a_second_model_names_the_uploads_that_it_would_label_otherwise(desk: Desk, tmp_path: Path) -> None:
    second = write_model(tmp_path / "second", colour_network((8, 8), -1 / 25.5), model_version="colour-2")
    rows = [row for key, row in desk.rows().items() if key.startswith(("red", "blue", "green"))]

    items = result_of(desk.uploads(second).contradicted(rows))

    # It takes red for blue and blue for red. For green both have logits of exactly 0, and name the first label.
    assert sorted(item.name.split()[0] for item in items) == ["blue"] * 4 + ["red"] * 8
    says = {item.label: item.details[0] for item in items}
    assert says == {"red": ("colour-2 says", "blue 100.0%"), "blue": ("colour-2 says", "red 100.0%")}


def test_a_model_is_not_asked_again_what_it_has_said(desk: Desk, model: Path) -> None:
    async def all_items() -> list[Item]:
        opened, items, after = await desk.uploads(model).open(DISAGREEMENTS, ""), [], 0
        assert opened.total == 60
        while after < opened.total:
            more, after = await opened.items(after, 24)
            items += more
        return items

    assert result_of(all_items()) == []


def test_training_pictures_are_shown_where_they_are_at_hand(desk: Desk, tmp_path: Path) -> None:
    model, data = write_familiar_model(tmp_path / "model"), tmp_path / "pictures"
    fire, sea = data / "train/red/fire.jpg", data / "train/blue/sea.jpg"
    fire.parent.mkdir(parents=True)
    fire.write_bytes(grey(99))
    pictures = [["train", "red", "train/red/fire.jpg", hashlib.sha256(grey(99)).hexdigest()]]
    pictures += [["train", "blue", "train/blue/sea.jpg", "0"], ["test", "red", "test/red/1.jpg", "1"]]
    (model / "pictures.json").write_text(json.dumps({"root": str(data), "pictures": pictures}))
    uploads = desk.uploads(model)
    row = next(row for row in desk.rows().values() if row.get("nearest"))
    assert list(uploads.item_of(row).nearest) == [("train/red/fire.jpg", "red 0.75")]
    with Image.open(io.BytesIO(result_of(uploads.training_picture("train/red/fire.jpg")))) as image:
        assert (image.format, image.size) == ("JPEG", (160, 100))

    sea.parent.mkdir()
    sea.write_bytes(b"another picture by now")
    for path in ("train/blue/sea.jpg", "test/red/1.jpg", "train/../../model/manifest.json"):
        with pytest.raises(NotFound):
            result_of(uploads.training_picture(path))


def test_the_browser_is_led_to_the_page_and_no_argument_has_the_token(
    desk: Desk, chromium: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(webbrowser, "open", told.append)
    with desk.served() as address:
        with opened(address):
            (uri,) = told
            file = Path(uri.removeprefix("file://"))
            assert desk.token not in uri
            assert file.parent.stat().st_mode & 0o777 == 0o700
            page = chromium.new_page()
            page.goto(uri)
            page.wait_for_url(address)
            settled(page)
            page.close()
        assert not file.parent.exists()


def test_whatever_was_uploaded_reaches_the_browser_as_jpeg(desk: Desk) -> None:
    with desk.served() as address, urllib.request.urlopen(f"{address}api/queue?name=UNKNOWN&day=") as answer:
        item = json.loads(answer.read())["items"][0]
        with urllib.request.urlopen(f"{address}api/why?id={item['id']}&label=red") as shade:
            assert (shade.headers["content-type"], shade.read()[1:4]) == ("image/png", b"PNG")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}api/why?id={item['id']}&label=green")
        assert item["details"][0] == ["nearest in training", "train/red/fire.jpg (0.75), train/blue/sea.jpg (0.50)"]
        with urllib.request.urlopen(f"{address}api/picture?id={item['id']}") as picture:
            assert picture.headers["content-type"] == "image/jpeg"
            with Image.open(io.BytesIO(picture.read())) as image:
                assert (image.format, image.size, dict(image.getexif())) == ("JPEG", (32, 24), {})
