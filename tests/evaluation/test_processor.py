"""The processor's name and its VNNI instructions, from the text of /proc/cpuinfo."""

import pytest

from evaluation.processor import processor

INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) 6975P-C\nflags\t\t: fpu avx2 {}\n\nprocessor\t: 1\n"
GRAVITON = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd4f\n"


@pytest.mark.parametrize(
    ("flag", "vnni"), [("avx512_vnni", True), ("avx_vnni", True), ("avx512f", False), ("avx512_vnni_not", False)]
)
def test_either_kind_of_vnni_counts(flag: str, vnni: bool) -> None:
    assert processor(INTEL.format(flag), "x86_64") == ("Intel(R) Xeon(R) 6975P-C", vnni)


@pytest.mark.parametrize("cpuinfo", [GRAVITON, ""])
def test_without_a_name_and_flags_the_processor_has_the_name_of_its_architecture(cpuinfo: str) -> None:
    assert processor(cpuinfo, "aarch64") == ("aarch64", None)
