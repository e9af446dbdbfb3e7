"""The layers hold what Lambda needs, fit its size limit, and are complete or absent."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from layers import PackagingError, packing, size, wheels
from layers import __main__ as command
from layers.__main__ import architecture_warning, deployed_architecture, main
from layers.packing import REQUIREMENTS, check, fill_libraries, fill_model, pack, prune, read_manifest, without_heic
from layers.reproducible import tree_digest
from layers.size import size_table
from layers.wheels import TARGETS, Target, pip_command, pip_install

WHEEL = {  # the files of a distribution "thing"; 4 + 2 + 3 bytes of them are needed
    "thing/__init__.py": "used",
    "thing/engine.so": "so",
    "thing-1.0.dist-info/METADATA": "abc",
    "thing/tests/test_thing.py": "unused",
    "thing/__pycache__/thing.cpython-313.pyc": "unused",
    "thing/types.pyi": "unused",
    "thing/include/thing.h": "unused",
    "thing/bin/tool.py": "x",  # only bin/ at the top holds console scripts
    "bin/thing": "unused",
}

GOLDEN = {"tile": base64.b64encode(bytes(16 * 16 * 3)).decode(), "logits": [1.0, -1.0]}
MANIFEST = {
    "labels": ["cats", "dogs"],
    "input_size": [8, 8],
    "temperature": 1.0,
    "confidence_threshold": 0.5,
    "golden": GOLDEN,
    "format_version": 2,
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


class Installer:
    """Replaces pip: unpacks WHEEL and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, requirements: Path, folder: Path, target: Target) -> None:
        self.calls += 1
        write(folder, WHEEL | {"thing/pinned.txt": requirements.read_text(), "thing/machine.txt": target.machine})


def failing_install(_requirements: Path, folder: Path, _target: Target) -> None:
    write(folder, {"half/a_library.py": "unfinished"})
    raise PackagingError("no index")


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    file = tmp_path / "layer.txt"
    file.write_text("thing==1.0")
    return file


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "built"
    write_model(folder, b"network")
    return folder


