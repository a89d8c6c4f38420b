"""Packed execution that the device leads: one compiled program a call, whose cuts are chosen from real examples."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.execution.base import Batch
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.cuts import Cut, choose_cuts
from smarttrim_jax.execution.one_program import packed_apply
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord

Program = Callable[..., Output]


class OneProgramExecutor:
    """Evaluates a model by one program a call, in which closed tokens leave memory at a few cuts.

    The cuts suit the examples of `calibrate`, or else those of the first batches, which run padded. Outputs do not
    depend on the cuts: what no other branch holds runs in one that holds everything.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        config: How tokens are packed; None takes the defaults.

    Attributes:
        config: How tokens are packed.
    """

    def __init__(self, model: Functional, params: Params, config: ExecutionConfig | None = None):
        self.config = config or ExecutionConfig()
        self._model, self._params = model.scanned(), params
        self._whole: Program = jax.jit(self._model.apply)
        self._packed: dict[int, Program] = {}
        self._seen: list[TrimRecord] = []
        self._record: TrimRecord | None = None

    @property
    def description(self) -> str:
        """The name of the execution, and how the first batches run."""
        if self._packed:
            return "one_program"
        return f"one_program, whose first {self.config.cuts.first} batches run padded,"

    @property
    def compiled(self) -> int:
        """The number of packed programs compiled so far, one for each batch size."""
        return len(self._packed)

    def __call__(self, images: Any, ids: Any = None, mask: Any = None, *, trim: Trim | None = None) -> Output:
        """Evaluates one batch; see `Executor.__call__`."""
        if trim is None:
            return self._whole(self._params, images, ids, mask)
        examples = len(images)
        trim.check(examples)
        trim = jax.tree.map(jnp.float32, trim)
        if self._record is None:
            if len(self._seen) < self.config.cuts.first:
                output = self._whole(self._params, images, ids, mask, trim=trim)
                self._seen.append(output.record)
                return output
            self._learn(self._seen)
        if examples not in self._packed:
            program = functools.partial(packed_apply, self._model, self.cuts(examples), self.config.rounding)
            self._packed[examples] = jax.jit(program)
        return self._packed[examples](self._params, images, ids, mask, trim)

    def calibrate(self, batches: Iterable[Batch], *, trim: Trim) -> None:
        """Measures on examples where closed tokens are many enough to leave memory.

        Args:
            batches: Batches of examples like those to come.
            trim: How the trimmers will decide.
        """
        self._learn([self._whole(self._params, *batch, trim=trim).record for batch in batches])

    def _learn(self, records: Sequence[TrimRecord]) -> None:
        """Takes the records of some batches as those of batches to come; lengths must be those of the last one."""
        alike = [record for record in records if _lengths(record) == _lengths(records[-1])]
        gates, present = zip(*((record.gates, record.present) for record in jax.device_get(alike)), strict=True)
        self._record = TrimRecord(
            jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *gates),
            jax.tree.map(lambda *parts: np.concatenate(parts), *present),
        )
        self._packed.clear()
        self._seen.clear()

    def cuts(self, batch_size: int) -> tuple[Cut, ...]:
        """Chooses the cuts of the program of a batch size.

        Args:
            batch_size: Number of examples of a batch.

        Returns:
            The cuts, in the order of the layers; none before they are chosen.
        """
        if self._record is None:
            return ()
        return choose_cuts(self._model.bind(self._params).stages, self._record, batch_size, self.config.cuts)


def _lengths(record: TrimRecord) -> dict[GateKey, int]:
    """The number of tokens of an example on each side, padding included."""
    return {key: present.shape[1] for key, present in record.present.items()}
