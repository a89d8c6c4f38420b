"""The training step compiled for devices that are not there: what it holds, computes and sends."""

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from smarttrim_jax.data.stand_in import stand_in
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.training.collectives import Collectives, collectives
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.optimizer import make_optimizer
from smarttrim_jax.training.sharding import make_mesh, state_shardings
from smarttrim_jax.training.step import Steps
from smarttrim_jax.training.tasks import make_task


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """One step of trim-tuning (of plain fine-tuning where the schedule has no other), on one device.

    Attributes:
        batch_size: examples over all devices.
        seconds: that compiling took.
        parameters: numbers in the model.
        state_bytes: of parameters, optimizer and all else that is carried from step to step, on one device.
        peak_bytes: that are in use at once, the state included, on one device.
        flops: of one device, as the compiler counts them (a loop's body once).
        collectives: by kind.
    """

    batch_size: int
    seconds: float
    parameters: int
    state_bytes: int
    peak_bytes: int
    flops: float
    collectives: list[Collectives]


def compile_step(config: ExperimentConfig, devices: list[Any], batch_size: int) -> CompiledStep:
    """Compiles the step for these devices.

    Args:
        config: of the run; no data is read, so all its sizes must be given.
        devices: of `topology.slice_devices`, or this machine's.
        batch_size: examples over all devices.

    Raises:
        ConfigError: sizes that are left to the data, a mesh that does not fit the devices, or a step that does not
            fit their memory.
    """
    mesh = make_mesh(config.mesh, devices)
    task = make_task(config, _stand_in(config))
    abstract = jax.eval_shape(task.model.init, jax.random.key(config.seed))
    steps = Steps(task, make_optimizer(config.optimizer, abstract, config.schedule.total_steps))
    state = jax.eval_shape(steps.initial_state, abstract)
    shardings = state_shardings(state, mesh)
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings
    )
    step = steps.trim if config.schedule.trim_steps else steps.full
    with jax.set_mesh(mesh):
        program = jax.jit(step, donate_argnums=0, out_shardings=(shardings, None))
        lowered = program.lower(state, abstract_batch(config, mesh, batch_size))
        begun = time.perf_counter()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            raise ConfigError(f"a batch of {batch_size} does not fit: {_first_sentence(error)}") from error
    seconds = time.perf_counter() - begun
    memory: Any = compiled.memory_analysis()
    costs: Any = compiled.cost_analysis()
    return CompiledStep(
        batch_size=batch_size,
        seconds=seconds,
        parameters=sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(abstract)),
        state_bytes=sum(_bytes_on_a_device(leaf) for leaf in jax.tree.leaves(state)),
        peak_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        flops=float(costs.get("flops", math.nan)),
        collectives=collectives(compiled.as_text() or ""),
    )


def abstract_batch(config: ExperimentConfig, mesh: Mesh, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch of `data.pipeline.train_iterator`, split over the mesh."""
    images, side, length = config.model.images, config.data.image_size, config.data.text_length
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "image": ((size, images, side, side, 3), jnp.uint8),
        "text_ids": ((size, length), jnp.int32),
        "text_mask": ((size, length), jnp.int32),
        "label": ((size,), jnp.int32),
        "weight": ((size,), jnp.float32),
    }
    split = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    return {name: jax.ShapeDtypeStruct(*shape, sharding=split) for name, shape in shapes.items()}


def _stand_in(config: ExperimentConfig) -> Any:
    model = config.model
    answers = 2
    if isinstance(model, MeterConfig):
        (answers,) = (head.outputs for head in model.heads if head.name == config.task)
    for name, size in {"model.text.vocab_size": model.text.vocab_size, "the head's outputs": answers}.items():
        if size == 0:
            raise ConfigError(f"{name} is 0, which leaves it to the data; no data is read here, so give a number")
    return stand_in(model.text.vocab_size, answers, config.data.text_length, config.data.start)


def _bytes_on_a_device(leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _first_sentence(error: Exception) -> str:
    return str(error).split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
