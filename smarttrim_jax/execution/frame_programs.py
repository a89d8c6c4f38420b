"""What surrounds the runs of layers, as jitted functions: embeddings, segments and heads."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from smarttrim_jax.execution.counts import count
from smarttrim_jax.models.base import Output, VisionLanguageModel
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.segments import LayerRun, Prefix, Segment, State
from smarttrim_jax.trimming.gates import TrimRecord


class FramePrograms:
    """The programs around the runs of layers: embeddings, segments and heads.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        runs: The runs of the model with these same parameter arrays, which are not kept here.
    """

    def __init__(self, model: Functional, params: Params, runs: list[LayerRun]):
        leaves, self._treedef = jax.tree.flatten(params)
        elsewhere = {id(leaf) for run in runs for leaf in jax.tree.leaves(nnx.split((run.layers, run.policies))[1])}
        self._leaves = [None if id(leaf) in elsewhere else leaf for leaf in leaves]
        self._shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        self._model = model
        self._start: Callable[..., tuple[Prefix, jax.Array]] = jax.jit(self._start_and_count)
        self._segment: Callable[..., Prefix] = jax.jit(self._apply_segment, static_argnums=0)
        self._read_out: Callable[..., Output] = jax.jit(self._read_output)
        self._numbers: dict[Any, float] = {}

    def start(self, *batch: Any) -> tuple[Prefix, jax.Array]:
        """Embeds a batch.

        Args:
            *batch: Images, ids and mask.

        Returns:
            The beginning of the pass, and the counts of its tokens; see `count`.
        """
        return self._start(self._leaves, *batch)

    def numbers(self, batch: tuple[Any, ...]) -> float:
        """Returns how many numbers (tokens times width) an example holds on its larger side after the embedding.

        Args:
            batch: Images, ids and mask; only their shapes matter.

        Returns:
            The mean over the examples of the batch.
        """
        shapes = tuple(np.shape(part) for part in batch)
        if shapes not in self._numbers:
            prefix, _ = jax.eval_shape(self._start, self._leaves, *batch)
            self._numbers[shapes] = max(tokens.values.size for tokens in prefix.state.values()) / len(batch[0])
        return self._numbers[shapes]

    def segment(self, name: str, prefix: Prefix) -> Prefix:
        """Runs one segment.

        Args:
            name: Name of the segment.
            prefix: The state before it, and what is known of the examples.

        Returns:
            The state after it, and what is then known of the examples.
        """
        return self._segment(name, self._leaves, prefix)

    def read_out(self, state: State, record: TrimRecord) -> Output:
        """Runs the heads.

        Args:
            state: The tokens of each side after the last stage.
            record: The gates of all layers.

        Returns:
            The output of the model's call.
        """
        return self._read_out(self._leaves, state, record)

    def _bind(self, leaves: list[Any]) -> VisionLanguageModel:
        """The module; parameters of the runs are zeros, which no program here reads."""
        filled = [
            jnp.zeros(shape.shape, shape.dtype) if leaf is None else leaf
            for leaf, shape in zip(leaves, self._shapes, strict=True)
        ]
        model: VisionLanguageModel = self._model.bind(jax.tree.unflatten(self._treedef, filled))
        return model

    def _start_and_count(self, leaves: list[Any], *batch: Any) -> tuple[Prefix, jax.Array]:
        """The program of `start`."""
        prefix = self._bind(leaves).start(*batch)
        return prefix, count(prefix.state, {})

    def _apply_segment(self, name: str, leaves: list[Any], prefix: Prefix) -> Prefix:
        """The program of `segment`."""
        segments = (stage for stage in self._bind(leaves).stages if isinstance(stage, Segment))
        (segment,) = (segment for segment in segments if segment.name == name)
        examples = prefix.examples.replace(segment.present(prefix.examples.present))
        return Prefix(segment.apply(prefix.state), examples)

    def _read_output(self, leaves: list[Any], state: State, record: TrimRecord) -> Output:
        """The program of `read_out`."""
        return self._bind(leaves).read_out(state, record)
