"""The arm64 Python for QEMU. Stand-ins for apt-get and dpkg-deb write down how they are called."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.cpus import VerifyError, sysroot
from layers.wheels import Target

APT = """#!/bin/sh
echo "apt-get $*" >> "$CALLS"
cp "$APT_CONFIG" "$CALLS.conf"
[ "$1" = update ] && exit "${UPDATE_STATUS:-0}"
touch "$(dirname "$APT_CONFIG")/cache/archives/python3.deb"
"""
DPKG = """#!/bin/sh
echo "dpkg-deb $1 $(basename "$2")" >> "$CALLS"
mkdir -p "$3/usr/bin" && touch "$3/usr/bin/python3.12" && ln -s python3.12 "$3/usr/bin/python3"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that has a line for each call; pip's are written by its stand-in."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    for name, text in (("apt-get", APT), ("dpkg-deb", DPKG)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(calls))

    def install(_requirements: Path, folder: Path, target: Target) -> None:
        with calls.open("a") as file:
            file.write(f"pip {folder.name} {target.machine} {target.python}\n")

    monkeypatch.setattr(sysroot, "pip_install", install)
    return calls


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "layer.txt"
    path.write_text("numpy==1")
    return path


def test_the_packages_are_downloaded_and_unpacked_and_the_wheels_are_for_their_python(
    tmp_path: Path, calls: Path, requirements: Path
) -> None:
    folder = tmp_path / "arm64"
    assert sysroot.prepare(folder, requirements) == folder / "root/usr/bin/python3.12"
    assert calls.read_text().splitlines() == [
        "apt-get update --quiet",
        "apt-get install --yes --download-only python3 libstdc++6",
        "dpkg-deb --extract python3.deb",
        "pip site aarch64 3.12",
    ]


def test_apt_writes_only_to_folders_of_its_own(tmp_path: Path, calls: Path, requirements: Path) -> None:
    sysroot.prepare(tmp_path / "arm64", requirements)
    settings = dict(re.findall(r'(\S+) "([^"]*)"', calls.with_suffix(".conf").read_text()))
    assert settings["APT::Architecture"] == "arm64"
    for name in ("Dir::State", "Dir::Cache", "Dir::Log", "Dir::State::status"):
        assert not settings[name].startswith(("/var", "/etc")), name
    assert settings["Debug::NoLocking"] == "true"  # the system's own apt may be at work


def test_it_is_made_again_only_if_the_requirements_change(tmp_path: Path, calls: Path, requirements: Path) -> None:
    for text, times in (("numpy==1", 1), ("numpy==1", 1), ("numpy==2", 2)):
        requirements.write_text(text)
        sysroot.prepare(tmp_path / "arm64", requirements)
        assert calls.read_text().count("apt-get install") == times


def test_one_that_was_cut_short_is_made_again(
    tmp_path: Path, calls: Path, requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPDATE_STATUS", "100")
    with pytest.raises(VerifyError, match=r"`apt-get update --quiet ...` failed \(exit status 100\).*must offer arm64"):
        sysroot.prepare(tmp_path / "arm64", requirements)
    monkeypatch.delenv("UPDATE_STATUS")
    assert sysroot.prepare(tmp_path / "arm64", requirements).is_file()
