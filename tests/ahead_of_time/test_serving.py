"""The exported program compiled where neither a trained run nor its device is."""

import dataclasses

import jax
import numpy as np

from smarttrim_jax.ahead_of_time.serving import compile_answer
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.training.run_data import fit_to_data


def test_the_program_for_inference_is_compiled_without_data(experiment: ExperimentConfig) -> None:
    fitted = fit_to_data(experiment, prepare(experiment.data))
    small = dataclasses.replace(fitted, data=dataclasses.replace(fitted.data, batch_size=2))
    answer = compile_answer(small, jax.devices()[0], 2)
    shapes = jax.tree.leaves(jax.eval_shape(Functional(fitted.model).init, jax.random.key(0)))
    assert answer.program.peak_bytes > 4 * sum(np.prod(leaf.shape) for leaf in shapes)
    assert answer.program.collectives == []
