"""Compiled programs outlive the process, in a folder that fits the machine, unless the user has named another."""

import pathlib
from collections.abc import Iterator

import jax
import pytest

from smarttrim_jax import compiled_programs
from smarttrim_jax.compiled_programs import keep_compiled_programs

SETTINGS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture(autouse=True)
def _nothing_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """JAX as it starts, in a home of the test's own."""
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = keep_compiled_programs()
    assert folder is not None
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path / "cache" / "smarttrim_jax")
    assert jax.config.jax_compilation_cache_dir == str(folder)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keep_compiled_programs() == tmp_path / ".cache" / folder.relative_to(tmp_path / "cache")


def test_two_kinds_of_cpu_share_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(cpus: str) -> str:
        monkeypatch.setattr(pathlib.Path, "read_text", lambda *_, **__: cpus)
        return compiled_programs._machine()

    one = "model name : A\nflags : avx2\ncpu MHz : {}\n"
    assert name(one.format(2000) * 2) == name(one.format(1999))
    assert name(one) != name(one.replace("avx2", "avx2 avx512f"))


def test_another_folder_that_jax_was_told_stays(tmp_path: pathlib.Path) -> None:
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "named"))
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "named")


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir is None
