from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cpus.__main__ import TOOLS_MISSING, main
from bench.cpus.machines import EMULATED, MissingTools, native, require_tools
from bench.cpus.sysroot import cpu_root, link_lib


def only(*tools: str) -> Callable[[str], str | None]:
    """A `which` that finds only these."""
    return lambda name: f"/usr/bin/{name}" if name in tools else None


@pytest.mark.parametrize(
    ("vnni", "title"),
    [(True, "A CPU, native, with VNNI"), (False, "A CPU, native, without VNNI"), (None, "A CPU, native, without VNNI")],
)
def test_the_native_cpu_is_named_with_or_without_vnni(vnni: bool | None, title: str) -> None:
    machine = native("A CPU", vnni)
    assert machine.title == title
    assert machine.cpu is None


def test_no_error_if_all_tools_are_installed() -> None:
    require_tools(only("qemu-x86_64", "qemu-aarch64", "apt-get", "dpkg-deb"), "x86_64")


def test_the_package_of_a_missing_emulator_is_named() -> None:
    with pytest.raises(MissingTools, match=r"^qemu-aarch64 not found.* sudo apt-get install qemu-user$"):
        require_tools(only("qemu-x86_64", "apt-get", "dpkg-deb"), "x86_64")


def test_without_apt_the_error_names_debian() -> None:
    with pytest.raises(MissingTools, match=r"apt-get and dpkg-deb not found: .* needs a Debian or Ubuntu"):
        require_tools(only("qemu-x86_64", "qemu-aarch64"), "x86_64")


def test_a_machine_other_than_x86_is_refused() -> None:
    with pytest.raises(MissingTools, match="this machine is aarch64"):
        require_tools(only(), "aarch64")


def test_missing_tools_have_an_exit_status_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([]) == TOOLS_MISSING == 3
    error = capsys.readouterr().err
    assert error.startswith("verify-cpus: ")
    assert error.count("\n") == 1


def test_an_arm64_cpu_sees_its_own_cpuinfo_beside_the_system_that_all_share(tmp_path: Path) -> None:
    (tmp_path / "root" / "usr").mkdir(parents=True)
    (tmp_path / "root" / "usr" / "python3").touch()
    neon = next(machine for machine in EMULATED if machine.name == "arm64-neon")
    dot = next(machine for machine in EMULATED if machine.name == "arm64-dot")
    # Linux's names (Documentation/arch/arm64/elf_hwcaps.rst): asimddp is the dot product, i8mm the matrix product.
    assert ("asimddp" in neon.cpuinfo, "asimddp" in dot.cpuinfo, "i8mm" in dot.cpuinfo) == (False, True, False)
    for machine in (neon, dot, dot):  # each time from scratch
        root = cpu_root(tmp_path, machine)
        assert (root / "proc" / "cpuinfo").read_text() == machine.cpuinfo
        assert (root / "usr" / "python3").is_file()


def test_the_loader_is_in_lib_whether_the_packages_of_debian_12_or_13_are_unpacked(tmp_path: Path) -> None:
    # libc6 has the loader in /lib in Debian 12, in /usr/lib in 13. Programs ask for it in /lib.
    for folder in ("12/lib", "13/usr/lib"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "ld-linux-aarch64.so.1").touch()
    for root in (tmp_path / "12", tmp_path / "13"):
        link_lib(root)
        assert (root / "lib" / "ld-linux-aarch64.so.1").is_file()
