"""What a run would take on a TPU slice: memory, work and traffic of a device, and the largest batch that fits."""

import dataclasses
from typing import Any

from smarttrim_jax.ahead_of_time.serving import CompiledAnswer, compile_answer
from smarttrim_jax.ahead_of_time.topology import Slice
from smarttrim_jax.ahead_of_time.training_step import CompiledStep, compile_step
from smarttrim_jax.experiment import ExperimentConfig

UTILISATION = 0.4
"""Share of a chip's peak that is taken for granted where traffic is compared with work."""


@dataclasses.dataclass(frozen=True)
class SliceReport:
    """One configuration on one slice.

    Attributes:
        where: the slice.
        step: at the batch asked for.
        half: at half of it, if that was asked for too.
        answer: the program for inference, if that was asked for.
    """

    where: Slice
    step: CompiledStep
    half: CompiledStep | None = None
    answer: CompiledAnswer | None = None

    @property
    def efficiency(self) -> float | None:
        """The share of a step that is work, if the device does nothing else while it sends.

        Work is `model_flops` at `UTILISATION` of the peak; all traffic goes along one axis of the torus. What the
        compiler sends behind the work's back makes it better, never worse.
        """
        chip = self.where.chip
        if chip is None:
            return None
        working = self.step.model_flops / (UTILISATION * chip.flops)
        sending = self.step.program.bytes_sent / (chip.bandwidth / self.where.dimensions)
        return working / (working + sending)

    @property
    def growth(self) -> "Growth | None":
        """What grows with the batch, where two batches were compiled."""
        if self.half is None:
            return None
        program, half, devices = self.step.program, self.half.program, len(self.where.devices)
        examples = self.step.batch_size - self.half.batch_size
        memory = (program.peak_bytes - half.peak_bytes) / examples
        fixed = program.peak_bytes - memory * self.step.batch_size
        there = self.where.chip.memory if self.where.chip else 0
        return Growth(
            largest_batch=max(int((there - fixed) / max(memory, 1e-9) // devices) * devices, 0),
            bytes_sent_per_example=(program.bytes_sent - half.bytes_sent) / examples,
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        where = self.where
        return {
            "topology": where.name,
            "device": where.devices[0].device_kind,
            "devices": len(where.devices),
            "chip": where.chip and dataclasses.asdict(where.chip),
            "step": dataclasses.asdict(self.step),
            "bytes_sent": self.step.program.bytes_sent,
            "efficiency": self.efficiency,
            "half": self.half and dataclasses.asdict(self.half),
            "growth": self.growth and dataclasses.asdict(self.growth),
            "answer": self.answer and dataclasses.asdict(self.answer),
        }


@dataclasses.dataclass(frozen=True)
class Growth:
    """By the line through two compiled batches.

    Attributes:
        largest_batch: examples that fit over all devices, a multiple of their number.
        bytes_sent_per_example: by each device: activations, where all else are parameters and gradients; negative
            where the compiler gathers in another way for fewer examples.
    """

    largest_batch: int
    bytes_sent_per_example: float


def report_slice(
    config: ExperimentConfig, where: Slice, batch_size: int, *, growth: bool = False, answer_batch: int = 0
) -> SliceReport:
    """Compiles a run's programs for a slice.

    Args:
        config: of the run, every size given.
        where: the slice.
        batch_size: of the training step, examples over all devices.
        growth: compile it for half of them too, to tell what grows with them.
        answer_batch: compile the program for inference too, for so many examples on one device.

    Raises:
        ConfigError: see `compile_step`.
    """
    step = compile_step(config, where.devices, batch_size)
    half = compile_step(config, where.devices, batch_size // 2) if growth else None
    answer = compile_answer(config, where.devices[0], answer_batch) if answer_batch else None
    return SliceReport(where, step, half, answer)
