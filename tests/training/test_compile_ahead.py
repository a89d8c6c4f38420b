"""A step compiled where neither its data nor its devices are."""

import dataclasses

import jax
import pytest
from flax.traverse_util import flatten_dict

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.pipeline import train_iterator
from smarttrim_jax.data.stand_in import stand_in
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.training.compile_ahead import CompiledStep, abstract_batch, compile_step
from smarttrim_jax.training.experiment import ExperimentConfig, ScheduleConfig, fit_to_data
from smarttrim_jax.training.sharding import MeshConfig, make_mesh
from smarttrim_jax.training.slice_report import Growth, SliceReport
from smarttrim_jax.training.topology import slice_devices


@pytest.fixture(scope="module")
def fitted(experiment: ExperimentConfig) -> ExperimentConfig:
    return fit_to_data(experiment, prepare(experiment.data))


def test_the_batch_is_that_of_the_data(fitted: ExperimentConfig) -> None:
    iterator = train_iterator(prepare(fitted.data), fitted.data)
    batch = next(iterator)
    iterator.close()
    expected = abstract_batch(fitted, make_mesh(MeshConfig()), fitted.data.batch_size)
    assert {name: (leaf.shape, leaf.dtype) for name, leaf in batch.items()} == {
        name: (leaf.shape, leaf.dtype) for name, leaf in expected.items()
    }


@pytest.mark.parametrize(("start", "words"), [("", 30), ("[ENC]", 32)])
def test_a_stand_in_has_the_sizes_it_was_given(start, words):
    language = stand_in(words, 3, 7, start)
    assert language.text.vocab_size == words
    assert len(language.answer_names) == 3
    assert language.text.encode("5 1")[0].shape == (7,)


def test_a_step_is_compiled_without_data(fitted: ExperimentConfig) -> None:
    plain = dataclasses.replace(fitted, schedule=ScheduleConfig(full_steps=2, trim_steps=0))
    step = compile_step(plain, jax.devices()[:1], 8)
    shapes = flatten_dict(jax.eval_shape(Functional(plain.model).init, jax.random.key(0)))
    assert step.parameters == sum(leaf.size for leaf in shapes.values())
    # AdamW's two moments beside them, and a few counters.
    assert 0 <= step.state_bytes - 3 * 4 * step.parameters < 100
    assert step.state_bytes < step.peak_bytes < 100 * step.state_bytes
    assert step.flops > 0
    assert step.collectives == []


def test_sizes_that_the_data_would_decide_are_asked_for(experiment: ExperimentConfig) -> None:
    with pytest.raises(ConfigError, match=r"model.text.vocab_size is 0.*give a number"):
        compile_step(experiment, jax.devices()[:1], 8)


def test_the_largest_batch_lies_on_the_line_through_two():
    half, step = (CompiledStep(size, 1.0, 10, 100, 200 + 3 * size, 1.0, []) for size in (64, 128))
    assert SliceReport("v5e:2x2", "TPU v5 lite", 4, 1000, step, half).growth == Growth(264, 0.0)  # 266.7, by fours


def test_slices_that_cannot_be_compiled_for_are_named():
    with pytest.raises(ConfigError, match=r"aot|no TPU slice 'v5e:3x99'"):
        slice_devices("v5e:3x99")
