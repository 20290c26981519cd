"""What installing promises: versions, licence, lock, make targets, and no trace of the machine it was made on."""

import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME: list[str] = PROJECT["dependencies"]
EXTRAS: list[str] = [name for extra in PROJECT["optional-dependencies"].values() for name in extra]
REQUIREMENTS = [Requirement(line) for line in RUNTIME + EXTRAS if not line.startswith(PROJECT["name"])]


PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9.]+)(?: ; (?P<marker>[^\\@/]+?))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def lock_lines() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> list[re.Match[str]]:
    return [found for line in lock_lines() if (found := PIN.fullmatch(line))]


def project_files() -> list[Path]:
    """Every file that is committed or about to be."""
    try:
        top = subprocess.run(["git", "-C", ROOT, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if top.returncode != 0 or Path(top.stdout.strip()).resolve() != ROOT:
        pytest.skip("not a git checkout")
    listing = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_lock_holds_versions_and_hashes_and_no_address() -> None:
    """No "+local" version, "@ address", option or range; pip refuses a file whose hash is not there."""
    lines = lock_lines()
    assert [line for line in lines if not (PIN.fullmatch(line) or HASH.fullmatch(line))] == []
    assert [line for line, after in itertools.pairwise(lines) if PIN.match(line) and PIN.match(after)] == []
    assert HASH.fullmatch(lines[-1])


def test_lock_names_each_package_once() -> None:
    names = [canonicalize_name(pin["name"]) for pin in pins()]
    assert len(names) > 100 and sorted(names) == sorted(set(names))


def test_lock_holds_what_torch_brings_on_linux_and_only_there() -> None:
    brought = {pin["name"]: pin["marker"] for pin in pins() if re.match("nvidia-c|cuda-|triton", pin["name"])}
    assert {"nvidia-cublas", "nvidia-cudnn-cu13", "triton"} <= brought.keys()
    assert [name for name, marker in brought.items() if "sys_platform == 'linux'" not in (marker or "")] == []


def test_hashes_are_checked_at_every_installation() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    installed = re.findall(r"call INSTALL,(.*)\)$", text, re.MULTILINE)
    assert [line for line in installed if "--require-hashes" not in line and not line.endswith("--editable .")] == []


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_declared_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    versions = {canonicalize_name(pin["name"]): pin["version"] for pin in pins()}
    name = canonicalize_name(requirement.name)
    assert name in versions, f"{requirement} is not in requirements.lock: install it and run `make lock`"
    assert requirement.specifier.contains(versions[name]), f"{requirement} excludes the locked {versions[name]}"


def test_version_has_one_home() -> None:
    literal = re.compile(r"__version__\s*=\s*[\"']|[\"']" + re.escape(PROJECT["version"]) + "[\"']")
    sources = sorted((ROOT / "spikedet").rglob("*.py"))
    assert [path.name for path in sources if literal.search(path.read_text(encoding="utf-8"))] == []


def test_installed_version_is_that_of_pyproject() -> None:
    try:
        installed = importlib.metadata.version(PROJECT["name"])
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("spikedet is not installed here; `make test` installs it")
    assert installed == PROJECT["version"], "the installed metadata is stale: run `make setup`"


def test_licence_is_the_agpl() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license"] == "AGPL-3.0-or-later"
    assert " ".join(text.split()[:7]) == "GNU AFFERO GENERAL PUBLIC LICENSE Version 3,"
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("target", ["quickstart", "test", "lint", "docs", "format", "lock", "clean"])
def test_makefile_has_the_target(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_no_path_of_a_machine_is_in_the_project() -> None:
    machine_path = re.compile(rb"(?<![\w.~-])/(?:work|root)/")
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content and (match := machine_path.search(content)):
            line = content.count(b"\n", 0, match.start()) + 1
            found.append(f"{path.relative_to(ROOT)}:{line}")
    # This file's own pattern is written so that it does not match itself.
    assert found == []


def test_cv2_can_open_windows() -> None:
    """opencv-python and its headless twin share one folder; the Makefile leaves there the build with windows."""
    try:
        importlib.metadata.version("opencv-python")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("opencv-python is not installed")
    if sys.platform == "linux" and find_library("GL") is None:
        pytest.skip("no libGL on this machine, where only the headless build loads")
    import cv2

    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    assert gui is not None
    assert gui.group(1) != "NONE", "cv2 is the headless build: run `make setup` after removing .venv/.installed"
