"""The training loop: runs steps, logs and checks their metrics, and saves checkpoints."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax

from smarttrim_jax.errors import TrainingError
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.preemption import Preempted, PreemptionGuard
from smarttrim_jax.training.progress import Progress
from smarttrim_jax.training.step import TrainState
from smarttrim_jax.training.writers import Writer

TrainStep = Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]


class DataIterator(Protocol):
    """Iterator over batches that are already on the devices, with a position that can be saved."""

    def __next__(self) -> Any: ...

    def get_state(self) -> Any:
        """Returns the JSON-ready position after the last batch given, to be saved with a checkpoint."""


def fit(
    state: TrainState,
    step_fn: Callable[[int, TrainState], TrainStep],
    iterator: DataIterator,
    *,
    start_step: int,
    total_steps: int,
    checkpoints: Checkpoints,
    writer: Writer,
    progress: Progress,
    log_every: int,
    save_metadata: Mapping[str, Any],
    finite_terms: Sequence[str],
) -> TrainState:
    """Trains from `start_step` to `total_steps`; saves checkpoints on the way and at the end.

    Args:
        state: Training state as a dict of trees of arrays: parameters, optimizer state and whatever else the step
            carries.
        step_fn: Returns the compiled function for the step that follows a number of done steps and the state after
            them. The function takes (state, batch), may donate their buffers, and returns (state, metrics) with
            metrics as scalars by name.
        iterator: Batches; its `get_state()` is saved with the state.
        start_step: Number of steps already done.
        total_steps: Number of steps after which training stops.
        checkpoints: Saves the state, and says how often.
        writer: Receives the metrics every `log_every` steps and those of the last step.
        progress: Receives the metrics of every step.
        log_every: Steps between two written lines.
        save_metadata: JSON-ready description of the run, saved with each checkpoint.
        finite_terms: Names of metrics that must be finite wherever a step returns them. Include the gradient norm:
            parameters can become bad while the loss still looks good.

    Returns:
        The state after `total_steps`.

    Raises:
        TrainingError: A term is not finite, the data ended, or a checkpoint cannot be written.
        Preempted: SIGTERM or Ctrl-C was received; the state is saved.
    """
    report = _Report(checkpoints, writer, progress, log_every, total_steps, tuple(finite_terms))
    compiled: set[TrainStep] = set()
    with PreemptionGuard() as guard:
        for step in range(start_step + 1, total_steps + 1):
            batch = _next_batch(iterator, step, total_steps)
            function = step_fn(step - 1, state)
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                if function in compiled:
                    state, metrics = function(state, batch)
                else:
                    report.flush()
                    with progress.compiling(step):
                        state, metrics = jax.block_until_ready(function(state, batch))
                    compiled.add(function)
            report.add(step, metrics)
            signal_number = guard.requested(step)
            if signal_number or step % checkpoints.every == 0 or step == total_steps:
                # This step's metrics are checked first, so that a state that is not finite is never saved.
                report.flush()
                writer.flush()
                checkpoints.save(step, state, iterator.get_state(), dict(save_metadata))
            if signal_number:
                checkpoints.wait()
                raise Preempted(signal_number, step)
    checkpoints.wait()
    return state


class _Report:
    """Reports metrics one step late, so that the device has its next step before the host waits for results."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        writer: Writer,
        progress: Progress,
        log_every: int,
        total_steps: int,
        finite_terms: tuple[str, ...],
    ) -> None:
        self._checkpoints, self._writer, self._progress = checkpoints, writer, progress
        self._log_every, self._total_steps, self._finite_terms = log_every, total_steps, finite_terms
        self._pending: tuple[int, dict[str, Any]] | None = None

    def add(self, step: int, metrics: dict[str, Any]) -> None:
        """Takes the metrics of a step, which are still being computed, and reports those of the step before.

        Args:
            step: Number of steps done.
            metrics: Scalars on the device, by name.
        """
        self.flush()
        self._pending = (step, metrics)

    def flush(self) -> None:
        """Waits for the pending metrics, reports and checks them.

        Raises:
            TrainingError: A term is not finite.
        """
        if self._pending is None:
            return
        (step, on_device), self._pending = self._pending, None
        metrics = {name: float(value) for name, value in jax.device_get(on_device).items()}
        if step % self._log_every == 0 or step == self._total_steps:
            self._writer.write(step, metrics)
        self._progress.update(step, metrics)
        terms = [name for name in self._finite_terms if name in metrics]
        bad = [f"{name} = {metrics[name]}" for name in terms if not math.isfinite(metrics[name])]
        if bad:
            self._checkpoints.wait()
            raise TrainingError(
                f"step {step}: not finite: {', '.join(bad)}; the last good checkpoint is "
                f"{self._checkpoints.latest or 'none'}; lower the learning rate or clip the gradients"
            )


def _next_batch(iterator: DataIterator, step: int, total_steps: int) -> Any:
    try:
        return next(iterator)
    except StopIteration:
        raise TrainingError(
            f"the data ended before step {step} of {total_steps}; repeat it or ask for fewer steps"
        ) from None