def write_model(folder: Path, network: bytes, **members: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(network)
    own = {"model_version": "cats-1", "model_sha256": hashlib.sha256(network).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(MANIFEST | own | members))


def write_glance(folder: Path, network: bytes, **members: object) -> None:
    """A model with a glance network; the file may be another one than the manifest names."""
    glance = {"sha256": hashlib.sha256(b"glance").hexdigest(), "temperature": 1.0, "confidence": 0.95}
    write_model(folder, b"network", glance=glance | {"familiarity": 0.1, "golden": GOLDEN} | members)
    (folder / "glance.onnx").write_bytes(network)


def test_the_layers_have_the_paths_that_lambda_and_the_function_search(
    tmp_path: Path, requirements: Path, model: Path
) -> None:
    pack(model, tmp_path / "layers", requirements, Installer())
    # Lambda unpacks layers into /opt: its Python searches /opt/python, the function reads /opt/model.
    assert tree(tmp_path / "layers" / "model") == {"model/model.onnx", "model/manifest.json"}
    assert "python/thing/__init__.py" in tree(tmp_path / "layers" / "libraries")
    assert (tmp_path / "layers/model/model/model.onnx").read_bytes() == b"network"


@pytest.mark.parametrize("name", ["predictions.csv", "exemplars.json"])
def test_a_file_that_not_every_build_writes_is_in_the_model_layer_if_there_is_one(
    tmp_path: Path, requirements: Path, model: Path, name: str
) -> None:
    (model / name).write_bytes(b"content")
    pack(model, tmp_path / "layers", requirements, Installer())
    assert (tmp_path / "layers/model/model" / name).read_bytes() == b"content"


def test_files_that_never_run_in_lambda_are_removed_and_metadata_stays(tmp_path: Path) -> None:
    write(tmp_path, WHEEL)
    assert prune(tmp_path) == 5 * len("unused")
    kept = {"thing/__init__.py", "thing/engine.so", "thing/bin/tool.py", "thing-1.0.dist-info/METADATA"}
    assert tree(tmp_path) == kept


def test_libraries_are_installed_again_only_when_the_requirements_change(tmp_path: Path, requirements: Path) -> None:
    install, out = Installer(), tmp_path / "layers"
    fill_libraries(out, requirements, install)
    assert "unchanged" in fill_libraries(out, requirements, install)
    assert install.calls == 1
    requirements.write_text("thing==1.1")
    fill_libraries(out, requirements, install)
    assert install.calls == 2
    assert (out / "libraries/python/thing/pinned.txt").read_text() == "thing==1.1"


def test_layers_for_another_architecture_replace_the_first_and_a_file_beside_them_names_it(
    tmp_path: Path, requirements: Path
) -> None:
    install, out = Installer(), tmp_path / "layers"
    for architecture, machine in (("x86_64", "x86_64"), ("arm64", "aarch64"), ("arm64", "aarch64")):
        fill_libraries(out, requirements, install, architecture)
        assert (out / "libraries/python/thing/machine.txt").read_text() == machine
        assert (out / "architecture").read_text() == f"{architecture}\n"
    assert install.calls == 2


@pytest.mark.parametrize(
    ("text", "architecture"),
    [
        ('parameter_overrides = "MemorySize=\\"3008\\" Architecture=\\"arm64\\""', "arm64"),  # as SAM writes it
        ("parameter_overrides = 'Architecture=x86_64'", "x86_64"),
        ("parameter_overrides = ['Architecture=arm64', 'TagPrefix=x86_64']", "arm64"),
        ("parameter_overrides = { Architecture = 'arm64' }", "arm64"),
        ("parameter_overrides = 'TagPrefix=arm64'", None),
        ("resolve_s3 = true", None),
    ],
)
def test_the_deployed_architecture_is_read_from_samconfig(tmp_path: Path, text: str, architecture: str | None) -> None:
    (tmp_path / "samconfig.toml").write_text(f"version = 0.1\n[default.deploy.parameters]\n{text}\n")
    assert deployed_architecture(tmp_path / "samconfig.toml") == architecture


@pytest.fixture
def platforms(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The platforms that the command asks pip for, which is not run and leaves one file."""
    platforms: list[str] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        platforms.extend(command[index + 1] for index, word in enumerate(command) if word == "--platform")
        write(Path(command[command.index("--target") + 1]), {"library.py": ""})
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(wheels, "subprocess", SimpleNamespace(run=pip, PIPE=None, STDOUT=None))
    monkeypatch.setattr(command, "compiler", lambda: None)
    return platforms


@pytest.mark.parametrize("libraries_only", [True, False])
@pytest.mark.parametrize(
    ("arguments", "deployed", "architecture", "machine"),
    [
        ([], None, "x86_64", "_x86_64"),
        ([], "arm64", "arm64", "_aarch64"),
        (["--architecture", "arm64"], None, "arm64", "_aarch64"),
        (["--architecture", "x86_64"], "arm64", "x86_64", "_x86_64"),
    ],
)
def test_the_command_packs_the_architecture_that_is_named_or_else_deployed(
    tmp_path: Path,
    model: Path,
    platforms: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    deployed: str | None,
    architecture: str,
    machine: str,
    libraries_only: bool,
) -> None:
    monkeypatch.setattr(command, "deployed_architecture", lambda environment: deployed)
    out = tmp_path / "layers"
    rest = ["--libraries-only"] if libraries_only else ["--model", str(model)]
    assert main([*arguments, *rest, "--out", str(out)]) == 0
    assert platforms
    assert all(platform.endswith(machine) for platform in platforms)
    assert (out / "architecture").read_text() == f"{architecture}\n"
    assert (out / "model").exists() is not libraries_only
    differs = architecture != (deployed or "x86_64") and not libraries_only
    assert (f"WARNING: these layers run on {architecture} only" in capsys.readouterr().out) is differs


@pytest.mark.usefixtures("platforms")
@pytest.mark.parametrize("libraries_only", [True, False])
def test_the_command_compiles_the_libraries_with_the_runtimes_python(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, libraries_only: bool
) -> None:
    monkeypatch.setattr(command, "compiler", lambda: Path(sys.executable))
    rest = ["--libraries-only"] if libraries_only else ["--model", str(model)]
    assert main([*rest, "--out", str(tmp_path / "layers")]) == 0
    assert len(list((tmp_path / "layers/libraries/python/__pycache__").glob("library.*.pyc"))) == 1


def test_layers_for_another_architecture_than_the_functions_give_a_warning() -> None:
    assert architecture_warning("arm64", deployed="arm64") is None
    assert "make deploy ARCH=arm64" in str(architecture_warning("arm64", deployed="x86_64"))


def test_without_a_samconfig_there_is_no_deployed_architecture(tmp_path: Path) -> None:
    assert deployed_architecture(tmp_path / "samconfig.toml") is None


def test_a_retrained_model_changes_the_model_layer_only(tmp_path: Path, requirements: Path, model: Path) -> None:
    out, layers = tmp_path / "layers", ("libraries", "model")
    pack(model, out, requirements, Installer())
    before = {layer: tree_digest(out / layer) for layer in layers}
    write_model(model, b"retrained")
    pack(model, out, requirements, Installer())
    assert [layer for layer in layers if tree_digest(out / layer) != before[layer]] == ["model"]


def test_without_heic_pillow_heif_alone_is_left_out_and_every_other_pin_keeps_its_hashes(tmp_path: Path) -> None:
    def pins(path: Path) -> dict[str, set[str]]:
        blocks = re.split(r"^(?=[\w-]+==)", path.read_text(), flags=re.MULTILINE)[1:]
        return {block.split()[0]: set(re.findall(r"sha256:[0-9a-f]{64}", block)) for block in blocks}

    whole, reduced = pins(REQUIREMENTS), pins(without_heic(REQUIREMENTS, tmp_path / "layers"))
    (heif,) = (name for name in whole if name.startswith("pillow-heif=="))
    assert whole[heif]
    assert reduced == {name: hashes for name, hashes in whole.items() if name != heif}


def test_with_and_without_heic_the_libraries_are_installed_anew(
    tmp_path: Path, model: Path, platforms: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--libraries-only", "--architecture", "x86_64", "--out", str(tmp_path / "layers")]
    for arguments, installs in (([], True), (["--heic", "0"], True), (["--heic", "0"], False), ([], True)):
        platforms.clear()
        assert main([*arguments, *rest]) == 0
        assert bool(platforms) is installs
        assert ("HEIC pictures will be UNSUPPORTED" in capsys.readouterr().out) is bool(arguments)


def test_a_removed_layer_is_installed_again(tmp_path: Path, requirements: Path) -> None:
    install, out = Installer(), tmp_path / "layers"
    fill_libraries(out, requirements, install)
    (out / "libraries").rename(out / "elsewhere")
    fill_libraries(out, requirements, install)
    assert install.calls == 2


def test_a_failed_installation_leaves_the_old_layer(tmp_path: Path, requirements: Path) -> None:
    out = tmp_path / "layers"
    fill_libraries(out, requirements, Installer())
    before = tree(out / "libraries")
    requirements.write_text("thing==2.0")
    with pytest.raises(PackagingError, match="no index"):
        fill_libraries(out, requirements, failing_install)
    assert tree(out / "libraries") == before
    assert (out / "libraries/python/thing/pinned.txt").read_text() == "thing==1.0"


def test_after_a_failure_the_next_run_installs(tmp_path: Path, requirements: Path) -> None:
    install, out = Installer(), tmp_path / "layers"
    with pytest.raises(PackagingError):
        fill_libraries(out, requirements, failing_install)
    fill_libraries(out, requirements, install)
    assert install.calls == 1
    assert not any(name.startswith("python/half") for name in tree(out / "libraries"))


def test_layers_are_readable_for_everybody(tmp_path: Path, model: Path) -> None:
    (model / "model.onnx").chmod(0o600)
    fill_model(tmp_path / "layers", model)
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "layers/model").rglob("*") if p.is_file()}
    assert modes == {0o644}


@pytest.mark.parametrize("missing", ["model.onnx", "manifest.json"])
def test_without_a_model_the_error_says_how_to_make_one_and_nothing_changes(
    tmp_path: Path, requirements: Path, model: Path, missing: str
) -> None:
    (model / missing).unlink()
    install = Installer()
    with pytest.raises(PackagingError, match=rf"no {missing} in .*built.*`make model`"):
        pack(model, tmp_path / "layers", requirements, install)
    assert install.calls == 0
    assert not (tmp_path / "layers").exists()


def test_a_network_that_differs_from_the_manifest_is_refused(model: Path) -> None:
    (model / "model.onnx").write_bytes(b"another network")
    with pytest.raises(PackagingError, match="is not the network of its manifest"):
        read_manifest(model)


def test_a_manifest_that_was_edited_is_refused_before_it_is_deployed(
    tmp_path: Path, requirements: Path, model: Path
) -> None:
    write_model(model, b"network", labels=["dogs", "cats"], manifest_sha256="0" * 64)
    with pytest.raises(PackagingError, match=r"manifest\.json: was changed after the model was built"):
        pack(model, tmp_path / "layers", requirements, Installer())
    assert not (tmp_path / "layers").exists()


def test_a_manifest_that_the_functions_would_refuse_is_refused_before_it_is_deployed(
    tmp_path: Path, requirements: Path, model: Path
) -> None:
    for members in ({"temperature": 0}, {"confidence": 2}, {"golden": None}):
        write_glance(model, b"glance", **members)
        with pytest.raises(PackagingError, match=r"manifest\.json: (glance\.\w+|golden) must be"):
            pack(model, tmp_path / "layers", requirements, Installer())
    assert not (tmp_path / "layers").exists()


def test_the_glance_network_is_in_the_model_layer_if_the_manifest_names_it(
    tmp_path: Path, requirements: Path, model: Path
) -> None:
    for names_it in (True, False):
        write_glance(model, b"glance")
        if not names_it:  # the file of an earlier model
            write_model(model, b"network")
        pack(model, tmp_path / "layers", requirements, Installer())
        assert ("model/glance.onnx" in tree(tmp_path / "layers" / "model")) is names_it


def test_a_glance_network_that_is_missing_or_another_one_is_refused(model: Path) -> None:
    write_glance(model, b"of another build")
    with pytest.raises(PackagingError, match=r"glance\.onnx is not the network of its manifest"):
        read_manifest(model)
    (model / "glance.onnx").unlink()
    with pytest.raises(PackagingError, match=r"glance\.onnx is missing, and the manifest beside it names it"):
        read_manifest(model)


@pytest.mark.parametrize("glance", [[1], "glance.onnx", {}, False, {"temperature": 1.0}])
def test_a_manifest_whose_glance_network_has_no_digest_is_refused(model: Path, glance: object) -> None:
    write_model(model, b"network", glance=glance)
    with pytest.raises(PackagingError, match="is not a model manifest"):
        read_manifest(model)


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00"])
def test_an_invalid_manifest_is_refused(model: Path, text: str) -> None:
    (model / "manifest.json").write_text(text)
    with pytest.raises(PackagingError, match="is not a model manifest"):
        read_manifest(model)


@pytest.mark.parametrize(("weights", "warnings"), [("random", 1), ("imagenet", 0), ("file", 0)])
def test_a_model_with_random_weights_gives_a_warning(
    tmp_path: Path,
    requirements: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    weights: str,
    warnings: int,
) -> None:
    write_model(model, b"network", build={"weights": weights})
    pack(model, tmp_path / "layers", requirements, Installer())
    assert capsys.readouterr().out.count("WARNING: this model has random weights") == warnings


def test_the_margin_is_262144000_bytes_less_code_and_layers(tmp_path: Path, requirements: Path, model: Path) -> None:
    functions, out = tmp_path / "functions", tmp_path / "layers"
    write(
        functions,
        {
            "classify/app.py": "12345",  # the smaller function: 5 + 3 bytes
            "score/app.py": "1234",
            "evaluation/metrics.py": "12",
            "labeller/classifier.py": "123",
            "Makefile": "not shipped",
        },
    )
    fill_libraries(out, requirements, lambda _file, folder, _target: write(folder, {"library.py": "1234567"}))
    fill_model(out, model)
    manifest_bytes = (model / "manifest.json").stat().st_size
    table, margin = size_table(out, functions)
    code = round(2.5 * (4 + 2 + 3))  # with its bytecode, which is made later
    assert margin == 262_144_000 - code - 7 - (len(b"network") + manifest_bytes)
    assert f"{margin:,}" in table


def test_layers_of_exactly_the_limit_pass_and_one_byte_more_fails(
    tmp_path: Path, requirements: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "function_size", lambda *_: 0)
    room = 262_144_000 - sum((model / name).stat().st_size for name in ("model.onnx", "manifest.json"))

    def install(_requirements: Path, folder: Path, _target: Target) -> None:
        folder.mkdir()
        with (folder / "library.so").open("wb") as file:
            file.truncate(room)  # a sparse file: the size counts, the disk is not filled

    pack(model, tmp_path / "layers", requirements, install)
    room += 1
    requirements.write_text("a larger library")
    with pytest.raises(PackagingError, match=r" 1 bytes over Lambda's limit of 262,144,000 bytes"):
        pack(model, tmp_path / "layers", requirements, install)


def test_without_a_model_the_command_prints_one_line_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path / "none"), "--out", str(tmp_path / "layers")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("layers: no model.onnx in ")
    assert error.count("\n") == 1


def test_a_variable_that_does_not_name_a_python_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMBDA_PYTHON", "/bin/false")
    assert main(["--libraries-only", "--out", str(tmp_path / "layers")]) == 1
    assert "LAMBDA_PYTHON names /bin/false, which is not a Python 3.13" in capsys.readouterr().err
    assert not (tmp_path / "layers").exists()


def test_a_build_without_layers_is_refused_with_the_command_to_run(
    tmp_path: Path, requirements: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "layers"
    for layer in ("libraries", "model"):
        assert main(["--check", "--out", str(out), "--model", str(model)]) == 1
        assert f"no {layer} layer in {out}: run `make layer` first" in capsys.readouterr().err
        if layer == "libraries":
            fill_libraries(out, requirements, Installer())
    fill_model(out, model)
    assert main(["--check", "--out", str(out), "--model", str(model)]) == 0
    assert capsys.readouterr().out == ""


def test_a_layer_of_another_model_than_the_last_build_gives_a_warning(
    tmp_path: Path, requirements: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(model, tmp_path / "layers", requirements, Installer())
    capsys.readouterr()
    write_model(model, b"retrained", model_version="cats-2")
    assert main(["--check", "--out", str(tmp_path / "layers"), "--model", str(model)]) == 0
    warning = capsys.readouterr().out
    assert "WARNING: the layer holds model cats-1" in warning
    assert "is cats-2: to ship that one" in warning
    assert check(tmp_path / "layers", tmp_path / "no model here") is None


@pytest.mark.parametrize("member", ["temperature", "confidence"])
def test_a_layer_whose_glance_network_answers_otherwise_gives_a_warning(
    tmp_path: Path, requirements: Path, model: Path, member: str
) -> None:
    write_glance(model, b"glance")
    pack(model, tmp_path / "layers", requirements, Installer())
    assert check(tmp_path / "layers", model) is None
    write_glance(model, b"glance", **{member: 0.99})
    assert "WARNING: the layer holds model cats-1" in str(check(tmp_path / "layers", model))


def test_a_layer_with_another_threshold_than_the_last_build_gives_a_warning(
    tmp_path: Path, requirements: Path, model: Path
) -> None:
    pack(model, tmp_path / "layers", requirements, Installer())
    write_model(model, b"network", confidence_threshold=0.9)
    assert "WARNING: the layer holds model cats-1" in str(check(tmp_path / "layers", model))


@pytest.mark.parametrize("small_disk", [150], indirect=True)
def test_a_full_disk_is_reported_in_one_line_and_leaves_the_old_layers(
    small_disk: Path, requirements: Path, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    out = small_disk / "layers"
    pack(model, out, requirements, Installer())
    before = {layer: tree_digest(out / layer) for layer in ("libraries", "model")}
    write_model(model, b"a larger network" * 10_000)
    monkeypatch.setattr(command, "compiler", lambda: None)
    monkeypatch.setattr(packing, "fill_libraries", lambda *_, **__: "unchanged")
    capsys.readouterr()
    assert main(["--model", str(model), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert "No space left on device. The layers in" in error
    assert error.count("\n") == 1
    assert {layer: tree_digest(out / layer) for layer in before} == before


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (PermissionError(13, "Permission denied", "model/model.onnx"), "model/model.onnx: Permission denied"),
        (OSError(5, "Input/output error"), "out: Input/output error"),
        (OSError("torn"), "out: torn"),
    ],
)
def test_an_error_of_the_system_names_its_file_and_its_cause(
    error: OSError, cause: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_options: object) -> None:
        raise error

    monkeypatch.setattr(command, "run", fail)
    assert main(["--out", "out"]) == 1
    advice = "The layers in out are unchanged; run `make layer` again"
    assert capsys.readouterr().err == f"layers: {cause}. {advice}\n"


def test_without_options_the_built_model_is_packed_into_build_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[SimpleNamespace] = []
    monkeypatch.setattr(command, "run", given.append)
    assert main([]) == 0
    build = command.ROOT / "build"
    assert [(options.model, options.out) for options in given] == [(build / "model", build / "layers")]


def test_pip_takes_only_pinned_wheels_for_lambdas_runtime() -> None:
    command = pip_command(Path("layer.txt"), Path("python"), TARGETS["x86_64"])
    options = set(command)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= options
    assert command[command.index("--python-version") + 1] == "3.13"
    platforms = [command[i + 1] for i, word in enumerate(command) if word == "--platform"]
    # PEP 600: manylinux_X_Y asks for glibc X.Y or later, and Amazon Linux 2023 has 2.34.
    assert "manylinux_2_34_x86_64" in platforms
    assert all(platform.endswith("_x86_64") for platform in platforms)
    assert not [word for word in command if "index" in word]  # the index is the user's own


def test_pip_takes_wheels_for_arm64_by_the_name_in_their_tags() -> None:
    command = pip_command(Path("layer.txt"), Path("python"), TARGETS["arm64"])
    platforms = [command[i + 1] for i, word in enumerate(command) if word == "--platform"]
    assert "manylinux_2_28_aarch64" in platforms
    assert all(platform.endswith("_aarch64") for platform in platforms)


def test_pips_output_is_shown_if_it_fails(tmp_path: Path) -> None:
    requirements = tmp_path / "layer.txt"
    requirements.write_text("not a requirement ==\n")  # pip refuses it before it asks any index
    with pytest.raises(PackagingError, match=r"(?s)pip could not install .*layer\.txt.*Invalid requirement"):
        pip_install(requirements, tmp_path / "python", TARGETS["arm64"])
