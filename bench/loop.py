"""The loop end to end: a model of few pictures, reviews of uploads, `make learn`. --wrong: a share of wrong answers.

    python -m bench.loop --data DIR --weights PATH [--image-size 96] [--wrong 0.3]

From the data set, 100 pictures a label build the deployed model, 900 others are uploaded to the local AWS, where the
real handler labels them, and the stack's test set has 2,000 more. A reviewer who knows the folders answers on the desk
of `make review`: 60 of the random sample, then 240 that the model is unsure of. `make learn` ends each round with its
verdict.
"""

import argparse
import asyncio
import io
import random
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path

from bench.sources import OUT
from labeller.manifest import MANIFEST_FILE, ModelError
from labeller.results import Status
from local.aws.moto import local_aws
from local.aws.poller import deliver
from local.aws.stack import Stack, deploy
from local.classify import classify_handler
from ops import learn, testset
from ops.cli import CommandError, command_parser, exit_status, folder
from ops.review.__main__ import uploads_desk
from ops.review.uploads import SAMPLE

KNOWN = {"train": 60, "validation": 40}  # pictures of each label of the deployed model
UPLOADS, TESTED = 900, 2000  # pictures; of the test set, which shows a difference of 1.5 points
REVIEWS = {SAMPLE: 60, Status.UNSURE.value: 240}
SEED = 18


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = command_parser("bench.loop", __doc__)
    parser.add_argument("--data", type=folder, required=True, help="data set with train/, validation/ and test/")
    parser.add_argument("--weights", required=True, help="as for the build")
    parser.add_argument("--image-size", default="96", help="small: the accuracy must have room to improve [96]")
    parser.add_argument("--wrong", type=float, default=0.0, help="share of wrong answers [0]")
    options = parser.parse_args()
    return exit_status(lambda: run(options), ModelError, OSError)


def run(options: argparse.Namespace) -> int:
    """Build and play; returns the exit status of `make learn`, which prints its verdict. Raises CommandError."""
    out = OUT / "loop"
    data, uploads = prepare(options.data, out)
    model = out / "model"
    if not (model / MANIFEST_FILE).is_file():
        command = ["--data", str(data), "--out", str(model), "--image-size", options.image_size, "--compress", "none"]
        command = [sys.executable, "-m", "model_build", "--weights", options.weights, *command]
        if subprocess.run(command, check=False).returncode:
            raise CommandError("the build failed")
    return play(out, data, uploads, options.weights, options.wrong)


def prepare(source: Path, out: Path) -> tuple[Path, dict[str, Path]]:
    """The data set of the deployed model, and the uploads by key; the folder `tested` has the stack's test set."""
    data, tested = out / "data", out / "tested"
    chosen, rest = random.Random(SEED), []  # noqa: S311
    for each in (data, tested):
        shutil.rmtree(each, ignore_errors=True)
    for label in sorted(path.name for path in (source / "train").iterdir()):
        pool = sorted(path for split in KNOWN for path in (source / split / label).iterdir())
        chosen.shuffle(pool)
        parts = {"test": sorted((source / "test" / label).iterdir())}
        for split, count in KNOWN.items():
            parts[split], pool = pool[:count], pool[count:]
        for split, paths in parts.items():
            (data / split / label).mkdir(parents=True)
            for path in paths:
                shutil.copyfile(path, data / split / label / path.name)
        rest += [(f"{label}/{path.name}", path) for path in pool]
    shutil.copytree(data / "test", tested)
    chosen.shuffle(rest)
    kept_aside = TESTED - sum(1 for _ in tested.rglob("*.*"))
    for key, path in rest[UPLOADS : UPLOADS + kept_aside]:
        shutil.copyfile(path, tested / key)
    return data, dict(rest[:UPLOADS])


def play(out: Path, data: Path, uploads: dict[str, Path], weights: str, wrong: float) -> int:
    """Deploy, upload, label, review, learn; returns the exit status of `make learn`."""
    learned = out / "learned"
    shutil.rmtree(learned, ignore_errors=True)
    shutil.copytree(data, learned)
    model = out / "model"
    with local_aws() as aws, (out / "classify.log").open("w", encoding="utf-8") as log:
        stack = deploy(aws)
        for key, path in uploads.items():
            aws.client("s3").put_object(Bucket=stack.uploads_bucket, Key=key, Body=path.read_bytes())
        with classify_handler(stack, model, log) as handler:
            deliver(aws, stack, handler)
        print(asyncio.run(review(stack, model, wrong)), flush=True)
        with redirect_stdout(io.StringIO()):
            testset.main([str(out / "tested"), "--stack", stack.name, "--model", str(model)])
        named = {"stack": stack.name, "data": learned, "model": model, "candidate": out / "candidate"}
        arguments = [f"--{name}={value}" for name, value in named.items()]
        return learn.main([*arguments, f"--weights={weights}"])


async def review(stack: Stack, model: Path, wrong: float) -> str:
    """Answer by the keys' folders, a share of the answers wrong; returns what was done."""
    options = argparse.Namespace(stack=stack.name, model=model, day=datetime.now(UTC).date(), days=2)
    desk, chosen, given = uploads_desk(options), random.Random(SEED), dict.fromkeys(REVIEWS, 0)  # noqa: S311
    for queue, count in REVIEWS.items():
        opened, after = await desk.open(queue, ""), 0
        while given[queue] < count and after < opened.total:
            items, after = await opened.items(after, count - given[queue])
            for item in items:
                label = item.name.split("/")[0]
                if chosen.random() < wrong:
                    label = next(other for other in desk.labels if other != label)
                await desk.answer(item.id, label, queue)
                given[queue] += 1
    return ", ".join(f"{count} reviews in {queue}" for queue, count in given.items())


if __name__ == "__main__":
    sys.exit(main())
