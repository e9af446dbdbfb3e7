from __future__ import annotations

import pytest

from evaluation.folders import is_hidden, label_of


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        (".DS_Store", True),
        (".thumbs/x.jpg", True),
        ("cats/.thumbs/x.jpg", True),
        ("cats/more/.x.jpg", True),
        ("cats/x.jpg", False),
        ("cats/x..jpg", False),
        ("cats./more/x.", False),
    ],
)
def test_a_name_that_begins_with_a_dot_hides_itself_and_what_lies_below(path: str, hidden: bool) -> None:
    assert is_hidden(path) is hidden


def test_a_folder_of_a_mac_has_the_label_of_the_same_name_elsewhere() -> None:
    # Unicode standard annex 15: e and U+0301 compose to U+00E9.
    assert label_of("cafe\u0301") == label_of("caf\u00e9") == "caf\u00e9"
