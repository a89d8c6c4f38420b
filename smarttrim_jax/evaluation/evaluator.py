"""Exact evaluation over a split: metrics and MACs, full and trimmed, and what every layer kept."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
from smarttrim_jax.evaluation.retriever import SearchableTask, SplitRetriever
from smarttrim_jax.metrics import NamedValues, Scores
from smarttrim_jax.models.functional import Params
from smarttrim_jax.progress import ProgressLine, waiting
from smarttrim_jax.sharding import (
    MeshConfig,
    batch_parts,
    fits,
    held_rows,
    make_mesh,
    place,
    place_batch,
    replicated,
    state_shardings,
)
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch, Rows, model_inputs
from smarttrim_jax.tokens.rounding import round_up
from smarttrim_jax.trimming.gates import Gates, Trim

Report = dict[str, Any]
Batches = EvalBatches | Sequence[Batch]
"""Batches of `Evaluator.batches`, read while they are evaluated, or held in memory as a list."""


class Judged(NamedTuple):
    """Results of some evaluated examples, on the host; fillers of a last batch are left out.

    Attributes:
        indices: Positions of the examples in the split, `[examples]`.
        outputs: What the model said, by name; see `Task.named_values`.
        targets: What is right, by name; see `Task.named_values`.
        macs: MACs of each example, `[examples]`.
    """

    indices: np.ndarray
    outputs: NamedValues
    targets: NamedValues
    macs: np.ndarray


Listener = Callable[[Judged], None]
"""Callback that receives every evaluated example. It may have an attribute `needs`, as a metric has."""


class Evaluator:
    """Evaluates a model by padded execution; its two programs are compiled once, whatever the offset.

    With several processes all must make the same calls. Each process reads its own rows of a batch and receives the
    results of all.

    Args:
        task: Task that the model was trained for.
        params: The model's parameters.
        dataset: Data to evaluate on.

    Attributes:
        task: Task that the model was trained for.
        params: The model's parameters, placed on the mesh.
        dataset: Data to evaluate on.
        remarks: Entries that are added to the report, about how it was made.
    """

    def __init__(self, task: Task, params: Params, dataset: Dataset):
        self.task, self.dataset = task, dataset
        # A model may be evaluated on other devices than it was trained on.
        mesh = task.config.mesh
        self._mesh = make_mesh(mesh if fits(mesh) else MeshConfig())
        self.params = _on_mesh(params, self._mesh, task.config.model.is_stacked)
        self.remarks: Report = {}
        self._compiled: set[str] = set()
        self._program: Callable[..., dict[str, Any]] = jax.jit(
            self._forward_and_measure, out_shardings=replicated(self._mesh)
        )
        self._more_rows: Callable[..., Rows] = jax.jit(task.more_rows, out_shardings=replicated(self._mesh))

    def batches(self, split: str, limit: int | None = None) -> EvalBatches:
        """Prepares this process's rows of the batches of a split.

        The batch size `evaluation.batch_size` is rounded up to a multiple of the parts into which the mesh divides a
        batch.

        Args:
            split: Name of a split of the data.
            limit: Only the first `limit` examples; None takes all.

        Returns:
            A sized iterable of batches. Fillers of the last batch have weight 0 and index -1.

        Raises:
            DataError: There is no such split.
        """
        data = dataclasses.replace(self.task.config.data, batch_size=self._batch_size)
        return eval_batches(self.dataset, split, data, held_rows(self._mesh, self._batch_size), limit)

    @property
    def _batch_size(self) -> int:
        """`evaluation.batch_size`, rounded up to a multiple of the parts into which the mesh divides a batch."""
        return round_up(self.task.config.evaluation.batch_size, batch_parts(self._mesh))

    def full(self, batches: Batches, listener: Listener | None = None) -> Report:
        """Evaluates at full capacity.

        Args:
            batches: Result of `batches`.
            listener: Receives every example; None for none.

        Returns:
            `metrics` by name, `macs` with the `mean` per example, and `chance`: the scores, by name, that need no
            look at the examples.

        Raises:
            ConfigError: A metric fails.
        """
        scores, costs = self._scored(batches, None, "evaluating at full capacity", listener)
        macs = {"mean": float(np.mean(costs["full_macs"]))}
        return {"metrics": scores.compute(), "macs": macs, "chance": scores.chance()}

    def trimmed(self, batches: Batches, offset: float, listener: Listener | None = None) -> Report:
        """Evaluates with trimming at one offset.

        Args:
            batches: Result of `batches`.
            offset: Logit offset of the speed dial.
            listener: Receives every example; None for none.

        Returns:
            `metrics` by name; `macs` per example with `mean`, `p50` and `p90`; `macs_ratio`, mean trimmed MACs over
            mean full MACs; `kept`, the share of tokens and heads that each layer keeps, by gate key and module;
            `examples`, their number.

        Raises:
            ConfigError: A metric fails.
        """
        scores, costs = self._scored(batches, Trim(offset=jnp.float32(offset)), "evaluating trimmed", listener)
        macs = costs["macs"]
        kept = {run: {name: _share(counts) for name, counts in parts.items()} for run, parts in costs["kept"].items()}
        return {
            "metrics": scores.compute(),
            "macs": {
                "mean": float(np.mean(macs)),
                "p50": float(np.percentile(macs, 50)),
                "p90": float(np.percentile(macs, 90)),
            },
            "macs_ratio": float(np.mean(macs) / np.mean(costs["full_macs"])),
            "kept": kept,
            "examples": len(macs),
        }

    def macs_ratio(self, batches: Batches, offset: float, what: str) -> float:
        """Measures the mean MACs of the trimmed model divided by those of the full model.

        It uses the program that `trimmed` runs, so nothing is compiled for it alone.

        Args:
            batches: Result of `batches`.
            offset: Logit offset of the speed dial.
            what: Text that the progress line begins with.

        Returns:
            The ratio, 1 where nothing is saved.
        """
        results = self._real(batches, Trim(offset=jnp.float32(offset)), what)
        costs = _end_to_end([result["costs"] for result in results])
        return float(np.mean(costs["macs"]) / np.mean(costs["full_macs"]))

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """Runs the model on one batch and measures the result.

        Args:
            batch: Batch on the devices.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            The result of `measure`, on the devices.
        """
        return self._program(self.params, batch, trim)

    def measure(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """Collects what metrics and report need of every example of a batch.

        Args:
            params: The model's parameters.
            output: Result of the model's call on the batch.
            batch: Batch of `batches`.
            trim: How the trimmers decided; None for full capacity.

        Returns:
            `rows`, those of `Task.judge`; `costs`, with `full_macs` `[batch]` and, if trimmed, `macs` `[batch]` and
            `kept`, open and possible counts `[batch, layers, 2]` by gate key and module; `weight` and `index` of the
            batch. All arrays have a first axis of examples.
        """
        rows, record = self.task.judge(params, output, batch, trim)
        model, full = self.task.model, record.opened()
        costs: dict[str, Any] = {"full_macs": model.full_macs(record)}
        if trim is not None:
            examples = batch["label"].shape[0]
            costs["macs"] = model.macs(record)
            costs["kept"] = {key.name: _kept(gates, full.gates[key], examples) for key, gates in record.gates.items()}
        return {"rows": rows, "costs": costs, "weight": batch["weight"], "index": batch["index"]}

    def _forward_and_measure(self, params: Params, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        output = self.task.model.apply(params, *model_inputs(self.task.config, batch), trim=trim)
        return self.measure(params, output, batch, trim)

    def _scored(
        self, batches: Batches, trim: Trim | None, what: str, listener: Listener | None
    ) -> tuple[Scores, dict[str, Any]]:
        """Scores all real examples.

        Returns:
            The scores, and what each example costs: `costs` of `measure` over all examples.
        """
        task, scores = self.task, Scores(self.task.metric_names)
        needs = scores.needs.union(getattr(listener, "needs", ()))
        asks_more = not needs.isdisjoint(task.on_demand)
        all_costs = []
        for result in self._real(batches, trim, what, asks_more):
            costs = result["costs"]
            outputs, targets = named_values(task, batches, result["index"], result["rows"], needs)
            scores.update(outputs, targets)
            if listener is not None:
                listener(Judged(result["index"], outputs, targets, costs["full_macs" if trim is None else "macs"]))
            all_costs.append(costs)
        if isinstance(task, SearchableTask):
            scores.search(SplitRetriever(task, self.params, self._mesh, trim, self._batch_size))
        return scores, _end_to_end(all_costs)

    def _real(
        self, batches: Batches, trim: Trim | None, what: str, asks_more: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yields the results of every batch over all processes, on the host, without fillers.

        Args:
            batches: Result of `batches`.
            trim: How the trimmers decide; None for full capacity.
            what: Text that the progress line begins with.
            asks_more: Whether to compute outputs on demand too.

        Yields:
            Results of `measure` as NumPy arrays; costs in float64.
        """
        for result in self._shown(batches, trim, what, asks_more):
            real = result.pop("weight") > 0
            result = jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], result)
            # Sums of MACs over a split have more digits than float32 holds.
            yield result | {"costs": jax.tree.map(lambda leaf: leaf.astype(np.float64), result["costs"])}

    def _shown(self, batches: Batches, trim: Trim | None, what: str, asks_more: bool) -> Iterator[dict[str, Any]]:
        """Yields the results of every batch on the host; shows progress, and announces each compilation."""
        program = ("at full capacity" if trim is None else "trimmed") + (" and what it writes" if asks_more else "")
        with ProgressLine(what, len(batches), "batches") as progress:
            for batch in progress.over(batches):
                is_first = program not in self._compiled
                self._compiled.add(program)
                with waiting(f"compiling the evaluation {program}") if is_first else contextlib.nullcontext():
                    placed = place_batch(batch, self._mesh)
                    result = self.results(placed, trim)
                    if asks_more:
                        result["rows"] |= self._more_rows(self.params, placed, trim)
                    on_host = jax.device_get(result)
                yield on_host


