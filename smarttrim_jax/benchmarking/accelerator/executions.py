"""The executions of one batch that are compared; each function creates a call that is ready to be compiled."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax

from smarttrim_jax.benchmarking.against_torch import TorchForward, check_equal
from smarttrim_jax.benchmarking.forced_load import ForcedLoad
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.gates import Trim

Call = Callable[[], Any]


def _full(load: ForcedLoad, trim: Trim | None) -> Call:
    executor = PackedExecutor(load.model, load.params)
    return lambda: executor(*load.batch)


def _packed(load: ForcedLoad, trim: Trim | None) -> Call:
    assert trim is not None
    executor = PackedExecutor(load.model, load.params)
    executor.calibrate([load.batch], trim=trim)
    return lambda: executor(*load.batch, trim=trim)


def _program(load: ForcedLoad, trim: Trim | None, *, scan: bool = True) -> Call:
    model = dataclasses.replace(load.model, config=dataclasses.replace(load.model.config, scan=scan))
    forward = jax.jit(model.apply)
    return lambda: forward(load.params, *load.batch, trim=trim)


def _one_program(load: ForcedLoad, trim: Trim | None) -> Call:
    assert trim is not None
    executor = OneProgramExecutor(load.model, load.params)
    executor.calibrate([load.batch], trim=trim)
    return lambda: executor(*load.batch, trim=trim)


def _torch(load: ForcedLoad, trim: Trim | None) -> Call:
    forward = TorchForward(load.model.config, load.params)
    check_equal(Functional(load.model.config), load.params, forward, load.batch)
    return lambda: forward(load.batch)


FULL: dict[str, Callable[[ForcedLoad, Trim | None], Call]] = {
    "full": _full,
    "program": _program,
    "unrolled": functools.partial(_program, scan=False),
    "torch": _torch,
}
"""Executions at full capacity: layer by layer by the executor, as one program (a loop over the layers of each run, or
unrolled), and as transformers computes it with PyTorch."""

TRIMMED: dict[str, Callable[[ForcedLoad, Trim | None], Call]] = {
    "padded": _program,
    "packed": _packed,
    "one_program": _one_program,
}
"""Trimmed executions: tokens are masked, removed by the executor on the host, or removed within one program."""
