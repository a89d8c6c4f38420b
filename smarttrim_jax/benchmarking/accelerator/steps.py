"""Training steps as studies of the plan: plain fine-tuning against trim-tuning."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping

from smarttrim_jax.benchmarking.accelerator.comparison import Subject
from smarttrim_jax.benchmarking.accelerator.executions import Call
from smarttrim_jax.benchmarking.accelerator.stages import Compiled, Study
from smarttrim_jax.benchmarking.measurement import time_by_turns
from smarttrim_jax.benchmarking.speed import Row
from smarttrim_jax.benchmarking.step_speed import TimedSteps, step_rows
from smarttrim_jax.experiment import ExperimentConfig

PASSES = 3
"""Cost of a plain step in forward passes: the pass itself, and a backward pass of twice its multiply-adds."""


class StepStudy(Study):
    """Study of a plain and a trimming step at one batch size.

    Args:
        subject: Model whose full MACs, once known, give the plain step's share of the peak.
        config: Run configuration; its model's `remat` says what the backward pass recomputes.
        batch_size: Number of examples of a step.
        peak: Multiply-adds per second of the machine's large matrix products.
        repeats: Number of timed steps of each kind.
    """

    def __init__(self, subject: Subject, config: ExperimentConfig, batch_size: int, *, peak: float, repeats: int):
        self.name = f"{subject.name}, training steps, batch {batch_size}"
        self._subject, self._config, self._batch_size = subject, config, batch_size
        self._peak, self._repeats = peak, repeats

    def parts(self) -> Mapping[str, Callable[[], Call]]:
        """Prepares the kinds of steps.

        Returns:
            By kind of step, a function that creates its call.
        """
        calls = TimedSteps(self._config).calls(self._batch_size)
        return {name: functools.partial(_itself, call) for name, call in calls.items()}

    def rows(self, ready: Mapping[str, Compiled]) -> Iterator[tuple[str, Row]]:
        """Times the steps.

        Args:
            ready: Compiled steps by kind.

        Yields:
            The section "training", and a row of `step_rows` with `model`, `remat` and, for the plain step, `of_peak`.
        """
        if "plain" not in ready:
            return
        timings = time_by_turns({name: compiled.call for name, compiled in ready.items()}, self._repeats)
        timings = {name: dataclasses.replace(timing, first=ready[name].seconds) for name, timing in timings.items()}
        macs = self._subject.full_macs
        for row in step_rows(timings, self._batch_size):
            if row["step"] == "plain" and macs is not None:
                row["of_peak"] = PASSES * macs * self._batch_size / row["seconds"] / self._peak
            yield "training", {"model": self._subject.name, "remat": self._config.model.remat, **row}


def _itself(call: Call) -> Call:
    return call
