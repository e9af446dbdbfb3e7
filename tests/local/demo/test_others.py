import io
from pathlib import Path

from PIL import Image

from local.demo.others import other_pictures


def test_pictures_of_none_of_the_labels_are_drawn_and_always_the_same(tmp_path: Path) -> None:
    pictures = dict(other_pictures(tmp_path / "nonexistent"))

    assert list(pictures) == ["screenshot.png", "drawing.png", "blank page.png", "noise.png"]
    assert len(set(pictures.values())) == 4
    assert all(Image.open(io.BytesIO(content)).size == (320, 320) for content in pictures.values())
    assert dict(other_pictures(tmp_path / "nonexistent")) == pictures


def test_four_photographs_from_all_over_the_folder_are_taken_if_there_are_any(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    (tmp_path / "README.md").write_text("no picture")

    names = [name for name, _ in other_pictures(tmp_path)]
    assert names[4:] == ["0.jpg", "2.jpg", "4.jpg", "6.jpg"]
