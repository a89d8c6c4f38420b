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
        half: at half of it.
    """

    topology: str
    device: str
    devices: int
    memory: int
    step: CompiledStep
    half: CompiledStep

    @property
    def largest_batch(self) -> int:
        """Examples that fit, by the line through the two compiled sizes; a multiple of the devices."""
        more = self.step.peak_bytes - self.half.peak_bytes
        fixed = 2 * self.half.peak_bytes - self.step.peak_bytes
        examples = (self.memory - fixed) * (self.step.batch_size - self.half.batch_size) / max(more, 1)
        return max(int(examples // self.devices) * self.devices, 0)

    @property
    def bytes_sent(self) -> int:
        """By each device in a step."""
        return sum(kind.bytes for kind in self.step.collectives)

    @property
    def bytes_of_examples(self) -> int:
        """Of `bytes_sent`, those that grow with the batch: activations; the rest are parameters and gradients."""
        return 2 * (self.bytes_sent - sum(kind.bytes for kind in self.half.collectives))

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        derived = ("largest_batch", "bytes_sent", "bytes_of_examples")
        return dataclasses.asdict(self) | {name: getattr(self, name) for name in derived}


def report_slice(config: ExperimentConfig, topology: str, batch_size: int) -> SliceReport:
    """Compiles the training step for a slice, at a batch and at half of it.

    Args:
        config: of the run, every size given.
        topology: as `slice_devices` takes it.
        batch_size: examples over all devices.

    Raises:
        ConfigError: see `slice_devices` and `compile_step`.
    """
    devices = slice_devices(topology)
    half, step = (compile_step(config, devices, size) for size in (batch_size // 2, batch_size))
    return SliceReport(topology, devices[0].device_kind, len(devices), device_memory(topology, devices), step, half)
