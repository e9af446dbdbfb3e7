"""How a command finds the stack that `make local` runs on this machine: STACK=local.

`make local` writes where it listens as a file of shell exports. A command that is given STACK=local puts them into its
own environment; a shell does the same with `. build/local/env`.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

LOCAL = "local"  # the stack's name
ENVIRONMENT = Path("build/local/env")
MODEL = "MODEL_DIR"  # the variable that names the model of the running stack, as in Lambda
BUILT = Path("build/model")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")  # name credentials of an account


def exports(variables: Mapping[str, str]) -> str:
    """The lines of a shell script that sets `variables`."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([f"unset {' '.join(_PROFILES)}", *lines, ""])


def enter() -> None:
    """Point this process to the running stack and to nothing else, as `local_aws` does.

    Raises FileNotFoundError if none runs.
    """
    lines = [shlex.split(line) for line in ENVIRONMENT.read_text("utf-8").splitlines()]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(dict(words[1].split("=", 1) for words in lines if words[0] == "export"))


def model_folder(named: Path | None) -> Path:
    """The folder of the deployed model: the named one, else that of the local stack if `enter` led to one, else
    build/model."""
    return named or Path(os.environ.get(MODEL) or BUILT)
