"""Retrieval with METER: texts that are told apart, judged as the model itself judges a pair, and ranked."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import decisive, tiny_model

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.language import numbered_language
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.metrics import Scores
from smarttrim_jax.models.config import DatasetSizes
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.objectives.retrieval import wrong_texts
from smarttrim_jax.tasks import Ranking, make_task
from smarttrim_jax.tasks.base import Batch, model_inputs
from smarttrim_jax.tasks.ranking import WRONG_TEXTS
from smarttrim_jax.trimming.gates import Trim

HEADS = (HeadConfig("rank", "linear", 1),)
CLOSING = Trim(offset=-2.5)


@pytest.fixture(scope="module")
def task() -> Ranking:
    model = tiny_model(heads=HEADS)
    model = dataclasses.replace(model, text=dataclasses.replace(model.text, vocab_size=50))
    data = DataConfig(dataset="flickr30k", image_size=8, text_length=10, batch_size=4)
    made = make_task(ExperimentConfig(model=model, data=data, task="rank"), numbered_language(50, 0, 10, ""))
    assert isinstance(made, Ranking)
    return made


@pytest.fixture(scope="module")
def params(task: Ranking) -> Any:
    drawn = fresh_params(task.config.model)
    return drawn | {"trimmers": decisive(drawn["trimmers"])}


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Four images, the first and the last of which belong together, with texts of 9, 6, 3 and 4 tokens."""
    random = np.random.default_rng(0)
    mask = (np.arange(10) < np.array([9, 6, 3, 4])[:, None]).astype(np.int32)
    arrays = {
        "image": random.integers(0, 256, (4, 1, 8, 8, 3)).astype(np.uint8),
        "text_ids": np.where(mask, random.integers(5, 50, mask.shape), 0).astype(np.int32),
        "text_mask": mask,
        "label": np.array([7, 8, 9, 7], np.int32),
        "weight": np.ones(4, np.float32),
    }
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def test_a_linear_head_with_one_output_ranks(task: Ranking) -> None:
    model = task.config.model
    assert isinstance(model, MeterConfig)
    assert model.tasks == {"rank": "ranking"}
    assert model.outputs("rank") is None
    sizes = DatasetSizes("captions", 50, model.text.pad_id, 0)
    assert model.fit_to(sizes, "rank") == model  # no answers to fit


@pytest.mark.parametrize("trim", [None, CLOSING])
def test_a_pass_judges_pairs_as_a_call_does(task: Ranking, params: Any, batch: Batch, trim: Trim | None) -> None:
    @jax.jit
    def both(params: Any, batch: Batch) -> tuple[Any, Any, Any, Any]:
        passed = task.run(params, batch, task.begin_pass(params, batch), trim=trim)
        images, ids, mask = model_inputs(task.config, batch)
        rows = passed.texts[:, 1]
        right = task.model.apply(params, images, ids, mask, trim=trim)
        wrong = task.model.apply(params, images, ids[rows], mask[rows], trim=trim)
        return passed, right, wrong, task.model.macs(passed.record)

    passed, right, wrong, macs = both(params, batch)
    assert passed.scores.shape == (4, 1 + WRONG_TEXTS)
    chex.assert_trees_all_close(passed.scores[:, 0], right.logits["rank"][:, 0], atol=1e-5)
    chex.assert_trees_all_close(passed.scores[:, 1], wrong.logits["rank"][:, 0], atol=1e-5)
    chex.assert_trees_all_close(passed.record, right.record, atol=1e-6)
    chex.assert_trees_all_close(macs, task.model.macs(right.record), rtol=1e-6)


def test_the_trimmed_pass_reads_the_texts_of_the_full_pass(task: Ranking, params: Any, batch: Batch) -> None:
    @jax.jit
    def two(params: Any, batch: Batch, first: jax.Array, second: jax.Array) -> tuple[Any, Any]:
        begun = task.begin_pass(params, batch, key=first)
        full = task.run(params, batch, begun, key=first)
        return full, task.run(params, batch, begun, trim=Trim(), key=second, full=full)

    full, trimmed = two(params, batch, *jax.random.split(jax.random.key(1, impl="unsafe_rbg")))
    np.testing.assert_array_equal(full.texts, trimmed.texts)
    assert np.isfinite(task.loss(full, batch, None))
    assert task.distance(full, full, batch, None) == pytest.approx(0, abs=1e-6)
    assert task.distance(full, trimmed, batch, None) > 0


