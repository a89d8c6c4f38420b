"""A configuration file, whatever is in it: settings, or one sentence that names the file and its line."""

import pathlib

import pytest
from ml_collections import ConfigDict

from smarttrim_jax.command_line.config_file import change, load_settings
from smarttrim_jax.errors import ConfigError

GOOD = "from ml_collections import ConfigDict\ndef get_config(argument=''):\n    return ConfigDict({'seed': 3})\n"
FAULTS = {
    "syntax": ("def get_config(:\n", r"', line 1: "),
    "raises while it is read": ("x = 1\nnothing[0]\n", r"', line 2: NameError: name 'nothing' is not defined"),
    "raises in get_config": (
        "def get_config():\n    return 1 / 0\n",
        r"', line 2: ZeroDivisionError: division by zero",
    ),
    "ends the program": ("import sys\nsys.exit(3)\n", r"', line 2: SystemExit: 3"),
    "no function": ("config = {}\n", r"has no function get_config"),
    "another thing": ("get_config = 3\n", r"has no function get_config"),
    "returns nothing": ("def get_config():\n    pass\n", r"returns None; it must return a ConfigDict"),
    "needs an argument": ("def get_config(size):\n    return {}\n", r"needs an argument, as in --config=.*:ARGUMENT"),
    "null bytes": ("x = '\0'\n", r"config file "),
    "says nothing": ("raise KeyError\n", r"', line 1: KeyError$"),
    "many lines": ("raise ValueError('a\\n  b')\n", r"', line 1: ValueError: a b$"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_file_is_one_sentence(tmp_path: pathlib.Path, name: str) -> None:
    text, message = FAULTS[name]
    file = tmp_path / "config.py"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_named(tmp_path: pathlib.Path) -> None:
    for path, what in ((tmp_path / "nothing.py", "missing"), (tmp_path, "no file"), ("", "missing")):
        with pytest.raises(ConfigError, match=f"config file '{path}' is {what}"):
            load_settings(str(path))


def test_an_argument_that_the_file_does_not_take_is_named(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "config.py"
    file.write_text("def get_config():\n    return {}\n")
    with pytest.raises(ConfigError, match="takes no argument, but is given ':quick'"):
        load_settings(f"{file}:quick")


def test_sentences_of_the_file_itself_are_kept(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "config.py"
    file.write_text(
        "from smarttrim_jax.errors import ConfigError\n"
        "def get_config(name=''):\n    raise ConfigError('no ' + name)\n"
    )
    with pytest.raises(ConfigError, match=r"^no such$"):
        load_settings(f"{file}:such")


def test_a_changed_file_is_read_anew(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "config.py"
    for seed in (3, 4):
        file.write_text(GOOD.replace("3", str(seed)))
        assert load_settings(str(file)) == {"seed": seed}
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]


def test_keys_change_groups_go_and_come_back() -> None:
    settings = {"seed": 0, "model": {"trimming": {"hidden": 3}}, "data": ConfigDict({"size": 8}).to_dict()}
    assert change(settings, {"model.trimming": None})["model"] == {"trimming": None}
    without = change(settings, {"model.trimming": None})
    assert change(without, {"model.trimming.hidden": 5})["model"] == {"trimming": {"hidden": 5}}
    assert change(without, {"model.trimming.hidden": 5, "model.trimming": {"bias": 1}})["model"]["trimming"] == {
        "bias": 1,
        "hidden": 5,
    }
    assert change(settings, {"new.group.key": 1})["new"] == {"group": {"key": 1}}
    assert settings["model"] == {"trimming": {"hidden": 3}}  # what is changed is a copy
    with pytest.raises(
        ConfigError, match=r"config\.model\.trimming is set to None, and config\.model\.trimming\.hidden"
    ):
        change(settings, {"model.trimming": None, "model.trimming.hidden": 5})
    with pytest.raises(ConfigError, match=r"config\.seed is 0, no group of settings; it has no 'x'"):
        change(settings, {"seed.x": 1})
