"""Text from outside (names of objects, files and labels) made harmless for terminals, logs and pages."""

import json
from typing import Any


def printable(text: str, *, keep: str = "") -> str:
    r"""`text` with an escape such as \x1b or \u202e for each character that str.isprintable rejects.

    Control characters, line separators, marks that change the direction of text, invisible spaces and lone
    surrogates could break a line, hide or move the cursor. Characters in `keep` stay, such as the line ends of a page.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def json_line(content: Any) -> str:
    """`content` as one line of JSON, where JSON's escapes stand for the characters that `printable` escapes."""
    text = json.dumps(content, ensure_ascii=False, default=str, separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in text)
