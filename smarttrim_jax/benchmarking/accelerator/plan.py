"""The plan of the measurements, the most important first."""

import dataclasses
from typing import Any

from smarttrim_jax.benchmarking.accelerator.comparison import Comparison, Subject
from smarttrim_jax.benchmarking.accelerator.stages import Study
from smarttrim_jax.benchmarking.accelerator.steps import StepStudy
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.tokens import Kernel

NARROW_HEAD, NARROW_MLP = 8, 96
"""Widths of heads and MLPs of the narrow model, whose layers do so little work that the host's time dominates."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes of the measurements.

    Attributes:
        meter: Name and run configuration of the METER model.
        blip: Name and run configuration of the BLIP model.
        peak: Multiply-adds per second of the machine's large matrix products.
        batch_sizes: The most important batch sizes, ascending.
        outer: Smaller and larger batch sizes, ascending; the one packed program is measured at the first too.
        steps: Batch sizes of training steps.
        keeps: Mean shares of tokens that trimmed executions keep.
        repeats: Number of timed calls of each execution.
        profile: Whether to use the profiler to measure the device's time.
        kernels: Attention kernels to compare.
    """

    meter: tuple[str, ExperimentConfig]
    blip: tuple[str, ExperimentConfig]
    peak: float
    batch_sizes: tuple[int, ...] = (8, 64)
    outer: tuple[int, ...] = (1, 256)
    steps: tuple[int, ...] = (16, 64)
    keeps: tuple[float, ...] = (0.5, 0.3)
    repeats: int = 10
    profile: bool = True
    kernels: tuple[Kernel, ...] = ("cudnn", "xla")

    def stages(self) -> list[list[Study]]:
        """Lists the studies by stage; those of one stage are compiled in parallel.

        Returns:
            Stages of studies, the most important first.
        """
        meter, blip = (Subject(name, run.model, run.data.text_length) for name, run in (self.meter, self.blip))
        name, run = self.meter
        narrow = Subject(f"{name} narrow", narrowed(run.model), run.data.text_length)
        small, large, least = self.batch_sizes[0], self.batch_sizes[-1], self.outer[0]
        basic, against_torch = ("full", "program", "packed"), ("torch", "full", "program", "packed")
        return [
            [self._compare(meter, size, basic) for size in self.batch_sizes],
            [
                *(self._compare(meter, size, basic) for size in self.outer),
                *(self._compare(meter, size, ("program", "one_program")) for size in sorted({least, small})),
            ],
            [self._compare(blip, size, against_torch) for size in self.batch_sizes],
            [
                *(self._steps(meter, size) for size in self.steps[:1]),
                *(self._attention(kernel) for kernel in self.kernels),
            ],
            # The first calls of a stage may be in memory at the same time, so large steps have a stage of their own.
            [self._steps(meter, size) for size in self.steps[1:]],
            [
                *(self._compare(narrow, size, basic, self.keeps[-1:]) for size in sorted({least, small})),
                *(self._compare(meter, size, ("program", "unrolled", "padded")) for size in sorted({least, small})),
            ],
            [
                *(self._compare(blip, size, against_torch) for size in self.outer),
                self._compare(blip, small, ("program", "one_program")),
                self._compare(meter, large, ("program", "one_program")),
            ],
        ]

    def _compare(
        self,
        subject: Subject,
        batch_size: int,
        executions: tuple[str, ...],
        keeps: tuple[float, ...] | None = None,
        **more: Any,
    ) -> Comparison:
        return Comparison(
            subject,
            batch_size,
            executions,
            keeps or self.keeps,
            peak=self.peak,
            repeats=self.repeats,
            profile=self.profile,
            **more,
        )

    def _attention(self, kernel: Kernel) -> Comparison:
        name, run = self.meter
        subject = Subject(name, dataclasses.replace(run.model, attention=kernel), run.data.text_length)
        executions = ("program", "padded", "packed")
        return self._compare(
            subject, self.batch_sizes[-1], executions, section="attention", labels={"attention": kernel}
        )

    def _steps(self, subject: Subject, batch_size: int) -> StepStudy:
        run = self.meter[1]
        run = dataclasses.replace(run, model=dataclasses.replace(run.model, remat="dots"))
        return StepStudy(subject, run, batch_size, peak=self.peak, repeats=self.repeats)


def narrowed(config: ModelConfig) -> ModelConfig:
    """Shrinks a METER: same depths, heads and tokens, but almost no arithmetic in a layer.

    Args:
        config: Configuration of a METER model.

    Returns:
        The configuration with narrow layers.
    """
    parts = {
        part: dataclasses.replace(sizes, width=NARROW_HEAD * sizes.heads, mlp_width=NARROW_MLP)
        for part in ("vision", "text", "fusion")
        for sizes in [getattr(config, part)]
    }
    return dataclasses.replace(config, **parts)
