"""What is done with a trained BLIP of any task: evaluated, asked, explained, exported."""

import dataclasses
import json
import pathlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import outside
import pytest
from elsewhere import check_elsewhere
from run_folders import write_run
from tiny_run import decisive
from tiny_tasks import BATCH, experiment, make_sources

from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
from smarttrim_jax.evaluation.evaluator import Evaluator, Judged
from smarttrim_jax.evaluation.report import build_report
from smarttrim_jax.evaluation.served import ServedEvaluator
from smarttrim_jax.execution.config import CutConfig, ExecutionConfig
from smarttrim_jax.models.blip.config import TASKS
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.reporting.page import build_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.reporting.tables import format_report
from smarttrim_jax.serving.explanation import Explanation, explain
from smarttrim_jax.serving.export import export_model
from smarttrim_jax.serving.predictor import Answer, Failure
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.tasks import make_task
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.calibration import SpeedDial

LAYERS = {
    "vqa": (["image", "fusion"], ["fusion", "decoder"]),
    "nlvr2": (["image", "fusion", "merge"], ["fusion", "merge"]),
    "caption": (["image", "decoder"], ["decoder"]),
    "retrieval": (["image", "fusion"], ["fusion"]),
}
FEW = ExecutionConfig(cuts=CutConfig(first=1, most=2, branches=1))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_sources(tmp_path_factory.mktemp("raw"))


def made(task: str, sources: dict[str, str]) -> tuple[TrainedModel, Dataset]:
    """A model as it is read from its folder, but for the training, and its data."""
    config = experiment(task, sources)
    dataset = prepare(config.data)
    config = fit_to_data(config, dataset)
    params = jax.jit(Functional(config.model).init)(jax.random.key(0, impl="unsafe_rbg"))
    params |= {"trimmers": decisive(params["trimmers"])}
    return TrainedModel(config, params, dataset.language, SpeedDial((-20.0, 0.0), (0.4, 0.6))), dataset


@pytest.fixture(scope="module", params=[pytest.param(task, marks=pytest.mark.slow) for task in TASKS])
def pair(request: Any, sources: dict[str, str]) -> tuple[TrainedModel, Dataset]:
    return made(request.param, sources)


@pytest.fixture(scope="module")
def trained(pair: tuple[TrainedModel, Dataset]) -> TrainedModel:
    return pair[0]


@pytest.fixture(scope="module")
def dataset(pair: tuple[TrainedModel, Dataset]) -> Dataset:
    return pair[1]


@pytest.fixture(scope="module")
def explained(trained: TrainedModel, dataset: Dataset) -> list[Explanation]:
    return list(explain(trained, batches(trained, dataset, BATCH, limit=3)))


def batches(trained: TrainedModel, dataset: Dataset, size: int, limit: int | None = None) -> EvalBatches:
    return eval_batches(dataset, "test", dataclasses.replace(trained.config.data, batch_size=size), limit=limit)


def test_explanations_follow_image_and_text_through_all_layers(trained: TrainedModel, explained: Any) -> None:
    images, texts = LAYERS[trained.config.task]
    assert [example.index for example in explained] == [0, 1, 2]
    for example in explained:
        assert [*dict.fromkeys(name.split()[0] for name in example.layers)] == images
        assert [*dict.fromkeys(name.split()[0] for name in example.text_layers)] == texts
        assert example.patches.shape == (len(example.layers), trained.config.model.images, 2, 2)
        assert (np.diff(example.patches.astype(int), axis=0) <= 0).all()
        assert len(example.dropped) == len(example.words)
        assert all(0 <= end <= len(example.text_layers) for end in example.dropped)
        assert example.words[0] == trained.config.data.start
        assert 0 < example.macs < 1
        assert 0 <= example.confidence <= 1
        assert draw(example).width > 0
    assert "fusion" in build_page(explained, "page") or trained.config.task == "caption"


def test_what_should_be_answered_is_said_in_words(trained: TrainedModel, dataset: Dataset, explained: Any) -> None:
    record = dataset.records("test")[0]
    expected = {
        "vqa": dataset.answer_names[record["answer"]],
        "nlvr2": dataset.answer_names[record["answer"]],
        "caption": record["text"].decode(),
        "retrieval": "match",
    }[trained.config.task]
    assert explained[0].label == expected


def test_references_and_what_is_found_are_explained(trained: TrainedModel, dataset: Dataset, explained: Any) -> None:
    task = trained.config.task
    texts = {example.text for example in explained}
    for example in explained:
        record = dataset.records("test")[example.index]
        assert example.references == ([record["text"].decode()] if task == "caption" else [])
        if task != "retrieval":
            assert example.found_images is example.found_texts is None
            continue
        assert example.found_images.candidates == 3
        assert {one.content for one in example.found_texts.first} == texts
        for found in (example.found_images, example.found_texts):
            similarities = [one.score for one in found.first]
            assert similarities == sorted(similarities, reverse=True)
            assert found.first[found.place - 1].right
        (own,) = [one for one in example.found_texts.first if one.content == example.text]
        assert own.right


