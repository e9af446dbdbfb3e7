"""Pictures of a data set that are probably mislabelled or show none of the labels: `make review DATA=pictures`. An
answer moves the file.

The list is suspects.json of the model that was built from the data. The log, .review.jsonl in the data set's folder,
has a line for each answer and each undo; a picture that has an answer is not shown again.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labeller.decoder_process import decode
from labeller.pipeline import WorkerPool
from labeller.results import OTHER
from labeller.settings import DEFAULT_MAX_IMAGE_PIXELS
from labeller.text import printable
from model_build.data.folders import SPLITS
from model_build.suspects import Suspect
from ops.review.desk import Item, NotFound, Queue, as_jpeg, display_size
from ops.review.model import ReviewModel
from ops.review.reviewing import Answer

LOG = ".review.jsonl"  # hidden files are no pictures
SUSPECTS = "SUSPECTS"
STRANGERS = "STRANGERS"


@dataclass(slots=True)
class Files:
    """The desk for a data set."""

    root: Path
    labels: Sequence[str]
    suspects: Mapping[str, Suspect]  # by SHA-256, the likeliest mistake first
    cpu_pool: WorkerPool
    asked: ReviewModel
    by: str = field(default_factory=getpass.getuser)
    days: Sequence[str] = ()
    moves: dict[str, dict[str, Any]] = field(default_factory=dict)  # SHA-256 -> the last answer that was not undone

    def __post_init__(self) -> None:
        """Read the log."""
        path = self.root / LOG
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            entry = json.loads(line)
            if entry["to"] is None:
                self.moves.pop(entry["sha256"], None)
            else:
                self.moves[entry["sha256"]] = entry

    @property
    def title(self) -> str:
        """As `desk.Desk`."""
        return printable(str(self.root))

    @property
    def model(self) -> str:
        """As `desk.Desk`."""
        return self.asked.manifest.model_version

    def queues(self) -> list[Queue]:
        """As `desk.Desk`."""
        return [
            Queue(SUSPECTS, "Labels that are probably wrong"),
            Queue(STRANGERS, "Strange pictures: maybe none of the labels"),
        ]

    async def open(self, queue: str, day: str) -> FileQueue:
        """As `desk.Desk`."""
        if queue not in (SUSPECTS, STRANGERS) or day:
            raise NotFound(f"there is no queue {queue!r}")
        listed = [one for one in self.suspects.values() if (one.suggested == OTHER) == (queue == STRANGERS)]
        return FileQueue(self, [suspect for suspect in listed if suspect.sha256 not in self.moves])

    async def picture(self, item_id: str) -> bytes:
        """As `desk.Desk`."""
        return await self.cpu_pool(_shown, self._file(self._suspect(item_id)))

    async def why(self, item_id: str, label: str) -> bytes:
        """As `desk.Desk`."""
        content = self._file(self._suspect(item_id)).read_bytes()
        return await self.cpu_pool(
            self.asked.shade, lambda size: decode(content, size, DEFAULT_MAX_IMAGE_PIXELS), label
        )

    async def training_picture(self, path: str) -> bytes:
        """As `desk.Desk`."""
        return await self.cpu_pool(self.asked.training_picture, path)

    async def answer(self, item_id: str, label: str, queue: str) -> dict[str, Any]:
        """As `desk.Desk`. The same label again is noted, and no file is moved."""
        suspect = self._suspect(item_id)
        if label not in (*self.labels, OTHER):
            raise NotFound(f"there is no label {label!r}")
        known = self.moves.get(item_id)
        if known and known["label"] == label:
            return {"answer": Answer.ACCEPTED, "at": known["at"]}
        source = self._file(suspect)
        name = source.relative_to(self.root).as_posix()
        parts = name.split("/")
        target = name if label == parts[_label_index(parts)] else self._free(name, label)
        entry = self._log(sha256=item_id, label=label, **{"from": name, "to": target})
        if target != name:
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            source.rename(self.root / target)
        self.moves[item_id] = entry
        return {"answer": Answer.ACCEPTED, "at": entry["at"]}

    async def undo(self, item_id: str, at: str) -> dict[str, Any]:
        """As `desk.Desk`."""
        entry = self.moves.get(item_id)
        if entry is None or entry["at"] != at:
            return {"answer": Answer.OVERTAKEN, "at": None}
        if entry["to"] != entry["from"]:
            if (self.root / entry["from"]).exists():
                raise NotFound(f"another file has taken the name {printable(entry['from'])}")
            (self.root / entry["to"]).rename(self.root / entry["from"])
        self._log(sha256=item_id, label=None, **{"from": entry["to"], "to": None})
        del self.moves[item_id]
        return {"answer": Answer.ACCEPTED, "at": None}

    def _suspect(self, item_id: str) -> Suspect:
        if item_id not in self.suspects:
            raise NotFound("the page names no picture")
        return self.suspects[item_id]

    def _file(self, suspect: Suspect) -> Path:
        """Where the picture is now. Raises NotFound if it is gone, or has other content."""
        entry = self.moves.get(suspect.sha256)
        path = self.root / (entry["to"] if entry else suspect.path)
        if not path.resolve().is_relative_to(self.root.resolve()) or not path.is_file():
            raise NotFound(f"{printable(str(path))} is no longer there")
        if hashlib.sha256(path.read_bytes()).hexdigest() != suspect.sha256:
            raise NotFound(f"{printable(str(path))} has changed since the model was built")
        return path

    def _free(self, name: str, label: str) -> str:
        """The name under another label, with a number if that is taken."""
        parts = name.split("/")
        parts[_label_index(parts)] = label
        target = Path("/".join(parts))
        numbered = (target.with_stem(f"{target.stem} ({number})") for number in range(2, 1000))
        return next(path for path in (target, *numbered) if not (self.root / path).exists()).as_posix()

    def _log(self, **entry: str | None) -> dict[str, Any]:
        logged = {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "by": self.by, **entry}
        with (self.root / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(logged) + "\n")
        return logged


@dataclass(slots=True)
class FileQueue:
    """Suspects that nobody has looked at."""

    desk: Files
    suspects: Sequence[Suspect]

    @property
    def total(self) -> int:
        """As `desk.Opened`."""
        return len(self.suspects)

    async def items(self, after: int, limit: int) -> tuple[list[Item], int]:
        """As `desk.Opened`."""
        batch = self.suspects[after : after + limit]
        return [_item(suspect) for suspect in batch if suspect.sha256 not in self.desk.moves], after + len(batch)

    def figures(self) -> str:
        """As `desk.Opened`."""
        moved = sum(entry["to"] != entry["from"] for entry in self.desk.moves.values())
        return f"{moved} moved, {len(self.desk.moves) - moved} confirmed" if self.desk.moves else ""

    def note(self, item_id: str, label: str | None) -> None:
        """As `desk.Opened`: the log has it."""


def _item(suspect: Suspect) -> Item:
    scores = [(suspect.suggested, suspect.suggested_probability), (suspect.label, suspect.probability)]
    is_strange = suspect.suggested == OTHER
    return Item(
        id=suspect.sha256,
        name=printable(suspect.path),
        label=suspect.label if is_strange else suspect.suggested,
        status=f"{suspect.split}: labelled {suspect.label}, {'perhaps none of the labels' if is_strange else 'rather'}",
        confidence=suspect.suggested_probability,
        scores=[(label, score) for label, score in scores if score is not None],
        details=[("familiarity", f"{suspect.familiarity:.3f}")] if suspect.familiarity is not None else [],
    )


def _shown(path: Path) -> bytes:
    content = path.read_bytes()
    small = decode(content, (8, 8), DEFAULT_MAX_IMAGE_PIXELS)
    return as_jpeg(decode(content, display_size(small.width, small.height), DEFAULT_MAX_IMAGE_PIXELS).pixels)


def _label_index(parts: Sequence[str]) -> int:
    """Which part of a path is the label."""
    return 1 if parts[0] in SPLITS and len(parts) > 2 else 0
