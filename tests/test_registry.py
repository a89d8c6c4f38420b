"""Implementations by name; nothing that a file names is imported."""

import sys

import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.registry import Registry, import_implementation, import_plugin


def test_a_registered_name_is_found_and_an_unknown_one_lists_the_known():
    registry = Registry("shape", {"round": 1})
    registry.register("square", 2)
    registry.register("square", 2)  # a module that is imported twice
    assert registry.find("square") == 2
    assert list(registry) == ["round", "square"]
    with pytest.raises(ConfigError, match="no shape 'oval'; known are 'round', 'square'"):
        registry.find("oval")


@pytest.mark.parametrize(("name", "said"), [("round", "there is a shape 'round' already"), ("a:b", "no colon")])
def test_a_name_stands_for_one_implementation(name, said):
    with pytest.raises(ConfigError, match=said):
        Registry("shape", {"round": 1}).register(name, 2)


def test_a_module_is_imported_only_for_the_user(tmp_path, monkeypatch):
    (tmp_path / "own_shapes.py").write_text("OVAL = 3\n")
    (tmp_path / "broken_shapes.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("shape")
    with pytest.raises(ConfigError, match="--plugins=own_shapes"):
        registry.find("own_shapes:OVAL")
    assert "own_shapes" not in sys.modules
    import_implementation("own_shapes:OVAL")
    try:
        assert registry.find("own_shapes:OVAL") == 3
        with pytest.raises(ConfigError, match="has no shape 'ROUND'"):
            registry.find("own_shapes:ROUND")
    finally:
        del sys.modules["own_shapes"]
    with pytest.raises(ConfigError, match=r"cannot import 'broken_shapes' \(ZeroDivisionError"):
        import_plugin("broken_shapes")