def named_values(
    task: Task, batches: object, indices: np.ndarray, rows: Rows, needs: Collection[str]
) -> tuple[NamedValues, NamedValues]:
    """Names what metrics and listeners are given of some examples.

    Args:
        task: Task of the model.
        batches: What the examples come from; values of records are read where this is an `EvalBatches`.
        indices: Positions of the examples in the split, `[examples]`.
        rows: Rows of the task about the examples; see `Task.named_values`.
        needs: Names that the metrics and listeners need; see `metrics.Metric`.

    Returns:
        Outputs and targets; the targets have those of `data.examples.RECORD_VALUES` that are needed.
    """
    outputs, targets = task.named_values(rows)
    if isinstance(batches, EvalBatches):
        targets.update(batches.examples.record_values([int(index) for index in indices], needs))
    return outputs, targets


def _on_mesh(params: Params, mesh: Mesh, is_stacked: Callable[[str], bool]) -> Params:
    """Shards parameters over a mesh.

    Parameters that span several processes come from training on the same mesh and stay where they are; others are in
    the memory of every process.
    """
    leaves = jax.tree.leaves(params)
    if all(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        return params
    placed: Params = place(params, state_shardings(params, mesh, is_stacked))
    return placed


def _end_to_end(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Concatenates trees of arrays along their first axis, that of the examples."""
    whole: dict[str, Any] = jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces)
    return whole


def _kept(gates: Gates, full: Gates, examples: int) -> dict[str, jax.Array]:
    """Counts open and possible gates per example and layer, `[batch, layers, 2]`; rows of one example are summed."""

    def counts(part: jax.Array, whole: jax.Array) -> jax.Array:
        """Open and possible gates of one kind, `[batch, layers, 2]`.

        Args:
            part: Gates as decided, `[layers, rows, gates]`.
            whole: The same gates at full capacity, `[layers, rows, gates]`; padding is 0.

        Returns:
            The counts (open, possible).
        """
        both = jnp.stack([part.sum(-1), whole.sum(-1)], axis=-1)
        return both.reshape(both.shape[0], examples, -1, 2).sum(2).transpose(1, 0, 2)

    heads = {part: counts(opened, full.modules[part]) for part, opened in gates.modules.items()}
    return {"tokens": counts(gates.tokens, full.tokens), **heads}


def _share(counts: np.ndarray) -> list[float]:
    """Share kept in every layer, over all examples, from counts `[examples, layers, 2]`."""
    total = counts.sum(axis=0)
    return [round(float(share), 4) for share in total[:, 0] / total[:, 1]]
