"""A program compiled for devices that this machine does not have: its memory and its traffic."""

import dataclasses
import time
from typing import Any

import jax

from smarttrim_jax.ahead_of_time.collectives import Collectives, collectives
from smarttrim_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class CompiledProgram:
    """One compiled program, as seen by one device.

    Attributes:
        seconds: Seconds that compilation took.
        peak_bytes: Bytes that are in use at once, arguments included.
        collectives: Collective operations of one run, by kind.
    """

    seconds: float
    peak_bytes: int
    collectives: list[Collectives]

    @property
    def bytes_sent(self) -> int:
        """Bytes that each device sends in one run."""
        return sum(kind.bytes for kind in self.collectives)


def compile_program(lowered: jax.stages.Lowered, batch_size: int) -> CompiledProgram:
    """Compiles a lowered program.

    Args:
        lowered: Lowered program; the shardings of its arguments name the devices.
        batch_size: Number of examples, for the error message.

    Returns:
        Memory, collectives and compilation time.

    Raises:
        ConfigError: The program does not fit the devices' memory.
    """
    begun = time.perf_counter()
    compiled = compile_to_fit(lowered, batch_size)
    memory: Any = compiled.memory_analysis()
    return CompiledProgram(
        seconds=time.perf_counter() - begun,
        peak_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        collectives=collectives(compiled.as_text() or ""),
    )


def compile_to_fit(lowered: jax.stages.Lowered, batch_size: int) -> jax.stages.Compiled:
    """Compiles a lowered program, and says in a sentence if it does not fit.

    Args:
        lowered: Lowered program.
        batch_size: Number of examples, for the error message.

    Returns:
        The compiled program.

    Raises:
        ConfigError: The program does not fit the devices' memory.
    """
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ConfigError(f"a batch of {batch_size} does not fit: {_first_sentence(error)}") from error


def _first_sentence(error: Exception) -> str:
    return str(error).split("RESOURCE_EXHAUSTED:")[-1].strip().splitlines()[0]
