"""What pip installs: a wheel that has the configurations, and an editable install that type checkers can follow."""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from forked_commands import ROOT

setuptools = pytest.importorskip("setuptools", minversion="77", reason="setuptools 77 or newer builds the package")

SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "smarttrim_jax", "configs")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of what the package is built from, so that the repository keeps no build folder."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def built(hook: str, checkout: pathlib.Path, folder: pathlib.Path) -> zipfile.ZipFile:
    """A wheel, as pip has it built by a hook of setuptools."""
    words = f"import setuptools.build_meta as build; print(build.{hook}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", words], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_the_wheel_brings_the_configurations_and_the_commands(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with built("build_wheel", checkout, tmp_path) as wheel:
        names = set(wheel.namelist())
        wheel.extractall(tmp_path / "installed")
    for file in (ROOT / "configs").rglob("*.py"):
        assert f"smarttrim_jax/{file.relative_to(ROOT).as_posix()}" in names
    assert not any(name.startswith(("configs/", "tests/")) for name in names)
    entries = configparser.ConfigParser()
    entries.read(next((tmp_path / "installed").glob("*.dist-info")) / "entry_points.txt")
    package = ROOT / "smarttrim_jax"
    commands = [file.stem for file in package.glob("*.py") if re.search(r"\n(run = |def run\()", file.read_text())]
    assert dict(entries["console_scripts"]) == {f"smarttrim-{name}": f"smarttrim_jax.{name}:run" for name in commands}
    assert len(commands) >= 7

    (tmp_path / "configs").mkdir()  # somebody else's
    shows = (
        "from smarttrim_jax.command_line.config_file import load_settings, locate\n"
        "from smarttrim_jax.configs import nlvr\n"
        "from smarttrim_jax.configs.meter import vqav2\n"
        "files = locate('easy_vqa:quick')[0], nlvr.__file__, locate('meter/vqav2')[0], vqav2.__file__\n"
        "print(*files, load_settings('meter/vqav2:trim,speedup=2.5')['cost']['target_speedup'])"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", shows], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    folder = tmp_path / "installed" / "smarttrim_jax" / "configs"
    files = [str(folder / name) for name in ("easy_vqa.py", "nlvr.py", "meter/vqav2.py", "meter/vqav2.py")]
    assert done.stdout.split() == [*files, "2.5"], done.stderr


def test_type_checkers_can_follow_an_editable_install(checkout: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with built("build_editable", checkout, tmp_path) as wheel:
        path_files = [name for name in wheel.namelist() if name.endswith(".pth")]
        assert len(path_files) == 1
        assert wheel.read(path_files[0]).decode().strip() == str(checkout)
        assert not any(name.endswith(".py") for name in wheel.namelist())  # no import hook
