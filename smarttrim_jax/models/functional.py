"""A module as pure functions of a plain dict of parameters, which is what training and checkpoints hold."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict

from smarttrim_jax.models.base import VisionLanguageModel
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.trimming.gates import TrimRecord

Params = dict[str, Any]


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
            key: Random numbers of the initial weights.

        Returns:
            A nested dict of arrays.
        """
        return nnx.to_pure_dict(nnx.split(self.config.build(rngs=nnx.Rngs(key)))[1])

    def bind(self, params: Params) -> Any:
        """The module with these parameters: a `VisionLanguageModel` of the configuration's backbone.

        Args:
            params: The model's parameters.
        """
        return nnx.merge(_graphdef(self.config), params)

    def apply(self, params: Params, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        """Calls the module, or another of its methods, as a function of its parameters.

        Args:
            params: The model's parameters.
            *args: Arguments of the method.
            method: The method's name.
            **kwargs: Arguments of the method.

        Returns:
            What the method returns; of a call, an `Output`.
        """
        return getattr(self.bind(params), method)(*args, **kwargs)

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> jax.Array:
        """Counts the multiply-adds of every example; see `ModelConfig.macs`.

        Args:
            record: The gates of a forward pass.
            trimmed: Whether to count the trimmers.

        Returns:
            MACs of each example, `[batch]`.
        """
        return _macs(self.config, record, trimmed)


@functools.partial(jax.jit, static_argnums=(0, 2))  # outside of programs its many sums would each be compiled
def _macs(config: ModelConfig, record: TrimRecord, trimmed: bool) -> jax.Array:
    return config.macs(record, trimmed=trimmed)


@functools.cache
def _graphdef(config: ModelConfig) -> Any:
    """The module without its arrays; found once, since tracing any program asks for it."""

    def build() -> VisionLanguageModel:
        return config.build(rngs=nnx.Rngs(0))

    return nnx.split(nnx.eval_shape(build))[0]


def parameter_shapes(model: Functional) -> dict[str, tuple[int, ...]]:
    """The shape of every parameter, by path."""
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    return {path: leaf.shape for path, leaf in flatten_dict(shapes, sep="/").items()}


def draw(model: Functional, paths: Sequence[str]) -> dict[str, jax.Array]:
    """Fresh parameters at these paths, from the seed 0; compiled, so that the others are never computed."""

    def init(key: jax.Array) -> dict[str, jax.Array]:
        params = flatten_dict(model.init(key), sep="/")
        return {path: params[path] for path in paths}

    return jax.jit(init)(jax.random.key(0)) if paths else {}
