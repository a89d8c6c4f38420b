"""Exact evaluation over a split: metrics and MACs, full and trimmed, and what every layer kept."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
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
from smarttrim_jax.tasks.base import Batch, model_inputs
from smarttrim_jax.trimming.gates import Gates, Trim

Report = dict[str, Any]
Batches = EvalBatches | Sequence[Batch]
"""Those of `Evaluator.batches`, read as they are evaluated or held in memory."""


class Judged(NamedTuple):
    """What is known of some examples once they were evaluated, on the host; fillers are left out.

    Attributes:
        indices: Places in the split, `[examples]`.
        outputs: What the model said, by name; see `Task.named_values`.
        targets: What is right, by name.
        macs: MACs of each example, `[examples]`.
    """

    indices: np.ndarray
    outputs: NamedValues
    targets: NamedValues
    macs: np.ndarray


Listener = Callable[[Judged], None]
"""Is told about every example; outputs on demand are computed for it."""


class Evaluator:
    """Evaluates a model by padded execution; its two programs are compiled once, whatever the offset.

    All processes call it alike, read their own rows and get the results of all.

    Args:
        task: What the model was trained for.
        params: Parameters of the model.
        dataset: The data to evaluate on.

    Attributes:
        task: The same.
        params: The same, placed on the mesh.
        dataset: The same.
        remarks: For the report, about how it was made.
    """

    def __init__(self, task: Task, params: Params, dataset: Dataset):
        self.task, self.dataset = task, dataset
        # A model may be evaluated on other devices than it was trained on.
        mesh = task.config.mesh
        self._mesh = make_mesh(mesh if fits(mesh) else MeshConfig())
        self.params = _on_mesh(params, self._mesh, task.config.model.is_stacked)
        self.remarks: Report = {}
        self._compiled: set[str] = set()
        self._program = jax.jit(self._forward_and_measure, out_shardings=replicated(self._mesh))
        self._more_rows = jax.jit(task.more_rows, out_shardings=replicated(self._mesh))

    def batches(self, split: str, limit: int | None = None) -> EvalBatches:
        """This process's rows of the batches of a split; a batch is rounded up to what the devices can share.

        Args:
            split: of the data.
            limit: only the first examples.

        Raises:
            DataError: no such split.
        """
        config, parts = self.task.config, batch_parts(self._mesh)
        size = -(-config.evaluation.batch_size // parts) * parts
        data = dataclasses.replace(config.data, batch_size=size)
        return eval_batches(self.dataset, split, data, held_rows(self._mesh, size), limit)

    def full(self, batches: Batches, listener: Listener | None = None) -> Report:
        """Metrics and mean MACs at full capacity.

        Args:
            batches: Of `batches`.
            listener: Is told about every example.

        Raises:
            ConfigError: A metric fails.
        """
        scores, costs = self._scored(batches, None, "evaluating at full capacity", listener)
        return {"metrics": scores, "macs": {"mean": float(np.mean(costs["full_macs"]))}}

    def trimmed(self, batches: Batches, offset: float, listener: Listener | None = None) -> Report:
        """Metrics, MACs per example, their ratio to full, and the share of tokens and heads kept by layer.

        Args:
            batches: Of `batches`.
            offset: The speed dial's logit offset.
            listener: Is told about every example.

        Raises:
            ConfigError: A metric fails.
        """
        scores, costs = self._scored(batches, Trim(offset=jnp.float32(offset)), "evaluating trimmed", listener)
        macs = costs["macs"]
        kept = {run: {name: _share(counts) for name, counts in parts.items()} for run, parts in costs["kept"].items()}
        return {
            "metrics": scores,
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
        """Mean MACs of the trimmed model over those of the full one, by the program that `trimmed` runs.

        Args:
            batches: Of `batches`.
            offset: The speed dial's logit offset.
            what: What the line that shows how far it is begins with.
        """
        results = self._real(batches, Trim(offset=jnp.float32(offset)), what)
        costs = _end_to_end([result["costs"] for result in results])
        return float(np.mean(costs["macs"]) / np.mean(costs["full_macs"]))

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """What `measure` says about a batch on the devices."""
        return self._program(self.params, batch, trim)

    def measure(self, params: Params, output: Any, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """Of every example what the task's named values need, its MACs and, if trimmed, what its layers kept.

        Args:
            params: of the model.
            output: of the model's call on the batch.
            batch: of `batches`.
            trim: how the trimmers decided.

        Returns:
            `rows` of the task, `costs`, and `weight` and `index` of the batch; all with a first axis of examples.
        """
        rows, record = self.task.judge(params, output, batch, trim)
        model, full = self.task.model, record.opened()
        costs: dict[str, Any] = {"full_macs": model.macs(full, trimmed=False)}
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
    ) -> tuple[dict[str, float | None], dict[str, Any]]:
        """The scores of all real examples, and what each of them costs."""
        task, scores = self.task, Scores(self.task.metric_names)
        asks_more = bool(task.on_demand) and (listener is not None or not scores.needs.isdisjoint(task.on_demand))
        all_costs = []
        for result in self._real(batches, trim, what, asks_more):
            costs = result["costs"]
            outputs, targets = task.named_values(result["rows"])
            scores.update(outputs, targets)
            if listener is not None:
                listener(Judged(result["index"], outputs, targets, costs["full_macs" if trim is None else "macs"]))
            all_costs.append(costs)
        return scores.compute(), _end_to_end(all_costs)

    def _real(
        self, batches: Batches, trim: Trim | None, what: str, asks_more: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The results of the real examples of every batch, of all processes; fillers are left out.

        Args:
            batches: Of `batches`.
            trim: How the trimmers decide.
            what: What the line that shows how far it is begins with.
            asks_more: Compute outputs on demand too.
        """
        for result in self._shown(batches, trim, what, asks_more):
            real = result.pop("weight") > 0
            result = jax.tree.map(lambda leaf, real=real: np.asarray(leaf)[real], result)
            # Sums over a split are of more digits than float32 has.
            yield result | {"costs": jax.tree.map(lambda leaf: leaf.astype(np.float64), result["costs"])}

    def _shown(self, batches: Batches, trim: Trim | None, what: str, asks_more: bool) -> Iterator[dict[str, Any]]:
        """The results of every batch, on the host; says how far it is, and before it compiles that it does."""
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


def _on_mesh(params: Params, mesh: Mesh, is_stacked: Callable[[str], bool]) -> Params:
    """Parameters, of training on the same mesh or in the memory of every process, sharded over a mesh."""
    leaves = jax.tree.leaves(params)
    if all(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        return params
    return place(params, state_shardings(params, mesh, is_stacked))


def _end_to_end(pieces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Trees of arrays of some examples each as one tree of the arrays of all."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces)


def _kept(gates: Gates, full: Gates, examples: int) -> dict[str, jax.Array]:
    """Open and possible counts per example and layer: `[batch, layers, 2]`, rows of one example summed."""

    def counts(part: jax.Array, whole: jax.Array) -> jax.Array:
        both = jnp.stack([part.sum(-1), whole.sum(-1)], axis=-1)
        return both.reshape(both.shape[0], examples, -1, 2).sum(2).transpose(1, 0, 2)

    heads = {part: counts(opened, full.modules[part]) for part, opened in gates.modules.items()}
    return {"tokens": counts(gates.tokens, full.tokens), **heads}


def _share(counts: np.ndarray) -> list[float]:
    """`[examples, layers, 2]` to the share kept in every layer."""
    total = counts.sum(axis=0)
    return [round(float(share), 4) for share in total[:, 0] / total[:, 1]]