def test_judging_encoded_images_equals_a_call(task: Ranking, params: Any, batch: Batch) -> None:
    @jax.jit
    def both(params: Any, batch: Batch) -> tuple[Any, Any]:
        rows = task.more_rows(params, batch, CLOSING)
        images = rows["image_tokens"], rows["image_gates"]
        order = jnp.array([2, 0, 3, 1])
        ids, mask = batch["text_ids"], batch["text_mask"]
        logits = task.match_logits(params, images, order, ids, mask, CLOSING)
        called = task.model.apply(params, model_inputs(task.config, batch)[0][order], ids, mask, trim=CLOSING)
        return logits, called.logits["rank"][:, 0]

    chex.assert_trees_all_close(*both(params, batch), atol=1e-5)


def test_wrong_texts_never_belong_to_the_image() -> None:
    labels = jnp.array([1, 2, 1, 3, 2, 1])
    drawn = wrong_texts(jax.random.key(0), labels, 200)
    assert drawn.shape == (6, 200)
    for label, texts in zip(labels, np.asarray(drawn), strict=True):
        assert set(texts) == {row for row, other in enumerate(labels) if other != label}
    together = wrong_texts(jax.random.key(0), jnp.zeros(3, jnp.int32), 50)
    assert set(np.unique(together)) == {0, 1, 2}  # there is no wrong one


class Judge:
    """Scores by image and text, given by a table; an image's only token is its row."""

    def __init__(self, table: np.ndarray):
        self.table = table

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError("no text is encoded alone")

    def match(self, images: Any, texts: Sequence[str], of_images: np.ndarray, of_texts: np.ndarray) -> np.ndarray:
        rows = images[0][of_images, 0, 0].astype(int)
        return self.table[rows, [int(texts[each]) for each in of_texts]]


def judged(table: np.ndarray, counts: Sequence[int]) -> dict[str, float | None]:
    """Recall where image i has the next `counts[i]` texts, in batches of two images."""
    scores, numbers = Scores(["judged_recall"]), iter(range(table.shape[1]))
    references = [[str(next(numbers)) for _ in range(count)] for count in counts]
    for start in range(0, len(counts), 2):
        rows = np.arange(start, min(start + 2, len(counts)))
        outputs = {"image_tokens": rows[:, None, None].astype(np.float32), "image_gates": np.ones((len(rows), 1))}
        scores.update(outputs, {"label": rows + 5, "references": [references[row] for row in rows]})
    scores.search(Judge(table))
    return scores.compute()


@pytest.mark.parametrize("seed", range(5))
def test_judged_recall_equals_sorting_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(1, 4, 15)
    owner = np.repeat(np.arange(15), counts)
    belongs = np.arange(15)[:, None] == owner
    table = (belongs + random.normal(size=belongs.shape)).astype(np.float32)
    found = judged(table, counts.tolist())
    for k in (1, 5, 10):
        best_texts = np.argsort(-table, axis=1)[:, :k]
        text = np.mean([owner[row].tolist().count(image) > 0 for image, row in enumerate(best_texts)])
        image = np.mean([owner[text] in np.argsort(-table[:, text])[:k] for text in range(len(owner))])
        assert found[f"judged_text_recall@{k}"] == pytest.approx(text)
        assert found[f"judged_image_recall@{k}"] == pytest.approx(image)
    assert next(iter(found)) == "judged_recall"


def test_judged_recall_without_examples_or_search() -> None:
    assert Scores(["judged_recall"]).compute() == {"judged_recall": None}
    scores = Scores(["judged_recall"])
    outputs = {"image_tokens": np.zeros((1, 1, 1)), "image_gates": np.ones((1, 1))}
    scores.update(outputs, {"label": np.zeros(1), "references": [["a"]]})
    with pytest.raises(ConfigError, match="judged in evaluations only"):
        scores.compute()
