"""How much, how fast, how many: `python -m ops.capacity [--json] [--defaults] [--write docs/scale.md]`.

Prints what labelling costs at each memory size and on each architecture, how the queue behaves at 10, 1,000 and
10,000 uploads a second, over a day and in a burst, and how far AWS's limits are. The figures follow from prices.json,
workload.Image and queueing.simulate; options replace what was measured or assumed.
"""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from ops import ROOT
from ops.capacity.figures import DEFAULT_MEMORY, figures
from ops.capacity.prices import load_prices
from ops.capacity.tables import render_sections, write_into
from ops.capacity.workload import BENCH, Image, measured_image, memory_sizes
from ops.cli import USAGE, command_parser


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or JSON, or write them between their marks in a page; returns the exit status."""
    options = _parse(arguments)
    try:
        values = figures(_image(options), load_prices(), options.memory)
        if options.json:
            print(json.dumps(values, indent=2))
            return 0
        sections = render_sections(values)
        if options.write:
            write_into(options.write, sections)
            print(f"{options.write}: {len(sections)} tables written")
        else:
            print("\n\n".join(sections.values()))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    bench = BENCH.relative_to(ROOT)
    parser = command_parser("ops.capacity", __doc__)
    parser.add_argument("--json", action="store_true", help="figures instead of tables")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between their marks in PAGE")
    parser.add_argument("--memory", type=int, choices=memory_sizes(), default=DEFAULT_MEMORY, help="MB, for the queue")
    parser.add_argument("--bench", type=Path, help=f"measurements of this machine [{bench}, if there]")
    parser.add_argument("--defaults", action="store_true", help="use the measurements in the source only")
    for field in fields(Image):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=None)
    return parser.parse_args(arguments)


def _image(options: argparse.Namespace) -> Image:
    given = {f.name: getattr(options, f.name) for f in fields(Image) if getattr(options, f.name) is not None}
    if options.bench is not None and not options.defaults and not options.bench.is_file():
        raise FileNotFoundError(f"there are no measurements {options.bench}: `make bench` makes them")
    return measured_image(given, None if options.defaults else options.bench or BENCH)


if __name__ == "__main__":
    sys.exit(main())
