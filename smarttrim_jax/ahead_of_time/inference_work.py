"""The work of inference on one device: of the full model, and of each branch that packed execution may take."""

import dataclasses
from typing import Any

from smarttrim_jax.ahead_of_time.program import compile_to_fit
from smarttrim_jax.ahead_of_time.serving import EXECUTION, lower_answer
from smarttrim_jax.ahead_of_time.work import Work, count_work
from smarttrim_jax.execution.cuts import spread_shares
from smarttrim_jax.execution.one_program import BRANCH
from smarttrim_jax.experiment import ExperimentConfig


@dataclasses.dataclass(frozen=True)
class WorkRow:
    """The work of one call.

    Attributes:
        batch_size: Number of examples.
        program: "full", the whole model, padded; or "packed", the program of `convert --export`.
        branch: Share of the tokens that every cut's branch holds; None for the full program.
        flops: Floating-point operations of matrix products and kernels.
        bytes: Bytes that pass the device's main memory.
        flops_over_full: `flops` as a share of the full program's.
        bytes_over_full: `bytes` as a share of the full program's.
    """

    batch_size: int
    program: str
    branch: float | None
    flops: float
    bytes: float
    flops_over_full: float
    bytes_over_full: float


def inference_work(config: ExperimentConfig, device: Any, batch_size: int) -> list[WorkRow]:
    """Compiles inference for one device and counts its work.

    Args:
        config: Run configuration with every size given.
        device: Device of a `topology.Slice`, or of this machine.
        batch_size: Number of examples per call.

    Returns:
        A row for the full program and one for each branch of the packed one, if every cut takes it.

    Raises:
        ConfigError: Sizes are left to the data, or the batch does not fit the memory.
    """
    full, packed = (
        compile_to_fit(lower_answer(config, device, batch_size, trims=trims), batch_size).as_text() or ""
        for trims in (False, True)
    )
    return work_rows(full, packed, batch_size)


def work_rows(full: str, packed: str, batch_size: int) -> list[WorkRow]:
    """Counts the work of two compiled programs.

    Args:
        full: HLO text of the full program.
        packed: HLO text of the packed program, whose cuts are spread evenly.
        batch_size: Number of examples per call.

    Returns:
        The rows of `inference_work`.
    """
    whole = count_work(full)

    def row(program: str, branch: float | None, work: Work) -> WorkRow:
        shares = work.flops / whole.flops, work.bytes / whole.bytes
        return WorkRow(batch_size, program, branch, work.flops, work.bytes, *shares)

    branches = [*spread_shares(EXECUTION.cuts), 1.0]
    return [
        row("full", None, whole),
        *(row("packed", share, count_work(packed, BRANCH, number)) for number, share in enumerate(branches)),
    ]
