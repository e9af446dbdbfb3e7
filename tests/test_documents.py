"""The documents: links resolve, and the files, make targets and variables that they name exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from local import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "events").glob("*.md")])
MAKEFILE = (ROOT / "Makefile").read_text()
TAKES = {target: names.split() for target, names in re.findall(r"^([a-z-]+)_takes := (.+)$", MAKEFILE, re.MULTILINE)}
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


def prose(path: Path) -> str:
    """The text without code blocks, where brackets mean something else."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The fragments of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(path: Path) -> list[str]:
    """Every `make ...` of a document, in code blocks and in backticks."""
    text = path.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^```.*?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    blocks += "\n" + "\n".join(line for line in text.splitlines() if line.startswith("    "))
    return re.findall(r"^\s*make ([a-z].*)", blocks, re.MULTILINE) + re.findall(r"`make ([a-z][^`]*)`", text)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, fragment = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (fragment and fragment not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_source_file_that_is_named_exists(path: Path) -> None:
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|json|txt|html|md))(?::\w+)?`", path.read_text(encoding="utf-8"))
    made_by_commands = ("build/", "accuracy/", ".aws-sam/")
    sources = [name for name in named if not name.startswith(made_by_commands)]

    assert [name for name in sources if not any((root / name).exists() for root in (ROOT, ROOT / "functions"))] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_command_names_targets_and_variables_that_exist(path: Path) -> None:
    wrong = []
    for command in commands(path):
        words = shlex.split(re.split(r"  |\s#|&&|;", command)[0])
        targets = [word for word in words if "=" not in word]
        variables = [word.split("=")[0] for word in words if re.match(r"[A-Z_]+=", word)]
        allowed = {name.split(":")[0] for target in targets for name in TAKES.get(target, [])} | {"PYTHON"}
        if not set(targets) <= TARGETS or not set(variables) <= allowed:
            wrong.append(command)

    assert wrong == []


def test_the_readme_fits_in_150_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_every_document_is_reachable_from_the_readme() -> None:
    seen: set[Path] = set()
    pending = [ROOT / "README.md"]
    while pending:
        path = pending.pop()
        seen.add(path)
        links = (path.parent / target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)))
        pending += [link.resolve() for link in links if link.suffix == ".md" and link.resolve() not in seen]

    assert set(DOCUMENTS) - seen == set()


def test_the_sample_workflow_calls_targets_with_variables_that_exist() -> None:
    workflow = yaml.safe_load((ROOT / "docs/deploy-workflow.yml").read_text("utf-8"))
    assert workflow[True] == {"push": {"branches": ["main"]}}  # YAML reads `on` as true
    jobs = workflow["jobs"]
    assert [jobs[name].get("needs") for name in ("test", "dev", "prod")] == [None, "test", "dev"]
    assert jobs["prod"]["permissions"]["id-token"] == "write"
    commands = re.findall(
        r"make (.+)", "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    )
    called = {(words[0], *sorted(word.split("=")[0] for word in words[1:])) for words in map(str.split, commands)}
    assert called == {("test",), ("shadow", "MODEL", "STACK"), ("deploy", "ENV")}
    for target, *variables in called:
        assert set(variables) <= {name.split(":")[0] for name in TAKES.get(target, [])}
    environments = set(tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8")))
    assert {jobs[name]["environment"] for name in ("dev", "prod")} <= environments
