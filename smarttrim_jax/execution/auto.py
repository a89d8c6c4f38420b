"""The choice of an execution: by measured times of the model on this device, or by what holds for most models."""

from typing import Any

import jax
import jax.numpy as jnp

from smarttrim_jax.execution.base import Execution, Executor
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.execution.padded import PaddedExecutor
from smarttrim_jax.execution.timings import ExecutionTimings
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim

EXECUTORS: dict[Execution, type[PaddedExecutor | PackedExecutor | OneProgramExecutor]] = {
    "padded": PaddedExecutor,
    "packed": PackedExecutor,
    "one_program": OneProgramExecutor,
}
"""The executors by the name of the execution."""

TINY = 1e8
"""MACs of a batch at full capacity, below which a CPU takes longer to move tokens than to compute closed ones."""
SMALL = 1e10
"""MACs of a batch at full capacity, below which the host takes longer to lead a CPU than it gains by more cuts."""


class AutoExecutor:
    """Evaluates each batch by the execution that suits its size on this device.

    Measured times of the model decide where there are any of this device. Otherwise accelerators run one program. On
    CPUs a batch of least work runs padded, one of little work as one program, and others are led by the host, which
    removes tokens layer by layer.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        config: How tokens are packed; None takes the defaults.
        timings: Measured times of the model's executions; None for none.
    """

    def __init__(
        self,
        model: Functional,
        params: Params,
        config: ExecutionConfig | None = None,
        timings: ExecutionTimings | None = None,
    ):
        self._model, self._params, self._config = model, params, config
        self._timings = timings or ExecutionTimings()
        self._made: dict[Execution, Executor] = {}
        self._chosen: dict[int, tuple[Execution, str]] = {}

    @property
    def description(self) -> str:
        """What was chosen for each batch size so far, and why."""
        chosen = sorted(self._chosen.items())
        return ", ".join(f"{self._made[name].description} at batch {size} ({why})" for size, (name, why) in chosen)

    @property
    def compiled(self) -> int:
        """The number of programs for trimmed batches compiled so far."""
        return sum(executor.compiled for executor in self._made.values())

    def __call__(self, images: Any, ids: Any = None, mask: Any = None, *, trim: Trim | None = None) -> Output:
        """Evaluates one batch; see `Executor.__call__`."""
        size = len(images)
        if size not in self._chosen:
            self._chosen[size] = self._choose(size, images, ids, mask)
        name, _ = self._chosen[size]
        if name not in self._made:
            self._made[name] = EXECUTORS[name](self._model, self._params, self._config)
        return self._made[name](images, ids, mask, trim=trim)

    def _choose(self, size: int, *batch: Any) -> tuple[Execution, str]:
        """Chooses an execution for batches of a size; returns its name and the reason."""
        fastest = self._timings.fastest(jax.devices()[0].device_kind, size)
        if fastest is not None:
            return fastest.execution, f"the fastest measured on this device at batch {fastest.batch_size}"
        if jax.default_backend() != "cpu":
            return "one_program", "the default of accelerators"
        macs = self._full_macs(*batch)
        name: Execution = "padded" if macs < TINY else "one_program" if macs < SMALL else "packed"
        return name, f"{macs / 1e9:.2g} G MACs at full capacity, on a CPU"

    def _full_macs(self, *batch: Any) -> float:
        """The MACs of a batch at full capacity; only its shapes matter."""
        record = jax.eval_shape(self._model.scanned().apply, self._params, *batch).record
        everything_open = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), record)
        return float(jnp.sum(self._model.full_macs(everything_open)))


def make_executor(
    model: Functional, params: Params, config: ExecutionConfig, timings: ExecutionTimings | None = None
) -> Executor:
    """Creates the executor that a configuration names.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        config: Names the execution, and says how tokens are packed.
        timings: Measured times of the model's executions, for "auto"; None for none.

    Returns:
        The executor.
    """
    if config.name == "auto":
        return AutoExecutor(model, params, config, timings)
    return EXECUTORS[config.name](model, params, config)
