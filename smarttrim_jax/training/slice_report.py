"""What a run would take on a TPU slice: memory, work and traffic of a device, and the largest batch that fits."""

import dataclasses
from typing import Any

from smarttrim_jax.training.compile_ahead import CompiledStep, compile_step
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.topology import device_memory, slice_devices


@dataclasses.dataclass(frozen=True)
class SliceReport:
    """One configuration on one slice.

    Attributes:
        topology: as asked for, "v5e:16x16".
        device: kind of its devices.
        devices: how many.
        memory: bytes of a device; 0 where that is not known.
        step: at the batch asked for.
        half: at half of it, if that was asked for too.
    """

    topology: str
    device: str
    devices: int
    memory: int
    step: CompiledStep
    half: CompiledStep | None = None

    @property
    def bytes_sent(self) -> int:
        """By each device in a step."""
        return _sent(self.step)

    @property
    def growth(self) -> "Growth | None":
        """What grows with the batch, where two batches were compiled."""
        if self.half is None:
            return None
        examples = self.step.batch_size - self.half.batch_size
        memory = (self.step.peak_bytes - self.half.peak_bytes) / examples
        fixed = self.step.peak_bytes - memory * self.step.batch_size
        fitting = (self.memory - fixed) / max(memory, 1e-9)
        return Growth(
            largest_batch=max(int(fitting // self.devices) * self.devices, 0),
            bytes_sent_per_example=(self.bytes_sent - _sent(self.half)) / examples,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        growth = None if self.growth is None else dataclasses.asdict(self.growth)
        return dataclasses.asdict(self) | {"bytes_sent": self.bytes_sent, "growth": growth}


@dataclasses.dataclass(frozen=True)
class Growth:
    """By the line through two compiled batches.

    Attributes:
        largest_batch: examples that fit over all devices, a multiple of their number.
        bytes_sent_per_example: by each device: activations, where all else are parameters and gradients.
    """

    largest_batch: int
    bytes_sent_per_example: float


def report_slice(config: ExperimentConfig, topology: str, batch_size: int, *, growth: bool = False) -> SliceReport:
    """Compiles the training step for a slice.

    Args:
        config: of the run, every size given.
        topology: as `slice_devices` takes it.
        batch_size: examples over all devices.
        growth: compile it for half of them too, to tell what grows with them.

    Raises:
        ConfigError: see `slice_devices` and `compile_step`.
    """
    devices = slice_devices(topology)
    step = compile_step(config, devices, batch_size)
    half = compile_step(config, devices, batch_size // 2) if growth else None
    return SliceReport(topology, devices[0].device_kind, len(devices), device_memory(topology, devices), step, half)


def _sent(step: CompiledStep) -> int:
    return sum(kind.bytes for kind in step.collectives)
