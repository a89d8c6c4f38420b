"""Explained examples of retrieval find and score what the evaluation does."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
import PIL.Image
import pytest
from tiny_run import decisive, tiny_model
from tiny_tasks import blip

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.evaluation.evaluator import Evaluator
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig
from smarttrim_jax.metrics import Scores
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.serving.explanation import explain
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.calibration import SpeedDial

COUNT = 7
"""Images of every split, each with one caption."""
MODELS: dict[str, Any] = {
    "judged_recall": tiny_model(heads=(HeadConfig("rank", "linear", 1),)),
    "recall": blip("retrieval"),
    "reranked_recall": blip("retrieval"),
}
METRICS = ["judged_recall", *(pytest.param(name, marks=pytest.mark.slow) for name in ("recall", "reranked_recall"))]


def made(metric: str, folder: pathlib.Path) -> tuple[TrainedModel, Dataset]:
    """A model of retrieval that nothing trained, and pictures with captions."""
    random = np.random.default_rng(0)
    for split in ("train", "calibration", "test"):
        lines = []
        for number in range(COUNT):
            path = folder / f"{split}{number}.png"
            PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
            lines.append(json.dumps({"image": path.name, "captions": " ".join("abcdefg"[number : number + 3])}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    model = MODELS[metric]
    config = ExperimentConfig(
        model=model,
        data=DataConfig(
            dataset="jsonl",
            image_size=8,
            text_length=10,
            batch_size=4,
            data_dir=str(folder / "prepared"),
            source=str(folder),
            start=model.text_start(),
        ),
        task=next(iter(model.tasks)),
        generator="unsafe_rbg",
        evaluation=EvaluationConfig(batch_size=4, metrics=(metric,)),
    )
    dataset = prepare(config.data)
    config = fit_to_data(config, dataset)
    params = jax.jit(Functional(config.model).init)(jax.random.key(0, impl="unsafe_rbg"))
    params |= {"trimmers": decisive(params["trimmers"])}
    return TrainedModel(config, params, dataset.language, SpeedDial((-20.0, 0.0), (0.4, 0.6))), dataset


@pytest.mark.parametrize("metric", METRICS)
def test_retrieval_finds_and_scores_what_its_evaluation_does(metric: str, tmp_path: pathlib.Path) -> None:
    trained, dataset = made(metric, tmp_path)
    evaluator = Evaluator(trained.task, trained.params, dataset)
    trim = trained.trim(2.0)
    assert trim is not None
    expected = evaluator.trimmed(evaluator.batches("test"), trim.offset)["metrics"]
    scores = Scores((metric,))
    examples = list(explain(trained, evaluator.batches("test"), 2.0, scores))
    assert [example.index for example in examples] == list(range(COUNT))
    assert scores.compute() == pytest.approx(expected)
    if metric == "reranked_recall":
        return  # What is found is shown by similarity.
    prefix = metric.removesuffix("recall")
    for side in ("image", "text"):
        found = [getattr(example, f"found_{side}s") for example in examples]
        assert all(each.candidates == COUNT for each in found)
        for k in (1, 5):
            share = np.mean([each.place <= k for each in found])
            assert share == pytest.approx(expected[f"{prefix}{side}_recall@{k}"])
    # Without metrics the same is found.
    for again, example in zip(explain(trained, evaluator.batches("test"), 2.0), examples, strict=True):
        assert again.found_texts is not None
        assert example.found_texts is not None
        assert again.found_texts.place == example.found_texts.place
