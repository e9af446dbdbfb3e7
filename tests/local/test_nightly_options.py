"""The arguments of `make nightly`; nothing is scored."""

from pathlib import Path

import pytest

from local import nightly


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (None, "build/model", "build/nightly")),  # the model's own test pictures
        (["--shared", "elsewhere"], ("elsewhere/cats-and-dogs/test", "build/model", "build/nightly")),
        (["--data", "mine", "--model", "m", "--out", "o", "--shared", "elsewhere"], ("mine/test", "m", "o")),
    ],
)
def test_every_option_reaches_the_night(
    arguments: list[str], expected: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[tuple[Path | None, ...]] = []

    def score(*paths: Path | None) -> int:
        scored.append(paths)
        return 0

    monkeypatch.setattr(nightly, "_score", score)
    assert nightly.main(arguments) == 0
    assert scored == [tuple(path and Path(path) for path in expected)]
