"""A module as pure functions of a plain dict of parameters, which is what training and checkpoints hold."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from smarttrim_jax.models.blip import BlipConfig, blip_macs, make_blip
from smarttrim_jax.models.meter import Meter, MeterConfig, meter_macs
from smarttrim_jax.trimming.gates import TrimRecord

Params = dict[str, Any]
ModelConfig = MeterConfig | BlipConfig


@dataclasses.dataclass(frozen=True)
class Backbone:
    """What a kind of configuration stands for.

    Attributes:
        make: the module, from configuration and rngs.
        macs: of every example, from configuration and record.
    """

    make: Callable[..., nnx.Module]
    macs: Callable[..., jax.Array]


BACKBONES: dict[type, Backbone] = {
    MeterConfig: Backbone(Meter, meter_macs),
    BlipConfig: Backbone(make_blip, blip_macs),
}


@dataclasses.dataclass(frozen=True)
class Functional:
    """`init` and `apply` of a model.

    Attributes:
        config: of the model; its type says which backbone.
    """

    config: ModelConfig

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters, a nested dict of arrays."""
        return nnx.to_pure_dict(nnx.split(_make(self.config, nnx.Rngs(key)))[1])

    def bind(self, params: Params) -> Any:
        """The module with these parameters."""
        return nnx.merge(_graphdef(self.config), params)

    def apply(self, params: Params, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        """The module's call, or another of its methods, as a function of its parameters."""
        return getattr(self.bind(params), method)(*args, **kwargs)

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> jax.Array:
        """MACs of every example; see `meter_macs` and `blip_macs`."""
        return _macs(self.config, record, trimmed)


def _make(config: ModelConfig, rngs: nnx.Rngs) -> nnx.Module:
    return BACKBONES[type(config)].make(config, rngs=rngs)


@functools.partial(jax.jit, static_argnums=(0, 2))  # outside of programs its many sums would each be compiled
def _macs(config: ModelConfig, record: TrimRecord, trimmed: bool) -> jax.Array:
    return BACKBONES[type(config)].macs(config, record, trimmed=trimmed)


@functools.cache
def _graphdef(config: ModelConfig) -> Any:
    """The module without its arrays; found once, since tracing any program asks for it."""
    return nnx.split(nnx.eval_shape(lambda: _make(config, nnx.Rngs(0))))[0]
