"""Answers of a folder in a process that has nothing else: no home to write to, no data, no network."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from smarttrim_jax.serving.trained_model import TrainedModel

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Loads each model and answers; says which files it opened, and what it reached or wrote beyond them.
PROGRAM = """
import json, os, sys
opened, forbidden = set(), []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        opened.add(os.path.abspath(arguments[0]))
        if (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR) and arguments[0] != os.devnull:
            forbidden.append(f"wrote {arguments[0]}")
    elif event == "socket.connect":
        forbidden.append(f"connected to {arguments[1]}")
sys.modules["easy_vqa"] = None
import smarttrim_jax
folders, images, texts = (json.loads(argument) for argument in sys.argv[1:])
sys.addaudithook(watch)
answers = []
for folder in folders:
    model = smarttrim_jax.load_model(folder)
    answers.append([[each.answer, each.confidence, each.macs_saved] for each in model.answer(images, texts)])
assert "tensorflow_datasets" not in sys.modules
print(json.dumps({"answers": answers, "opened": sorted(opened), "forbidden": forbidden}))
"""


def answers(trained: TrainedModel, images: Any, texts: Any) -> list[list[Any]]:
    """Answer, confidence and saved share of each question."""
    return [[each.answer, each.confidence, each.macs_saved] for each in trained.answer(images, texts)]


def same_answers(ours: Any, expected: Any) -> None:
    assert [row[0] for row in ours] == [row[0] for row in expected]
    np.testing.assert_allclose([row[1:] for row in ours], [row[1:] for row in expected], rtol=1e-5)


def check_elsewhere(
    trained: TrainedModel, folders: Sequence[pathlib.Path], image: str, texts: Any, place: pathlib.Path
) -> None:
    """Copies a model's folders to another place, and makes sure that there they answer as the model does here.

    Args:
        trained: The model.
        folders: Where it was written.
        image: A file, each of the images of every question.
        texts: As for `TrainedModel.answer`.
        place: An empty folder.
    """
    images = [[image] * trained.config.data.example_images]
    expected = answers(trained, images, texts)

    moved = [shutil.copytree(folder, place / f"elsewhere{number}") for number, folder in enumerate(folders)]
    picture, home = shutil.copy(image, place / "picture.png"), place / "home"
    home.mkdir(mode=0o500)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}
    asked = ([str(folder) for folder in moved], [[str(picture)] * len(images[0])], texts)
    command = [sys.executable, "-c", PROGRAM, *(json.dumps(each) for each in asked)]
    done = subprocess.run(command, env=environment, cwd=place, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    for ours in told["answers"]:
        same_answers(ours, expected)
    assert told["forbidden"] == []
    data = trained.config.data
    ours = [file for file in told["opened"] if file.startswith((str(place), data.data_dir, data.source))]
    assert all(file.startswith((*map(str, moved), str(picture))) for file in ours), ours
    assert list(home.iterdir()) == []
