"""A step compiled where neither its data nor its devices are."""

import dataclasses

import jax
import pytest
from flax.traverse_util import flatten_dict

from smarttrim_jax.ahead_of_time.training_step import compile_step
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.language import numbered_language
from smarttrim_jax.data.pipeline import train_iterator
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig, ScheduleConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.tasks.synthetic import abstract_batch
from smarttrim_jax.training.run_data import fit_to_data


@pytest.fixture(scope="module")
def fitted(experiment: ExperimentConfig) -> ExperimentConfig:
    return fit_to_data(experiment, prepare(experiment.data))


def test_the_batch_is_that_of_the_data(fitted: ExperimentConfig) -> None:
    iterator = train_iterator(prepare(fitted.data), fitted.data)
    batch = next(iterator)
    iterator.close()
    expected = abstract_batch(fitted, fitted.data.batch_size)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()
    }


@pytest.mark.parametrize(("start", "words"), [("", 30), ("[ENC]", 32)])
def test_a_numbered_language_has_the_sizes_it_was_given(start, words):
    language = numbered_language(words, 3, 7, start)
    assert language.text.vocab_size == words
    assert len(language.answer_names) == 3
    assert language.text.encode("5 1")[0].shape == (7,)


@pytest.mark.slow
def test_a_step_is_compiled_without_data(fitted: ExperimentConfig) -> None:
    plain = dataclasses.replace(fitted, schedule=ScheduleConfig(full_steps=1, trim_steps=0))
    step = compile_step(plain, jax.devices()[:1], 8)
    shapes = flatten_dict(jax.eval_shape(Functional(plain.model).init, jax.random.key(0)))
    assert step.parameters == sum(leaf.size for leaf in shapes.values())
    # AdamW's two moments beside them, and a few counters.
    assert 0 <= step.state_bytes - 3 * 4 * step.parameters < 100
    assert step.state_bytes < step.program.peak_bytes < 100 * step.state_bytes
    assert step.program.collectives == []


def test_sizes_that_the_data_would_decide_are_asked_for(experiment: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"model.text.vocab_size is 0.*give a number"):
        compile_step(experiment, jax.devices()[:1], 8)
