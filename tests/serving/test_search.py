"""A folder is searched by the features and judgements of the model's whole calls, and nothing is encoded twice."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from PIL import Image
from tiny_run import decisive
from tiny_tasks import experiment, make_sources

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.images import normalize
from smarttrim_jax.errors import CheckpointError, ConfigError, DataError
from smarttrim_jax.experiment import EvaluationConfig
from smarttrim_jax.pretrained.files import read_metadata
from smarttrim_jax.serving import indexing
from smarttrim_jax.serving.index_file import IndexFile, files_of
from smarttrim_jax.serving.questions import QuestionReader
from smarttrim_jax.serving.search import candidates_of
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.tasks import make_task
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.calibration import SpeedDial

TEXTS = ["a red circle", "a blue triangle with a black rectangle", "teal"]
COUNT, BATCH = 7, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A tiny BLIP of retrieval whose trimmers decide."""
    config = experiment("retrieval", make_sources(tmp_path_factory.mktemp("raw")))
    dataset = prepare(config.data)
    config = fit_to_data(config, dataset)
    params = fresh_params(config.model)
    params |= {"trimmers": decisive(params["trimmers"])}
    return TrainedModel(config, params, dataset.language, SpeedDial((-3.6, 0.0), (0.5, 0.9)))


def draw(path: pathlib.Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """Seven images of noise."""
    made = tmp_path / "photos"
    made.mkdir()
    for number in range(COUNT):
        draw(made / f"{number}.png", number)
    return made


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the image files that have been read."""
    names: list[str] = []
    pixels = QuestionReader.pixels

    def noting(self: QuestionReader, images: Any) -> Any:
        names.extend(pathlib.Path(image).name for image in images)
        return pixels(self, images)

    monkeypatch.setattr(QuestionReader, "pixels", noting)
    return names


def stored(file: str) -> IndexFile:
    """The content of an index, whatever it was made by."""
    return IndexFile.read(file, json.loads(read_metadata(file)["made_by"]))


def whole_calls(model: TrainedModel, folder: pathlib.Path, speedup: float | None) -> tuple[np.ndarray, ...]:
    """Features of images and of texts, logits of all pairs `[texts, images]`, and gates, by padded execution."""
    trim = model.trim(speedup)
    paths = sorted(folder.iterdir())
    images = normalize(np.stack([model.reader.pixels([path]) for path in paths]), model.config.pixels)
    ids, mask = (np.stack(part) for part in zip(*(model.reader.encode(text)[:2] for text in TEXTS), strict=True))
    rows, columns = np.divmod(np.arange(len(TEXTS) * len(paths)), len(paths))

    @jax.jit
    def computed(params: Any) -> Any:
        module = model.model.bind(params)
        encoded = module.encode_images(images, trim=trim)
        alone = jnp.asarray(ids).at[:, 0].set(model.language.text.own_start_id)
        texts = module.encode_texts(alone, mask, trim=trim)
        pairs = module(images[columns], ids[rows], mask[rows], trim=trim).logits["itm"][:, 1]
        return encoded.features, texts.features, pairs.reshape(len(TEXTS), -1), encoded.tokens.padded_gate

    return jax.device_get(computed(model.params))


@pytest.mark.parametrize("speedup", [1.12, 2.0])
def test_a_saved_index_finds_what_whole_calls_score_best(
    model: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path, speedup: float
) -> None:
    file = str(tmp_path / "index.safetensors")
    model.index(folder, file=file, speedup=speedup, batch_size=BATCH)
    index = model.index(folder, file=file, speedup=speedup, batch_size=BATCH)
    images, texts, logits, gates = whole_calls(model, folder, speedup)
    assert speedup < 2 or 0 < gates.mean() < 1
    features = stored(file).features
    np.testing.assert_allclose(features, images, atol=1e-4)
    similarities = texts @ images.T
    assert np.ptp(similarities) > 1e-2  # The images differ by more than the tolerance.
    for candidates, scores in {0: similarities, 100: similarities + logits}.items():
        found = index.search(TEXTS, top=COUNT, candidates=candidates)
        assert [each.text for each in found] == [text for text in TEXTS for _ in range(COUNT)]
        assert [each.rank for each in found] == [*range(1, COUNT + 1)] * len(TEXTS)
        numbers = np.array([int(pathlib.Path(each.image).stem) for each in found]).reshape(len(TEXTS), COUNT)
        assert all(sorted(row) == [*range(COUNT)] for row in numbers)
        ours = np.array([each.score for each in found]).reshape(numbers.shape)
        np.testing.assert_allclose(ours, np.take_along_axis(scores, numbers, axis=1), atol=1e-4)
        assert (np.diff(ours, axis=1) <= 0).all()


def test_only_the_most_similar_images_are_judged(model: TrainedModel, folder: pathlib.Path, read: list[str]) -> None:
    index = model.index(folder, batch_size=BATCH)
    everything = index.search(TEXTS[0], top=COUNT, candidates=0)
    read.clear()
    found = index.search(TEXTS[0], top=2, candidates=3)
    assert sorted(read) == sorted(pathlib.Path(each.image).name for each in everything[:3])
    assert {each.image for each in found} <= {each.image for each in everything[:3]}
    assert index.search(TEXTS[0], top=100, candidates=0) == everything
    assert index.search([]) == []


def test_only_images_that_were_added_or_changed_are_encoded_again(
    model: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path, read: list[str]
) -> None:
    file = str(tmp_path / "index.safetensors")

    def encoded() -> list[str]:
        read.clear()
        index = model.index(folder, file=file, batch_size=BATCH)
        assert len(index) == len(list(folder.iterdir()))
        fresh = model.index(folder, batch_size=BATCH)
        for ours, theirs in zip(*(each.search(TEXTS, 100, candidates=0) for each in (index, fresh)), strict=True):
            assert (ours.image, ours.rank) == (theirs.image, theirs.rank)
        return sorted(read[: len(read) - len(fresh)])

    assert encoded() == [f"{number}.png" for number in range(COUNT)]
    before = (os.stat(file).st_mtime_ns, pathlib.Path(file).read_bytes())
    assert encoded() == []
    assert (os.stat(file).st_mtime_ns, pathlib.Path(file).read_bytes()) == before
    draw(folder / "2.png", 100)
    draw(folder / "new.png", 101)
    (folder / "5.png").unlink()
    os.utime(folder / "6.png", ns=(0, 0))
    assert encoded() == ["2.png", "6.png", "new.png"]
    assert encoded() == []
    (folder / "new.png").unlink()
    assert encoded() == []
    assert "new.png" not in {image.name for image in stored(file).images}


def test_a_build_that_is_killed_goes_on_where_it_was_saved(
    model: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path, read: list[str], monkeypatch: Any
) -> None:
    file = str(tmp_path / "index.safetensors")
    monkeypatch.setattr(indexing, "SAVE_SECONDS", -1.0)
    noting = QuestionReader.pixels

    def killed(self: QuestionReader, images: Any) -> Any:
        if len(read) == 2 * BATCH:
            raise KeyboardInterrupt
        return noting(self, images)

    monkeypatch.setattr(QuestionReader, "pixels", killed)
    with pytest.raises(KeyboardInterrupt):
        model.index(folder, file=file, batch_size=BATCH)
    monkeypatch.setattr(QuestionReader, "pixels", noting)
    read.clear()
    assert len(model.index(folder, file=file, batch_size=BATCH)) == COUNT
    assert len(read) == COUNT - 2 * BATCH


def test_images_that_cannot_be_read_are_named_and_tried_again(
    model: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "index.safetensors")
    (folder / "1.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image either")
    index = model.index(folder, file=file, batch_size=BATCH)
    assert list(index.unreadable) == ["1.png"]
    assert len(index) == COUNT - 1
    said = capsys.readouterr().err
    assert "1 files that are no images are left out" in said
    assert re.search(r"error: cannot read image '\S*1.png': it is no PNG", said)
    draw(folder / "1.png", 1)
    assert not model.index(folder, file=file, batch_size=BATCH).unreadable
    for image in folder.glob("*.png"):
        image.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of the 7 images of .* can be read; '0.png': cannot read image"):
        model.index(folder)


def other_params(model: TrainedModel) -> TrainedModel:
    params = model.params | {
        "image_projection": jax.tree.map(lambda leaf: leaf + 1, model.params["image_projection"])
    }
    return dataclasses.replace(model, params=params)


def other_resizing(model: TrainedModel) -> TrainedModel:
    data = dataclasses.replace(model.config.data, resize="resize_crop")
    return dataclasses.replace(model, config=dataclasses.replace(model.config, data=data))


@pytest.mark.parametrize(
    ("change", "speedup", "error"),
    [
        (
            other_params,
            2.0,
            "is an index of another model: '[0-9a-f]{12}', not '[0-9a-f]{12}'; choose another --index",
        ),
        (other_resizing, 2.0, "another resize: 'resize', not 'resize_crop'"),
        (lambda model: model, 1.5, "another speedup: '2.0', not '1.5'"),
    ],
)
def test_an_index_of_something_else_is_refused(
    model: TrainedModel,
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    change: Callable[[TrainedModel], TrainedModel],
    speedup: float,
    error: str,
) -> None:
    file = tmp_path / "index.safetensors"
    index = model.index(folder, speedup=2.0, batch_size=BATCH)
    index.save(str(file))
    before = file.read_bytes()
    with pytest.raises(CheckpointError, match=error):
        change(model).index(folder, file=str(file), speedup=speedup)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    draw(elsewhere / "other.png", 0)
    with pytest.raises(DataError, match=r"is the index of another folder: it holds none of the images of"):
        model.index(elsewhere, file=str(file))
    assert file.read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"x" * 100, "cut", "flipped", "twice"])
def test_a_damaged_index_is_named(
    model: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path, damage: Any
) -> None:
    file = tmp_path / "index.safetensors"
    made_by = {"model": "abc", "features": 4}
    IndexFile.of(made_by, {image: np.ones(4, np.float32) for image in files_of(folder)}).write(str(file))
    whole = file.read_bytes()
    assert IndexFile.read(str(file), made_by).features.shape == (COUNT, 4)
    changed = {
        "cut": whole[:-3],
        "flipped": whole[:-1] + bytes([whole[-1] ^ 1]),
        "twice": whole.replace(b'\\"2.png\\"', b'\\"1.png\\"'),
    }
    file.write_bytes(changed.get(damage, damage))
    with pytest.raises(CheckpointError, match=r"is no index, or damaged.*; choose another --index, or remove it"):
        IndexFile.read(str(file), made_by)


def test_what_cannot_be_searched_is_one_sentence(
    model: TrainedModel, trained: TrainedModel, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image; read are"):
        model.index(tmp_path / "empty")
    with pytest.raises(DataError, match=r"cannot read folder .*nowhere'.*; give a folder of images"):
        model.index(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="trained for 'vqa' and has no features of an image or a text alone"):
        trained.index(folder)
    for file, error in {
        "index.npz": "must end in .safetensors",
        "no/index.safetensors": "the folder of the index",
    }.items():
        with pytest.raises(DataError, match=error):
            model.index(folder, file=str(tmp_path / file))
    index = model.index(folder, batch_size=BATCH)
    with pytest.raises(DataError, match="there is no text"):
        index.search(["a red circle", ""])
    with pytest.raises(DataError, match="texts is 3; give a text or a list of texts"):
        index.search(3)  # type: ignore[arg-type]
    for wrong in ({"top": 0}, {"candidates": -1}):
        with pytest.raises(ConfigError, match="it must be at least"):
            index.search("teal", **wrong)
    long = " ".join(["red"] * model.config.data.text_length)
    assert [each.text_cut for each in index.search([long, "red"], top=1, candidates=0)] == [True, False]


def test_as_many_images_are_judged_as_in_the_evaluation(model: TrainedModel) -> None:
    assert candidates_of(model.task) == 256
    config = dataclasses.replace(model.config, evaluation=EvaluationConfig(metrics=("recall", "reranked_recall_128")))
    assert candidates_of(make_task(config, model.language)) == 128
