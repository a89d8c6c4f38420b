"""A model as pure functions of a plain dict of parameters, which is what training and checkpoints hold."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

from smarttrim_jax.models.base import VisionLanguageModel
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.tree_paths import flat_dict
from smarttrim_jax.trimming.gates import TrimRecord

Params = dict[str, Any]
"""Parameters as nested dicts of arrays."""


@dataclasses.dataclass(frozen=True)
class Functional:
    """A model as pure functions of its parameters.

    Attributes:
        config: Configuration of the model; its class says which backbone.
    """

    config: ModelConfig

    def init(self, key: jax.Array) -> Params:
        """Draws fresh parameters.

        Args:
            key: Random key of the initial weights.

        Returns:
            A nested dict of float32 arrays.
        """
        return nnx.to_pure_dict(nnx.split(self.config.build(rngs=nnx.Rngs(key)))[1])

    def bind(self, params: Params) -> Any:
        """Builds the module with given parameters.

        Args:
            params: The model's parameters.

        Returns:
            A `VisionLanguageModel` of the configuration's backbone.
        """
        return nnx.merge(_graphdef(self.config), params)

    def apply(self, params: Params, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        """Calls the module, or another of its methods, as a function of its parameters.

        Args:
            params: The model's parameters.
            *args: Arguments of the method.
            method: Name of the method.
            **kwargs: Keyword arguments of the method.

        Returns:
            The method's result; for a call this is an `Output`.
        """
        return getattr(self.bind(params), method)(*args, **kwargs)

    def scanned(self) -> Self:
        """Returns the same model, of which one layer of each run is compiled and looped over, if it offers that."""
        if not any(field.name == "scan" for field in dataclasses.fields(self.config)):
            return self
        return dataclasses.replace(self, config=dataclasses.replace(self.config, scan=True))

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> jax.Array:
        """Counts the multiply-adds of each example; see `ModelConfig.macs`.

        Args:
            record: The gates of a forward pass.
            trimmed: Whether to count the trimmers.

        Returns:
            MACs of each example, `[batch]`.
        """
        macs: jax.Array = _macs(self.config, record, trimmed)
        return macs

    def full_macs(self, record: TrimRecord) -> jax.Array:
        """Counts the multiply-adds that each example takes at full capacity, where no trimmer runs.

        Args:
            record: The gates of a forward pass; only what is padding is read of them.

        Returns:
            MACs of each example, `[batch]`.
        """
        return self.macs(record.opened(), trimmed=False)

    def macs_ratio(self, record: TrimRecord) -> jax.Array:
        """Divides the mean MACs by the mean full MACs: examples may differ, the budget holds for the mean of a batch.

        Args:
            record: The gates of a forward pass.

        Returns:
            The ratio, a scalar.
        """
        return jnp.mean(self.macs(record)) / jnp.mean(self.full_macs(record))


@functools.partial(jax.jit, static_argnums=(0, 2))  # one program instead of one per sum, when called outside jit
def _macs(config: ModelConfig, record: TrimRecord, trimmed: bool) -> jax.Array:
    """Counts MACs in one compiled program."""
    return config.macs(record, trimmed=trimmed)


@functools.cache
def _graphdef(config: ModelConfig) -> Any:
    """The structure of the module without its arrays; cached, since each tracing of a program asks for it."""

    def build() -> VisionLanguageModel:
        return config.build(rngs=nnx.Rngs(0))

    return nnx.split(nnx.eval_shape(build))[0]


def parameter_shapes(model: Functional) -> dict[str, tuple[int, ...]]:
    """Lists the shapes of all parameters without computing any.

    Args:
        model: The model.

    Returns:
        Shapes by the parameter's path, joined by "/".
    """
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in flat_dict(shapes).items()}


def draw(model: Functional, paths: Sequence[str]) -> dict[str, jax.Array]:
    """Draws fresh values of some parameters from seed 0; compiled, so that the others are never computed.

    Args:
        model: The model.
        paths: Paths of the parameters, joined by "/".

    Returns:
        The parameters by path.
    """

    def init(key: jax.Array) -> dict[str, jax.Array]:
        params = flat_dict(model.init(key))
        return {path: params[path] for path in paths}

    return jax.jit(init)(jax.random.key(0)) if paths else {}
