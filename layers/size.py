"""Unzipped sizes of functions and layers, part by part, and the margin under Lambda's limit."""

from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from layers import ROOT
from layers.reproducible import files

FUNCTIONS = ROOT / "functions"
PACKAGES = (("classify", "labeller"), ("score", "evaluation", "labeller"))  # of each function, as functions/Makefile

# Size of sources and bytecode against sources alone, measured 2.42. `make build` compiles after the layers are made.
WITH_BYTECODE = 2.5

# "The maximum size of the contents of a deployment package, including layers": 250 MB, unzipped. The service
# refuses with "Unzipped size must be smaller than 262144000 bytes".
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SIZE_LIMIT = 262_144_000


def size_of(folder: Path) -> int:
    """Bytes of all files under `folder`, unzipped."""
    return sum(file.stat().st_size for file in files(folder))


def function_size(functions: Path = FUNCTIONS) -> int:
    """Bytes of the larger function's own code: the sources that functions/Makefile copies, and their bytecode."""

    def size(packages: Iterable[str]) -> int:
        return sum(file.stat().st_size for package in packages for file in (functions / package).rglob("*.py"))

    return round(WITH_BYTECODE * max(map(size, PACKAGES)))


def library_sizes(python: Path) -> dict[str, int]:
    """Bytes of each distribution installed in `python`, largest first; files that none of them lists are "other"."""
    sizes = {}
    for distribution in distributions(path=[str(python)]):
        located = [Path(str(file.locate())) for file in distribution.files or []]
        sizes[distribution.name] = sum(file.stat().st_size for file in located if file.is_file())
    sizes = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    other = size_of(python) - sum(sizes.values())
    return {**sizes, "other": other} if other else sizes


def size_table(out: Path, functions: Path = FUNCTIONS) -> tuple[str, int]:
    """The table of sizes by part, and the margin: the bytes left under Lambda's limit, negative if over."""
    libraries, model, code = size_of(out / "libraries"), size_of(out / "model"), function_size(functions)
    total = code + libraries + model
    margin = SIZE_LIMIT - total
    rows = [("function code (the larger)", code), ("libraries layer", libraries)]
    rows += [(f"  {name}", size) for name, size in library_sizes(out / "libraries" / "python").items()]
    rows += [("model layer", model), ("total, unzipped", total), ("Lambda's limit", SIZE_LIMIT)]
    lines = [f"{name:<32}{size:>14,}" for name, size in rows]
    lines += [f"{'margin':<32}{margin:>14,}  ({margin / SIZE_LIMIT:.1%} of the limit)"]
    return "\n".join([f"{'part':<32}{'bytes':>14}", *lines]), margin
