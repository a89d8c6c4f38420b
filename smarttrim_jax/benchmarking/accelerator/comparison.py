"""Compares several executions of one model at one batch size, timed in alternation."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.benchmarking.accelerator.device_time import device_time
from smarttrim_jax.benchmarking.accelerator.executions import FULL, TRIMMED, Call
from smarttrim_jax.benchmarking.accelerator.stages import Compiled, Study
from smarttrim_jax.benchmarking.forced_load import ForcedLoad, forced_load
from smarttrim_jax.benchmarking.measurement import Timing, time_by_turns
from smarttrim_jax.benchmarking.speed import Row
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim, TrimRecord


class Subject:
    """A model that is measured.

    Args:
        name: Name of the model in rows.
        config: Model configuration with trimmers.
        text_length: Tokens of every text.
        params: The model's parameters; None for random ones.

    Attributes:
        name: Name of the model in rows.
        config: Model configuration with trimmers.
        full_macs: MACs of an example at full capacity; None until a comparison has computed them.
    """

    def __init__(self, name: str, config: ModelConfig, text_length: int, params: Params | None = None):
        self.name, self.config, self._text_length, self._params = name, config, text_length, params
        self.full_macs: float | None = None
        self._lock = threading.Lock()

    def load(self, batch_size: int) -> ForcedLoad:
        """Builds random inputs and forced gates; safe to call from several threads.

        Args:
            batch_size: Number of examples of the batch.

        Returns:
            The model with forced gates, and its batch.
        """
        with self._lock:  # Studies are set up in parallel.
            if self._params is None:
                init = jax.jit(Functional(self.config).init)
                self._params = init(jax.random.key(0, impl="unsafe_rbg"))  # This generator compiles fastest.
        return forced_load(self.config, self._params, self._text_length, batch_size, seed=0)


class Comparison(Study):
    """Study of several executions of the same batch, at full capacity and trimmed.

    Args:
        subject: Model to measure.
        batch_size: Number of examples of the batch.
        executions: Names in `FULL` and `TRIMMED`.
        keeps: Mean shares of tokens that the trimmed executions keep.
        peak: Multiply-adds per second of the machine's large matrix products.
        repeats: Number of timed calls of each execution.
        profile: Whether to use the profiler to measure the device's time.
        section: Section of the report for the rows.
        labels: Further entries of every row.
    """

    def __init__(
        self,
        subject: Subject,
        batch_size: int,
        executions: Sequence[str],
        keeps: Sequence[float],
        *,
        peak: float,
        repeats: int,
        profile: bool = True,
        section: str = "rows",
        labels: dict[str, Any] | None = None,
    ):
        self._subject, self._batch_size, self._executions, self._keeps = subject, batch_size, executions, keeps
        self._peak, self._repeats, self._profile = peak, repeats, profile
        self._section, self._labels = section, labels or {}
        marks = [subject.name, *map(str, self._labels.values()), f"batch {batch_size}", "/".join(executions)]
        self.name = ", ".join(marks)

    def parts(self) -> Mapping[str, Callable[[], Call]]:
        """Prepares a part for each execution at full capacity, and for each trimmed one and share: "packed 0.5".

        Returns:
            By name of the part, a function that creates its call.
        """
        load = self._subject.load(self._batch_size)
        trims: dict[float, Trim | None] = {1.0: None} | {keep: load.trim(keep) for keep in self._keeps}
        return {
            part: functools.partial((FULL | TRIMMED)[name], load, trims[keep])
            for part, (name, keep) in self._every_part().items()
        }

    def rows(self, ready: Mapping[str, Compiled]) -> Iterator[tuple[str, Row]]:
        """Times all parts and reports them.

        A row has `model`, `batch_size`, `keep`, `execution`, `seconds` (median of calls that are waited for),
        `spread` (interquartile range over the median), `queued_seconds`, `device_seconds`, `device_seconds_from` (see
        `device_time`), `host_share` (share of `seconds` in which the device does not work), `compile_seconds`,
        `macs_ratio` (full over realised), `speedup` (against the fastest at full capacity except PyTorch), `realised`
        (speedup over macs_ratio), `of_peak`, and `difference` from the first row of the same share, relative to its
        largest value. PyTorch's rows, which have no device time, belong to the section "torch"; where there is one,
        the others have `against_torch`, PyTorch's seconds over theirs.

        Args:
            ready: Compiled parts by name.

        Yields:
            Section of the report, and a row, for every part.
        """
        timings = time_by_turns({part: compiled.call for part, compiled in ready.items()}, self._repeats)
        fastest = min((timings[name].median for name in FULL if name in ready and name != "torch"), default=None)
        first: dict[float, np.ndarray] = {}
        for part, (name, keep) in self._every_part().items():
            if part not in ready:
                continue
            row = self._row(name, keep, ready[part], timings[part], fastest, first)
            if name != "torch" and "torch" in ready:
                row["against_torch"] = timings["torch"].median / timings[part].median
            yield ("torch" if name == "torch" else self._section), row

    def _every_part(self) -> dict[str, tuple[str, float]]:
        """Execution and share to keep of every part, by the part's name."""
        return {
            _part(name, keep): (name, keep)
            for name in self._executions
            for keep in ((1.0,) if name in FULL else self._keeps)
        }

    def _row(
        self,
        name: str,
        keep: float,
        compiled: Compiled,
        timing: Timing,
        fastest: float | None,
        first: dict[float, np.ndarray],
    ) -> Row:
        output = compiled.call()
        macs = self._macs(name, output)
        ratio = macs and self._subject.full_macs and self._subject.full_macs / macs
        row: Row = {
            "model": self._subject.name,
            **self._labels,
            "batch_size": self._batch_size,
            "keep": keep,
            "execution": name,
            "seconds": timing.median,
            "spread": timing.spread,
            "compile_seconds": compiled.seconds,
            "macs_ratio": ratio,
            "of_peak": macs and macs * self._batch_size / timing.median / self._peak,
        }
        if fastest is not None:
            row["speedup"] = fastest / timing.median
            row["realised"] = ratio and row["speedup"] / ratio
        result = _answer(output)
        reference = first.setdefault(keep, result)
        difference = float(np.max(np.abs(result - reference)) / np.max(np.abs(reference)))
        row["difference"] = difference if np.isfinite(difference) else "not finite"
        if name != "torch":
            device = device_time(compiled.call, profile=self._profile)
            row["queued_seconds"] = device.queued
            row["device_seconds"] = device.seconds
            row["device_seconds_from"] = device.source
            row["host_share"] = max(1.0 - device.seconds / timing.median, 0.0)
        return row

    def _macs(self, name: str, output: Any) -> float | None:
        """MACs of an example; for PyTorch those of the model at full capacity, None while they are unknown."""
        if name == "torch":
            return self._subject.full_macs
        full, own = _mean_macs(Functional(self._subject.config), output.record)
        self._subject.full_macs = float(full)
        return float(own if name in TRIMMED else full)


@functools.partial(jax.jit, static_argnums=0)
def _mean_macs(model: Functional, record: TrimRecord) -> tuple[jax.Array, jax.Array]:
    """Mean MACs of an example: at full capacity, and with the record's gates."""
    full, own = model.full_macs(record), model.macs(record)
    return jnp.mean(full), jnp.mean(own)


def _part(name: str, keep: float) -> str:
    return name if name in FULL else f"{name} {keep:g}"


def _answer(output: Any) -> np.ndarray:
    """Result that all executions must agree on: logits, or the first state of every text for a decoder."""
    if isinstance(output, np.ndarray):
        return output[:, 0]
    values = [*output.logits.values()] or [output.state["text"].global_token]
    return np.asarray(values[0], np.float32)
