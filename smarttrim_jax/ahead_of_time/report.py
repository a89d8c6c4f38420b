"""What a run would need on a TPU slice: memory, work and traffic of a device, and the largest batch that fits."""

import dataclasses
from typing import Any

from smarttrim_jax.ahead_of_time.serving import CompiledAnswer, compile_answer
from smarttrim_jax.ahead_of_time.topology import GIB, Slice
from smarttrim_jax.ahead_of_time.training_step import CompiledStep, compile_step
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig

UTILISATION = 0.4
"""Assumed share of a chip's peak at which it works, where traffic is compared with work."""


@dataclasses.dataclass(frozen=True)
class SliceReport:
    """One configuration on one slice.

    Attributes:
        where: The slice.
        step: Training step at the batch size asked for.
        half: Training step at half of it; None if that was not asked for.
        answer: Program for inference; None if that was not asked for.
    """

    where: Slice
    step: CompiledStep
    half: CompiledStep | None = None
    answer: CompiledAnswer | None = None

    @property
    def efficiency(self) -> float | None:
        """Lower bound on the share of a step that is work, if the device does nothing else while it sends.

        Work is `model_flops` at `UTILISATION` of the peak, and all traffic is assumed to go along one axis of the
        torus. Traffic that the compiler overlaps with work makes the share larger, never smaller. None where the chip
        is not known.
        """
        chip = self.where.chip
        if chip is None:
            return None
        working = self.step.model_flops / (UTILISATION * chip.flops)
        sending = self.step.program.bytes_sent / (chip.bandwidth / self.where.dimensions)
        return working / (working + sending)

    @property
    def growth(self) -> "Growth | None":
        """What grows with the batch; None unless two batch sizes were compiled."""
        if self.half is None:
            return None
        program, half, devices = self.step.program, self.half.program, len(self.where.devices)
        examples = self.step.batch_size - self.half.batch_size
        memory = (program.peak_bytes - half.peak_bytes) / examples
        fixed = program.peak_bytes - memory * self.step.batch_size
        largest = None
        if self.where.chip is not None:
            largest = max(int((self.where.chip.memory - fixed) / max(memory, 1e-9) // devices) * devices, 0)
        return Growth(
            largest_batch=largest,
            bytes_sent_per_example=(program.bytes_sent - half.bytes_sent) / examples,
        )

    def check_memory(self) -> None:
        """Checks that the programs fit; the compiler itself accepts a little more than a chip holds.

        Raises:
            ConfigError: One of them needs more memory than a device has.
        """
        if self.where.chip is None:
            return
        programs = {f"a batch of {self.step.batch_size}": self.step.program}
        if self.answer is not None:
            programs[f"inference on a batch of {self.answer.batch_size}"] = self.answer.program
        for what, program in programs.items():
            if not program.peak_bytes <= self.where.chip.memory:
                raise ConfigError(
                    f"{what} does not fit: a device would hold {program.peak_bytes / GIB:.2f} GiB and has "
                    f"{self.where.chip.memory / GIB:.2f}; take fewer examples at once (with optimizer.accumulate, as "
                    "many in an update), or split the parameters with a larger mesh.fsdp"
                )

    def to_dict(self) -> dict[str, Any]:
        """Converts the report to a JSON-ready dict."""
        return {
            **self.where.to_dict(),
            "step": dataclasses.asdict(self.step),
            "bytes_sent": self.step.program.bytes_sent,
            "efficiency": self.efficiency,
            "half": self.half and dataclasses.asdict(self.half),
            "growth": self.growth and dataclasses.asdict(self.growth),
            "answer": self.answer and dataclasses.asdict(self.answer),
        }


@dataclasses.dataclass(frozen=True)
class Growth:
    """Linear extrapolation from two compiled batch sizes.

    Attributes:
        largest_batch: Number of examples over all devices that fit in memory, a multiple of the number of devices;
            None where the chip is not known.
        bytes_sent_per_example: Bytes that each device sends per additional example: activations, while the rest are
            parameters and gradients. Negative where the compiler chooses other collectives for fewer examples.
    """

    largest_batch: int | None
    bytes_sent_per_example: float


def report_slice(
    config: ExperimentConfig, where: Slice, batch_size: int, *, growth: bool = False, answer_batch: int = 0
) -> SliceReport:
    """Compiles a run's programs for a slice.

    Args:
        config: Run configuration with every size given.
        where: The slice.
        batch_size: Number of examples of the training step, over all devices.
        growth: Whether to compile the step for half of them too, to find out what grows with them.
        answer_batch: Number of examples per call of the program for inference, on one device; 0 leaves it out.

    Returns:
        The compiled programs and what they need.

    Raises:
        ConfigError: See `compile_step`.
    """
    step = compile_step(config, where.devices, batch_size)
    half = compile_step(config, where.devices, batch_size // 2) if growth else None
    answer = compile_answer(config, where.devices[0], answer_batch) if answer_batch else None
    return SliceReport(where, step, half, answer)