def test_captions_are_written_for_the_metrics_that_need_them(
    trained: TrainedModel, dataset: Dataset, explained: Any
) -> None:
    if trained.config.task != "caption":
        pytest.skip("a choice is no caption")
    metrics = (f"{outside.__name__}:Captioned", "word_accuracy")
    evaluation = dataclasses.replace(trained.config.evaluation, metrics=metrics)
    config = dataclasses.replace(trained.config, evaluation=evaluation)
    evaluator = Evaluator(make_task(config, trained.language), trained.params, dataset)
    judged: list[Judged] = []
    scores = evaluator.trimmed(evaluator.batches("test", limit=3), trained.trim().offset, judged.append)["metrics"]
    assert list(scores) == ["words", "captions", "word_accuracy"]
    assert scores["captions"] == 3
    (only,) = judged
    assert scores["words"] == np.mean([len(caption.split()) for caption in only.outputs["caption"]])
    assert [example.answer for example in explained] == only.outputs["caption"]
    assert only.targets["caption"] == [dataset.records("test")[index]["text"].decode() for index in range(3)]


def test_questions_are_answered_and_what_cannot_be_asked_is_named(trained: TrainedModel, dataset: Dataset) -> None:
    file = str(next(pathlib.Path(trained.config.data.source).rglob("*.png")))
    images = (file,) * dataset.num_images
    asked = [Question(images, "is there a red box?")] * BATCH + [Question((*images, file), "")]
    *answers, failure = trained.predictor(asked, trained.trim(), BATCH)
    assert len(answers) == BATCH
    for answer in answers:
        assert isinstance(answer, Answer)
        assert answer.answer == answers[0].answer
        assert 0 <= answer.confidence <= 1
        assert 0 < answer.macs_saved < 1
        if trained.config.task != "caption":
            assert answer.answer in {"match", "no match", *dataset.answer_names}
    assert isinstance(failure, Failure)
    assert f"comes with {dataset.num_images + 1} images" in failure.error


@pytest.mark.slow
def test_a_folder_answers_elsewhere_as_before(
    trained: TrainedModel, sources: dict[str, str], tmp_path: pathlib.Path
) -> None:
    trained.save(tmp_path / "saved")
    folders = [write_run(tmp_path / "run", trained), tmp_path / "saved"]
    image = str(next(pathlib.Path(trained.config.data.source).rglob("*.png")))
    texts = None if trained.config.task == "caption" else ["is there a red box?", "what is the blue shape?"]
    (tmp_path / "place").mkdir()
    check_elsewhere(trained, folders, image, texts, tmp_path / "place")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_packed_evaluation_reports_what_padded_evaluation_reports(task: str, sources: dict[str, str]) -> None:
    trained, dataset = made(task, sources)
    padded = build_report(Evaluator(trained.task, trained.params, dataset), trained.dial, "test", 2.0)
    for name in ("packed", "one_program"):
        config = dataclasses.replace(trained.config, execution=dataclasses.replace(FEW, name=name))
        served = ServedEvaluator(make_task(config, trained.language), trained.params, dataset)
        packed = build_report(served, trained.dial, "test", 2.0)
        execution = packed.pop("execution")
        assert execution["name"] == name
        assert execution["programs"] > 0
        numbers = [
            {name: part for name, part in report.items() if not isinstance(part, str)} for report in (packed, padded)
        ]
        chex.assert_trees_all_close(*numbers, rtol=1e-5)
    assert "kept by layer" in format_report(padded)
    assert json.dumps(padded)


@pytest.mark.slow
def test_an_exported_file_ranks_answers_as_the_run_does(sources: dict[str, str], tmp_path: pathlib.Path) -> None:
    trained, dataset = made("vqa", sources)
    file = tmp_path / "model.jaxexport"
    export_model(trained, str(file), batch_size=2, platforms=("cpu",), execution=FEW)
    batch = next(iter(batches(trained, dataset, 2)))
    call = jax.export.deserialize(bytearray(file.read_bytes())).call
    outputs = call(*(jnp.asarray(batch[name]) for name in ("image", "text_ids", "text_mask")))
    (one,) = explain(trained, batches(trained, dataset, 2, limit=1))
    assert dataset.answer_names[int(outputs["answer"][0])] == one.answer
    assert float(outputs["probability"][0]) == pytest.approx(one.confidence, abs=1e-5)
    assert float(outputs["macs_ratio"][0]) == pytest.approx(one.macs, rel=1e-5)
