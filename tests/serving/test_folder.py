"""A trained model travels: its folder answers the same anywhere, and nothing in it is trusted."""

import dataclasses
import hashlib
import json
import pathlib
import random
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from elsewhere import answers, check_elsewhere, same_answers
from run_folders import write_run
from safetensors.numpy import load_file, save_file

import smarttrim_jax
from smarttrim_jax.errors import CheckpointError, ConfigError, SmartTrimError
from smarttrim_jax.execution.timings import ExecutionTimings, Timing
from smarttrim_jax.serving.folder import write_timings
from smarttrim_jax.serving.trained_model import TrainedModel, load_model

TEXTS = ["what shape is it?", "is it red?"]


@pytest.mark.slow
def test_a_folder_answers_elsewhere_as_before(
    trained: TrainedModel, run_folder: pathlib.Path, saved_folder: pathlib.Path, image: str, tmp_path: pathlib.Path
) -> None:
    check_elsewhere(trained, [run_folder, saved_folder], image, TEXTS, tmp_path)


def test_a_saved_model_is_what_was_saved(
    trained: TrainedModel, saved_folder: pathlib.Path, run_folder: pathlib.Path
) -> None:
    for folder in (saved_folder, run_folder):
        loaded = load_model(folder)
        jax.tree.map(np.testing.assert_array_equal, loaded.params, trained.params)
        assert loaded.dial == trained.dial
        assert loaded.language.answer_names == trained.language.answer_names
        assert loaded.language.text.to_json() == trained.language.text.to_json()
        assert loaded.config.model == trained.config.model
    assert "2" in (saved_folder / "README.md").read_text()
    again = saved_folder.parent / "again"
    load_model(run_folder).save(again)
    for file in saved_folder.iterdir():
        assert file.read_bytes() == (again / file.name).read_bytes(), file.name


