"""A split is searched with the features and judgements that the model's whole calls give, however it is batched."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fresh_params import fresh_params
from tiny_run import decisive
from tiny_tasks import experiment, make_sources

from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.examples import RECORD_VALUES
from smarttrim_jax.evaluation.evaluator import Evaluator
from smarttrim_jax.evaluation.retriever import SearchableTask, SplitRetriever
from smarttrim_jax.experiment import EvaluationConfig
from smarttrim_jax.sharding import MeshConfig, make_mesh
from smarttrim_jax.tasks import make_task
from smarttrim_jax.tasks.base import model_inputs
from smarttrim_jax.tasks.retrieval import Pairs
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.trimming.gates import Trim

OFFSET = -3.6
TEXTS = ["a red circle", "a blue triangle with a black rectangle", "teal", "a red circle", "brown and gray"]


@dataclasses.dataclass(frozen=True)
class Searched:
    """A tiny model of retrieval and its data."""

    task: Pairs
    dataset: Dataset
    params: Any

    def whole_calls(self, trim: Trim | None, texts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features of images and texts, and the logits of all pairs `[images, texts]`."""
        batch = jax.tree.map(jnp.asarray, next(iter(self.evaluator(5).batches("test"))))
        images = model_inputs(self.task.config, batch)[0][:5]  # Several devices would have fillers too.
        ids, mask = (np.stack(part) for part in zip(*map(self.dataset.text.encode, texts), strict=True))
        alone = np.where(np.arange(ids.shape[1]) == 0, self.dataset.text.own_start_id, ids)

        @jax.jit
        def computed(params: Any) -> Any:
            module, count = self.task.model.bind(params), len(texts)
            rows, columns = np.divmod(np.arange(len(images) * count), count)
            pairs = self.task.model.apply(params, images[rows], ids[columns], mask[columns], trim=trim)
            encoded = module.encode_images(images, trim=trim), module.encode_texts(alone, mask, trim=trim)
            return *(each.features for each in encoded), pairs.logits["itm"][:, 1].reshape(-1, count)

        return jax.device_get(computed(self.params))

    def evaluator(self, size: int, *metrics: str) -> Evaluator:
        evaluation = EvaluationConfig(batch_size=size, speedups=(2.0,), metrics=metrics)
        config = dataclasses.replace(self.task.config, evaluation=evaluation)
        return Evaluator(make_task(config, self.dataset.language), self.params, self.dataset)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    config = experiment("retrieval", make_sources(tmp_path_factory.mktemp("raw")))
    dataset = prepare(config.data)
    task = make_task(fit_to_data(config, dataset), dataset.language)
    assert isinstance(task, Pairs)
    params = fresh_params(task.config.model)
    return Searched(task, dataset, params | {"trimmers": decisive(params["trimmers"])})


@pytest.fixture(params=[None, OFFSET])
def trim(request: Any) -> Trim | None:
    return None if request.param is None else Trim(offset=jnp.float32(request.param))


def test_texts_and_pairs_are_those_of_whole_calls(searched: Searched, trim: Trim | None) -> None:
    assert isinstance(searched.task, SearchableTask)
    _, features, logits = searched.whole_calls(trim, TEXTS)
    batch = jax.tree.map(jnp.asarray, next(iter(searched.evaluator(5).batches("test"))))
    rows = jax.device_get(jax.jit(searched.task.more_rows)(searched.params, batch, trim))
    closes_some = 0 < rows["image_gates"].mean() < 1
    assert closes_some == (trim is not None)
    retriever = SplitRetriever(searched.task, searched.params, make_mesh(MeshConfig()), trim, size=4)
    np.testing.assert_allclose(retriever.encode_texts(TEXTS), features, atol=1e-5)
    chance = np.random.default_rng(0)
    of_images, of_texts = np.sort(chance.integers(0, 5, 14)), chance.integers(0, len(TEXTS), 14)
    judged = retriever.match((rows["image_tokens"], rows["image_gates"]), TEXTS, of_images, of_texts)
    np.testing.assert_allclose(judged, logits[of_images, of_texts], atol=1e-5)
    assert np.ptp(logits) > 1e-2  # The pairs differ by more than the tolerance.


def test_an_evaluation_searches_all_references(searched: Searched, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [[TEXTS[i], TEXTS[-1 - i]][: 1 + i % 2] for i in range(5)]
    left, numbers, named_values = list(texts), itertools.count(), Pairs.named_values

    def with_own_labels(self: Pairs, rows: Any) -> Any:
        outputs, targets = named_values(self, rows)
        targets["label"] = np.array([next(numbers) for _ in rows["label"]])
        return outputs, targets

    monkeypatch.setattr(Pairs, "named_values", with_own_labels)
    monkeypatch.setitem(RECORD_VALUES, "references", lambda record: left.pop(0))
    evaluator = searched.evaluator(2, "recall", "reranked_recall")
    computed = evaluator.full(evaluator.batches("test"))["metrics"]
    images, features, logits = searched.whole_calls(None, [text for each in texts for text in each])
    owners = np.repeat(np.arange(5), [len(each) for each in texts])
    similarities = images @ features.T
    for name, scores in {"": similarities, "reranked_": similarities + logits}.items():
        own = scores[owners, np.arange(len(owners))]
        wrong = np.sum((scores >= own) & (np.arange(5)[:, None] != owners), axis=0)
        assert computed[f"{name}image_recall@1"] == np.mean(wrong < 1)
        best = [own[owners == image].max() for image in range(5)]
        wrong = [np.sum(scores[image, owners != image] >= best[image]) for image in range(5)]
        assert computed[f"{name}text_recall@1"] == np.mean(np.array(wrong) < 1)
        assert computed[f"{name}text_recall@5"] == np.mean(np.array(wrong) < 5)
