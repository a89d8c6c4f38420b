"""Data of a user's own trains by the commands alone, and a class of his is imported for nobody but him."""

import dataclasses
import functools
import json
import pathlib
import site
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from own_data import asked, draw, jsonl_config, write_lines
from tiny_run import tiny_model

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, ScheduleConfig
from smarttrim_jax.objectives.losses import soft_task_loss
from smarttrim_jax.objectives.total import ObjectiveConfig
from smarttrim_jax.tasks import make_task
from smarttrim_jax.training.run_data import fit_to_data

CONFIG = pathlib.Path(__file__).with_name("tiny_config.py")
PETS = """
import pathlib

from smarttrim_jax.data import DatasetBuilder, Record


class Pets(DatasetBuilder):
    def records(self, split):
        folder = pathlib.Path(self.source)
        for line in (folder / f"{split}.txt").read_text().splitlines():
            name, animal = line.split()
            yield Record(name, [folder / f"{name}.png"], "which animal is this?", answer=animal)
"""


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a module of a user's, his images, and a configuration of two steps."""
    folder = tmp_path_factory.mktemp("pets")
    draw(folder / "images", 20)
    for split, numbers in {"train": range(12), "calibration": range(12, 14), "test": range(14, 20)}.items():
        lines = [f"{number} {('cat', 'dog')[number % 2]}" for number in numbers]
        (folder / "images" / f"{split}.txt").write_text("\n".join(lines))
    (folder / "own_pets.py").write_text(PETS)
    config = ExperimentConfig(
        model=tiny_model(trimming=None),
        data=jsonl_config(folder / "images", folder / "prepared", dataset="own_pets:Pets"),
        schedule=ScheduleConfig(full_steps=2, trim_steps=0, log_every=1, save_every=2, writers=()),
        evaluation=EvaluationConfig(batch_size=4),
    )
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    return folder


@pytest.mark.slow
def test_a_class_of_ones_own_trains_by_the_command_alone(fork: Any, pets: pathlib.Path) -> None:
    run, beside = f"--workdir={pets / 'run'}", functools.partial(site.addsitedir, str(pets))
    config = f"--config={CONFIG}:{pets / 'config.json'}"
    status, stderr = fork("smarttrim_jax.train", [config, run], "pets", beside)
    assert status == 0, stderr
    assert [json.loads(line)["step"] for line in (pets / "run" / "metrics.jsonl").read_text().splitlines()] == [1, 2]
    assert json.loads((pets / "run" / "report.json").read_text())["dataset"] == "own_pets:Pets"
    assert json.loads((pets / "run" / "answers.json").read_text()) == {"answers": ["cat", "dog"]}
    # The run's folder names the class; only the user may have it imported.
    status, stderr = fork("smarttrim_jax.evaluate", [run], "pets_alone", beside)
    assert (status, stderr.count("\n")) == (1, 1)
    assert "pass --plugins=own_pets" in stderr
    file = pets / "figures.json"
    words = [run, "--plugins=own_pets", f"--output={file}"]
    status, stderr = fork("smarttrim_jax.evaluate", words, "pets_plugin", beside)
    assert status == 0, stderr
    told = json.loads(file.read_text())
    assert told["metrics"] == json.loads((pets / "run" / "report.json").read_text())["metrics"]
    assert told["command"].endswith("python -m smarttrim_jax.evaluate --workdir=.../run --plugins=own_pets")
    (trained,) = told["trained_by"]
    assert trained["command"].startswith("python -m smarttrim_jax.train --config=")


def test_a_module_that_is_missing_is_one_sentence(fork: Any, pets: pathlib.Path) -> None:
    flags = [f"--config={CONFIG}:{pets / 'config.json'}", f"--workdir={pets / 'none'}"]
    status, stderr = fork("smarttrim_jax.train", [*flags, "--config.data.dataset=no_pets:Pets"], "no_pets")
    assert (status, stderr.count("\n")) == (1, 1)
    assert "cannot import 'no_pets' (ModuleNotFoundError" in stderr


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_classes_learn_weighted_answers(loss: Any, tmp_path: pathlib.Path) -> None:
    rows = [row | {"answers": {"odd": 1, "even": 0.5}} for row in asked(draw(tmp_path / "own"))]
    for row in rows:
        del row["answer"]
    dataset = prepare(jsonl_config(write_lines(tmp_path / "own", train=rows, test=rows[:1]), tmp_path / "prepared"))
    config = ExperimentConfig(
        model=tiny_model(),
        data=jsonl_config(tmp_path / "own", tmp_path / "prepared"),
        objective=ObjectiveConfig(loss=loss),
    )
    task = make_task(fit_to_data(config, dataset), dataset.language)
    batch = {
        "answer_ids": jnp.array([[1, 0], [0, -1]]),
        "answer_weights": jnp.array([[1.0, 0.5], [1.0, 0.0]]),
        "label": jnp.array([1, 0]),
        "weight": jnp.ones(2),
    }
    logits = jnp.array([[0.3, -1.0], [2.0, 1.0]])
    output = dataclasses.make_dataclass("Output", ["logits"])({config.task: logits})
    expected = jnp.mean(soft_task_loss(loss, logits, jnp.array([[0.5, 1.0], [1.0, 0.0]])))
    np.testing.assert_allclose(task.loss(output, batch, None), expected, rtol=1e-6)
    del batch["answer_ids"]
    assert not np.allclose(task.loss(output, batch, None), expected)
    assert task.right_answer({"label": np.int32(-1)}) == "an answer that training never has"


def test_captions_are_no_data_for_a_task_with_answers(tmp_path: pathlib.Path) -> None:
    rows = [{"image": image, "captions": ["a square"]} for image in draw(tmp_path / "own")]
    data = jsonl_config(write_lines(tmp_path / "own", train=rows, test=rows), tmp_path / "prepared")
    with pytest.raises(ConfigError, match="task 'vqa' is trained on answers, but jsonl has references"):
        fit_to_data(ExperimentConfig(model=tiny_model(), data=data), prepare(data))
