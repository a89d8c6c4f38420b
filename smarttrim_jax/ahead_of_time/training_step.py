"""The training step of a run, compiled without its data and its devices."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from smarttrim_jax.ahead_of_time.program import CompiledProgram, compile_program
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.sharding import EXAMPLES, make_mesh, state_shardings
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.training.step import Steps, jit_step
from smarttrim_jax.trimming.gates import TrimRecord


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """One step of trim-tuning, or of plain fine-tuning where the schedule has no trim-tuning.

    Attributes:
        batch_size: Number of examples over all devices.
        parameters: Number of the model's parameters.
        state_bytes: Bytes per device of everything carried from step to step: parameters, optimizer state and so on.
        model_flops: FLOPs per device by the usual count of a model's FLOPs: 6 for each multiply-add of a full pass. A
            trimmed pass counts like a full one, and recomputation to save memory does not count.
        program: Memory, collectives and compilation time.
    """

    batch_size: int
    parameters: int
    state_bytes: int
    model_flops: float
    program: CompiledProgram


def compile_step(config: ExperimentConfig, devices: Sequence[Any], batch_size: int) -> CompiledStep:
    """Compiles the training step for given devices.

    Args:
        config: Run configuration; no data is read, so all its sizes must be given.
        devices: Devices of a `topology.Slice`, or of this machine.
        batch_size: Number of examples over all devices.

    Returns:
        The compiled step.

    Raises:
        ConfigError: Sizes are left to the data, the mesh does not fit the devices, or the step does not fit their
            memory.
    """
    mesh, task = make_mesh(config.mesh, devices), synthetic_task(config)
    abstract = jax.eval_shape(task.model.init, config.random_key)
    steps = Steps.of(task, abstract)
    state = jax.eval_shape(steps.initial_state, abstract)
    shardings = state_shardings(state, mesh, config.model.is_stacked)
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings
    )
    trims = config.schedule.trim_steps > 0
    batch = abstract_batch(config, batch_size, NamedSharding(mesh, EXAMPLES))
    with jax.set_mesh(mesh):
        lowered = jit_step(steps.trim if trims else steps.full, shardings).lower(state, batch)
    return CompiledStep(
        batch_size=batch_size,
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract)),
        state_bytes=sum(_bytes_on_a_device(leaf) for leaf in jax.tree.leaves(state)),
        model_flops=6 * _macs_of_one(task) * (1 + trims) * batch_size / len(devices),
        program=compile_program(lowered, batch_size),
    )


def _macs_of_one(task: Task) -> float:
    """Counts the multiply-adds of a full pass over one example whose text has no padding."""
    params = jax.eval_shape(task.model.init, jax.random.key(0))
    batch = abstract_batch(task.config, 1)

    def full_pass(params: Params, batch: Batch) -> TrimRecord:
        record: TrimRecord = task.run(params, batch, task.begin_pass(params, batch)).record
        return record

    shapes = jax.eval_shape(full_pass, params, batch)
    record = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shapes)
    return float(jnp.sum(task.model.macs(record, trimmed=False)))


def _bytes_on_a_device(leaf: jax.ShapeDtypeStruct) -> int:
    held: int = math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return held
