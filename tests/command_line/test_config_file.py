"""A configuration file, whatever is in it: settings, or one sentence that names the file and its line."""

import pathlib

import pytest
from ml_collections import ConfigDict

from smarttrim_jax.command_line.config_file import change, load_settings, locate
from smarttrim_jax.configs import FILES
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


def test_a_configuration_of_the_library_is_found_by_its_name_from_anywhere(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_path = load_settings(f"{FILES['easy_vqa']}:quick")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "easy_vqa").mkdir()  # a data folder of the same name does not hide it
    assert load_settings("easy_vqa:quick") == by_path
    assert by_path["schedule"]["full_steps"] == 390
    (tmp_path / "nlvr.py").write_text(GOOD)
    assert load_settings("nlvr.py:any") == {"seed": 3}
    assert locate("nlvr")[0] == FILES["nlvr"]


def test_a_name_that_means_nothing_is_told_those_of_the_library() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings("easy_vqua:quick")
    assert str(caught.value) == (
        "config file 'easy_vqua' is missing; give a file's path, or one that comes with the library: "
        + ", ".join(FILES)
    )
    assert {"benchmark", "easy_vqa", "easy_vqa_captions", "nlvr"} <= set(FILES)


def test_a_users_file_can_begin_with_one_of_the_library(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from smarttrim_jax.configs import easy_vqa\n"
        "def get_config():\n"
        "    config = easy_vqa.get_config('trim')\n"
        "    config.data.batch_size = 7\n"
        "    return config\n"
    )
    packaged = load_settings("easy_vqa:trim")
    assert load_settings(str(file)) == change(packaged, {"data.batch_size": 7})


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