def test_measured_times_travel_with_a_model(
    saved_folder: pathlib.Path, run_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    times = ExecutionTimings((Timing("a device", 8, "one_program", 0.5),))
    for folder in (saved_folder, run_folder):
        copy = shutil.copytree(folder, tmp_path / folder.name)
        assert load_model(copy).timings == ExecutionTimings()
        write_timings(str(copy), times)
        load_model(copy).save(tmp_path / f"{folder.name} again")
        assert load_model(tmp_path / f"{folder.name} again").timings == times
        edited(copy, "execution.json", lambda content: content["rows"][0].update(execution="evil.Executor"))
        with pytest.raises(CheckpointError, match=r"execution\.json.*benchmark --remember"):
            load_model(copy)
        flipped(copy / "execution.json", 0)
        with pytest.raises(CheckpointError, match=r"execution\.json.*delete it, and measure again"):
            load_model(copy)
        (copy / "execution.json").unlink()
        assert load_model(copy).timings == ExecutionTimings()


def test_a_model_of_a_loop_of_ones_own_is_saved_and_served(
    trained: TrainedModel, saved_folder: pathlib.Path, image: str, tmp_path: pathlib.Path
) -> None:
    own = smarttrim_jax.TrainedModel.from_params(
        trained.config.model,
        trained.params,
        tokenizer=saved_folder / "tokenizer.json",
        answers=trained.language.answer_names,
        text_length=trained.config.data.text_length,
        dial=trained.dial,
    )
    own.save(tmp_path / "own")
    same_answers(answers(load_model(tmp_path / "own"), image, TEXTS), answers(trained, image, TEXTS))


def flipped(file: pathlib.Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "answers.json", "digests.json"]
)
def test_a_flipped_bit_of_a_saved_model_is_noticed(
    name: str, saved_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    draw = random.Random(name)
    for number in range(10):
        folder = tmp_path / str(number)
        shutil.copytree(saved_folder, folder)
        flipped(folder / name, draw.randrange(8 * (folder / name).stat().st_size))
        with pytest.raises(SmartTrimError):
            load_model(folder)


def edited(folder: pathlib.Path, name: str, change: Callable[[Any], None]) -> None:
    """Changes a JSON file as a stranger would, its digest too."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    digested(folder, name)


def digested(folder: pathlib.Path, name: str) -> None:
    """Writes the digest of a changed file."""
    digests = json.loads((folder / "digests.json").read_text())
    if name in digests:
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "digests.json").write_text(json.dumps(digests))


STRANGE: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a class": ("config.json", lambda c: c.update(pythonClassName="evil.Config"), "pythonClassName"),
    "a class inside": ("config.json", lambda c: c["model"].update(cls="evil.Model"), "cls"),
    "a source": ("config.json", lambda c: c["data"].update(source="/etc"), "data.source"),
    "a data folder": ("config.json", lambda c: c["data"].update(data_dir="/etc"), "data.data_dir"),
    "a vocabulary": ("config.json", lambda c: c["data"].update(tokenizer="/etc/passwd"), "data.tokenizer"),
    "a start": ("config.json", lambda c: c.update(init_from="/etc/x.ckpt"), "init_from"),
    "another width": ("config.json", lambda c: c["model"]["vision"].update(width=32), "arrays differ"),
    "more layers": ("config.json", lambda c: c["model"]["vision"].update(depth=3), "arrays differ"),
    "more words": ("config.json", lambda c: c["model"]["text"].update(vocab_size=10**4), "words"),
    "fewer answers": ("answers.json", lambda c: c["answers"].pop(), "answers"),
    "numbers for answers": ("answers.json", lambda c: c.update(answers=[1, 2, 3, 4]), "no list of names"),
    "an empty dial": ("speed_dial.json", lambda c: c.update(offsets=[], ratios=[]), "dial"),
    "a dial of nan": ("speed_dial.json", lambda c: c.update(offsets=[float("nan"), 0.0]), "dial"),
    "a falling dial": ("speed_dial.json", lambda c: c.update(ratios=[0.6, 0.4]), "dial"),
    "another file": ("digests.json", lambda c: c.update({"../evil": "0"}), "evil"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strangers_saved_model_is_refused(name: str, saved_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(saved_folder, tmp_path / "strange")
    file, change, message = STRANGE[name]
    edited(folder, file, change)
    with pytest.raises(SmartTrimError, match=message):
        load_model(folder)


@pytest.mark.parametrize("name", ["{first}/x", "/".join("a" * 3000), ""])
def test_arrays_of_strange_names_are_refused(name: str, saved_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(saved_folder, tmp_path / "strange")
    weights = load_file(folder / "model.safetensors")
    weights[name.format(first=next(iter(weights)))] = np.zeros(3, np.float32)
    save_file(weights, folder / "model.safetensors")
    digested(folder, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 arrays differ: .*is unexpected"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_file_of_an_endless_size_is_refused_before_it_is_read(
    name: str, saved_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = shutil.copytree(saved_folder, tmp_path / "strange")
    with open(folder / name, "r+b") as file:
        file.truncate(2**40)  # a hole, which takes no room
    with pytest.raises(CheckpointError, match=rf"{name}' has 1,099,511,627,776 bytes"):
        load_model(folder)


def test_weights_that_are_not_finite_are_refused(saved_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(saved_folder, tmp_path / "strange")
    weights = load_file(folder / "model.safetensors")
    name, array = next(iter(weights.items()))
    weights[name] = np.where(np.arange(array.size).reshape(array.shape) == 0, np.float32("nan"), array)
    save_file(weights, folder / "model.safetensors")
    digested(folder, "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"1 arrays that are not finite \({name}\)"):
        load_model(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "checkpoints"])
@pytest.mark.parametrize("kind", ["run", "saved"])
def test_a_link_that_leads_out_of_a_folder_is_refused(
    name: str, kind: str, request: Any, tmp_path: pathlib.Path
) -> None:
    source = request.getfixturevalue(f"{kind}_folder")
    if not (source / name).exists():
        return
    folder = shutil.copytree(source, tmp_path / "linked")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(CheckpointError, match="link that leads out"):
        load_model(folder)


@pytest.mark.parametrize("kind", ["run", "saved"])
def test_a_link_to_itself_is_a_sentence(kind: str, request: Any, tmp_path: pathlib.Path) -> None:
    source = request.getfixturevalue(f"{kind}_folder")
    for name in ("tokenizer.json", "config.json", "checkpoints" if kind == "run" else "model.safetensors"):
        folder = shutil.copytree(source, tmp_path / name)
        (folder / name).rename(tmp_path / f"{name}-away")
        (folder / name).symlink_to(name)
        with pytest.raises(CheckpointError):
            load_model(folder)


# Other values that could be as well.
OTHERS = {
    "config.json": ('"quick_gelu"', '"gelu"'),
    "answers.json": ('"red"', '"pink"'),
    "tokenizer.json": ('"red"', '"pink"'),
    "speed_dial.json": ("0.", "0.0"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_changed_file_of_a_run_is_noticed(name: str, run_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    folder = shutil.copytree(run_folder, tmp_path / "run")
    before = (folder / name).read_text()
    assert OTHERS[name][0] in before
    (folder / name).write_text(before.replace(*OTHERS[name]))
    with pytest.raises(CheckpointError, match=rf"{name}' was changed since it was written.*the same train command"):
        load_model(folder)


def test_a_run_of_before_is_read_and_other_words_make_another_model_of_it(
    run_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = shutil.copytree(run_folder, tmp_path / "run")
    (folder / "digests.json").unlink()
    before = load_model(folder).origin
    assert before.partition("@")[2] == load_model(run_folder).origin.partition("@")[2]
    answers = (folder / "answers.json").read_text()
    (folder / "answers.json").write_text(answers.replace(*OTHERS["answers.json"]))
    assert load_model(folder).origin != before
    names = json.loads(answers)["answers"]
    (folder / "answers.json").write_text(json.dumps({"answers": [names[0], *names[:-1]]}))
    with pytest.raises(CheckpointError, match="a name twice"):
        load_model(folder)


def test_a_missing_file_is_named_with_what_renews_it(run_folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    for name in ("tokenizer.json", "answers.json", "speed_dial.json"):
        folder = shutil.copytree(run_folder, tmp_path / name)
        (folder / name).unlink()
        with pytest.raises(CheckpointError, match=rf"(?s){name}.*train"):
            load_model(folder)


def test_an_unfinished_run_is_refused_unless_it_is_asked_for(
    trained: TrainedModel, image: str, tmp_path: pathlib.Path
) -> None:
    folder = write_run(tmp_path, trained, steps=2)
    with pytest.raises(CheckpointError, match=r"unfinished: its last checkpoint is of step 2 of 20"):
        load_model(folder)
    early = load_model(folder, unfinished=True)
    assert early.dial is None
    assert [answer.macs_saved for answer in early.answer(image, TEXTS)] == [0.0, 0.0]
    with pytest.raises(ConfigError, match="no speed dial"):
        early.answer(image, TEXTS, speedup=2.0)


def test_nothing_is_overwritten_and_nothing_bad_is_saved(
    trained: TrainedModel, saved_folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = {file.name: file.read_bytes() for file in saved_folder.iterdir()}
    with pytest.raises(CheckpointError, match="is there already"):
        trained.save(saved_folder)
    assert {file.name: file.read_bytes() for file in saved_folder.iterdir()} == before
    bad = jax.tree.map(lambda leaf: leaf * jnp.nan, trained.params)
    with pytest.raises(CheckpointError, match="not finite"):
        dataclasses.replace(trained, params=bad).save(tmp_path / "bad")
    with pytest.raises(CheckpointError, match="cannot write"):
        trained.save(pathlib.Path("/proc/model"))
    assert list(tmp_path.iterdir()) == []
