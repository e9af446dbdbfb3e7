"""Write the splits of a data set as folders: `make split DATA=pictures OUT=pictures-split`.

    python -m model_build.data.split_folders --data DIR --out DIR

DIR/<label>/... becomes OUT/train/<label>/..., OUT/validation/<label>/... and OUT/test/<label>/..., as the build splits
it by itself: by the content of each picture. For those who want to see the splits, or to keep them while adding
pictures. The pictures are copied.

Exit status: 0; 1 it could not be done; 2 wrong arguments.
"""

import argparse
import shutil
import sys
from pathlib import Path

from model_build.data import dataset
from model_build.data.dataset import DataError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    description = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m model_build.data.split_folders", description=description)
    parser.add_argument("--data", type=Path, required=True, help="a folder with a folder of pictures for each label")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args(arguments)
    try:
        write_splits(options.data, options.out)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def write_splits(data_folder: Path, out: Path) -> None:
    """Copy the pictures into folders by split. Raises DataError, OSError."""
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; name a new folder")
    data = dataset.scan(data_folder)
    if not data.split_by_content:
        raise DataError(f"{data_folder} has the folders train, validation and test already")
    dataset.print_counts(data)
    for split, examples in data.splits.items():
        for example in (*examples, *data.others.get(split, ())):
            copy = out / split / example.path.relative_to(data.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(example.path, copy)
    print(f"written to {out}")


if __name__ == "__main__":
    sys.exit(main())
