"""A module as pure functions of a plain dict of parameters, which is what training and checkpoints hold."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from smarttrim_jax.models.meter import Meter, MeterConfig, MeterOutput, meter_macs
from smarttrim_jax.trimming.gates import TrimRecord

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Functional:
    """`init` and `apply` of a model.

    Attributes:
        config: of the model.
    """

    config: MeterConfig

    def init(self, key: jax.Array) -> Params:
        """Fresh parameters, a nested dict of arrays."""
        return nnx.to_pure_dict(nnx.split(Meter(self.config, rngs=nnx.Rngs(key)))[1])

    def bind(self, params: Params) -> Meter:
        """The module with these parameters."""
        return nnx.merge(self._graphdef(), params)

    def apply(self, params: Params, *args: Any, **kwargs: Any) -> MeterOutput:
        """`Meter.__call__` as a function of its parameters."""
        return self.bind(params)(*args, **kwargs)

    def macs(self, record: TrimRecord, *, trimmed: bool = True) -> jax.Array:
        """MACs of every example; see `meter_macs`."""
        return meter_macs(self.config, record, trimmed=trimmed)

    def _graphdef(self) -> Any:
        return nnx.split(nnx.eval_shape(lambda: Meter(self.config, rngs=nnx.Rngs(0))))[0]
