"""Exact evaluation over a split: accuracy and MACs, full and trimmed, and what every layer kept."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.forward import correct, forward
from smarttrim_jax.training.sharding import place_batch, replicated
from smarttrim_jax.trimming.gates import Gates, Trim

Report = dict[str, Any]


class Evaluator:
    """Evaluates one model; its two programs are compiled once, whatever the offset.

    Args:
        config: of the run, with its sizes fitted to the data.
        mesh: where it runs.
    """

    def __init__(self, config: ExperimentConfig, mesh: Mesh):
        self.config, self.mesh = config, mesh
        self._model = Functional(config.model)
        self._full = jax.jit(self._full_pass, out_shardings=replicated(mesh))
        self._trimmed = jax.jit(self._trimmed_pass, out_shardings=replicated(mesh))

    def full(self, params: Params, batches: Iterable[dict[str, Any]]) -> Report:
        """Accuracy and mean MACs at full capacity."""
        rows = self._collect(self._full, batches, params)
        return {"accuracy": _mean(rows, "correct"), "macs": {"mean": _mean(rows, "full_macs")}}

    def trimmed(self, params: Params, batches: Iterable[dict[str, Any]], offset: float) -> Report:
        """Accuracy, MACs per example, their ratio to full, and the share of tokens and heads kept by layer.

        Args:
            params: of the model.
            batches: of `data.pipeline.eval_batches`.
            offset: the speed dial's logit offset.
        """
        rows = self._collect(self._trimmed, batches, params, jnp.float32(offset))
        macs = rows["macs"]
        kept = {run: {name: _share(counts) for name, counts in parts.items()} for run, parts in rows["kept"].items()}
        return {
            "accuracy": _mean(rows, "correct"),
            "macs": {
                "mean": float(np.mean(macs)),
                "p50": float(np.percentile(macs, 50)),
                "p90": float(np.percentile(macs, 90)),
            },
            "macs_ratio": float(np.mean(macs) / np.mean(rows["full_macs"])),
            "kept": kept,
            "examples": len(macs),
        }

    def _full_pass(self, params: Params, batch: dict[str, Any]) -> dict[str, Any]:
        output = forward(self.config, params, batch)
        macs = self._model.macs(output.record, trimmed=False)
        return {"correct": correct(self.config, output, batch), "full_macs": macs}

    def _trimmed_pass(self, params: Params, batch: dict[str, Any], offset: jax.Array) -> dict[str, Any]:
        output = forward(self.config, params, batch, trim=Trim(offset=offset))
        record = output.record
        full = record.opened()
        examples = batch["label"].shape[0]
        kept = {run: _kept(record.gates[run], full.gates[run], examples) for run in record.gates}
        return {
            "correct": correct(self.config, output, batch),
            "macs": self._model.macs(record),
            "full_macs": self._model.macs(full, trimmed=False),
            "kept": kept,
        }

    def _collect(
        self,
        program: Callable[..., dict[str, Any]],
        batches: Iterable[dict[str, Any]],
        params: Params,
        *more: Any,
    ) -> dict[str, Any]:
        """The results of all real examples, end to end; fillers are left out."""
        pieces = []
        for batch in batches:
            placed = place_batch(batch, self.mesh)
            result = jax.device_get(program(params, placed, *more) | {"weight": placed["weight"]})
            real = result.pop("weight") > 0
            pieces.append(jax.tree.map(lambda leaf, real=real: np.asarray(leaf, np.float64)[real], result))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *pieces)


def _kept(gates: Gates, full: Gates, examples: int) -> dict[str, jax.Array]:
    """Open and possible counts per example and layer: `[batch, layers, 2]`, rows of one example summed."""

    def counts(part: jax.Array, whole: jax.Array) -> jax.Array:
        both = jnp.stack([part.sum(-1), whole.sum(-1)], axis=-1)
        return both.reshape(both.shape[0], examples, -1, 2).sum(2).transpose(1, 0, 2)

    kept = {"tokens": counts(gates.tokens, full.tokens), "heads": counts(gates.heads, full.heads)}
    if gates.cross_heads is not None and full.cross_heads is not None:
        kept["cross_heads"] = counts(gates.cross_heads, full.cross_heads)
    return kept


def _mean(rows: dict[str, Any], name: str) -> float:
    return float(np.mean(rows[name]))


def _share(counts: np.ndarray) -> list[float]:
    """`[examples, layers, 2]` to the share kept in every layer."""
    total = counts.sum(axis=0)
    return [round(float(share), 4) for share in total[:, 0] / total[:, 1]]
