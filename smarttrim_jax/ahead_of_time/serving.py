"""The program for inference that `convert --export` writes, compiled without a trained run and its device."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from smarttrim_jax.ahead_of_time.program import CompiledProgram, compile_program
from smarttrim_jax.data.images import normalize
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.serving.export import answer, read_answers
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.synthetic import abstract_batch, synthetic_task
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.gates import Trim

EXECUTION = ExecutionConfig(multiple=128)
"""Sizes that suit TPUs, also where the machine that compiles is none."""


@dataclasses.dataclass(frozen=True)
class CompiledAnswer:
    """The program for inference on one device.

    Attributes:
        batch_size: Number of examples per call.
        program: Memory, collectives and compilation time.
    """

    batch_size: int
    program: CompiledProgram


def compile_answer(config: ExperimentConfig, device: Any, batch_size: int) -> CompiledAnswer:
    """Compiles the program for one device; each device of a slice would answer separately.

    Args:
        config: Run configuration with every size given.
        device: Device of a `topology.Slice`, or of this machine.
        batch_size: Number of examples per call.

    Returns:
        The compiled program.

    Raises:
        ConfigError: Sizes are left to the data, or the batch does not fit the memory.
    """
    return CompiledAnswer(batch_size, compile_program(lower_answer(config, device, batch_size), batch_size))


def lower_answer(config: ExperimentConfig, device: Any, batch_size: int, *, trims: bool = True) -> jax.stages.Lowered:
    """Lowers the program for inference, up to compilation.

    Args:
        config: Run configuration with every size given.
        device: Device of a `topology.Slice`, or of this machine.
        batch_size: Number of examples per call.
        trims: Whether the program trims; otherwise it is that of the full model, padded.

    Returns:
        The lowered program.

    Raises:
        ConfigError: Sizes are left to the data.
    """
    here = SingleDeviceSharding(device)
    # Otherwise the attention kernel would be chosen for the device that compiles.
    kernel: Kernel = "splash" if device.platform == "tpu" else "xla"
    model = dataclasses.replace(config.model, attention=kernel, scan=True)
    task = synthetic_task(dataclasses.replace(config, model=model))

    def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here)

    params = jax.tree.map(placed, jax.eval_shape(task.model.init, jax.random.key(0)))
    batch = jax.tree.map(placed, abstract_batch(task.config, batch_size))
    offset = jax.ShapeDtypeStruct((), jnp.float32, sharding=here)

    @jax.jit
    def program(params: Any, offset: jax.Array, *inputs: jax.Array) -> Any:
        if trims:
            return answer(task, EXECUTION, params, Trim(offset), *inputs)
        return _full_answer(task, params, *inputs)

    return program.lower(params, offset, batch["image"], batch["text_ids"], batch["text_mask"])


def _full_answer(task: Task, params: Any, images: jax.Array, ids: jax.Array, mask: jax.Array) -> Any:
    """What `answer` returns for the full model, without its MACs."""
    output = task.model.scanned().apply(params, normalize(images, task.config.pixels), ids, mask)
    return read_answers(task, params, output, None)[0]
