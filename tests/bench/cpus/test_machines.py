from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cpus.__main__ import TOOLS_MISSING, main
from bench.cpus.machines import EMULATED, MissingTools, native, require_tools
from bench.cpus.sysroot import cpu_root


def only(*tools: str) -> Callable[[str], str | None]:
    """A `which` that finds these and nothing else."""
    return lambda name: f"/usr/bin/{name}" if name in tools else None


@pytest.mark.parametrize(
    ("flags", "said"),
    [("avx2 avx512_vnni", "AVX512 VNNI"), ("avx2 avx_vnni", "AVX VNNI"), ("avx2 fma", "without VNNI")],
)
def test_the_native_cpu_is_named_with_what_it_has_for_int8(flags: str, said: str) -> None:
    machine = native(f"processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu {flags}\n\nprocessor\t: 1\n")
    assert machine.title == f"A CPU, native, {said}"
    assert machine.cpu is None


def test_nothing_is_asked_for_where_everything_is_there() -> None:
    require_tools(only("qemu-x86_64", "qemu-aarch64", "apt-get", "dpkg-deb"), "x86_64")


def test_the_package_of_a_missing_emulator_is_named() -> None:
    with pytest.raises(MissingTools, match=r"^qemu-aarch64 not found.* sudo apt-get install qemu-user$"):
        require_tools(only("qemu-x86_64", "apt-get", "dpkg-deb"), "x86_64")


def test_a_system_without_apt_is_told_that_it_takes_debian() -> None:
    with pytest.raises(MissingTools, match=r"apt-get and dpkg-deb not found: .* needs a Debian or Ubuntu"):
        require_tools(only("qemu-x86_64", "qemu-aarch64"), "x86_64")


def test_another_machine_than_x86_is_told_so() -> None:
    with pytest.raises(MissingTools, match="this machine is aarch64"):
        require_tools(only(), "aarch64")


def test_the_command_ends_with_a_status_of_its_own_where_tools_are_missing(
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
    for machine in (neon, dot, dot):  # made anew each time
        root = cpu_root(tmp_path, machine)
        assert (root / "proc" / "cpuinfo").read_text() == machine.cpuinfo
        assert (root / "usr" / "python3").is_file()
