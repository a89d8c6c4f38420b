"""Compiles a run's programs for a TPU slice, on a machine without one, and says what it would take.

    python -m smarttrim_jax.aot --config=configs/benchmark.py:meter_base --topology=v5e:16x16 --batch_size=4096 \
        --config.model.scan=True --config.model.remat=full --config.model.dtype=bfloat16 --config.generator=rbg \
        --config.mesh.fsdp=16

    python -m smarttrim_jax.aot --config=configs/benchmark.py:meter_base --topology=v5e:1x1 --work_batches=1,8 \
        --config.model.dtype=bfloat16

No data is read and no device is touched; it needs the compiler for TPUs (`pip install -e ".[aot]"`). Layers that are
not scanned (`--config.model.scan=True`) take long to compile.
"""

import dataclasses
import functools
import importlib.metadata
from typing import Any

import jax

from smarttrim_jax.ahead_of_time.inference_work import inference_work
from smarttrim_jax.ahead_of_time.report import report_slice
from smarttrim_jax.ahead_of_time.topology import open_slice
from smarttrim_jax.benchmarking.origin import origin, write_figures
from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.experiment_flags import explained_keys, opened_experiment
from smarttrim_jax.ranges import Name, NonNegativeInt, Path, PositiveInt
from smarttrim_jax.reporting.slice_table import format_slice, format_work

TOPOLOGY = define("topology", Name, None, "Kind and shape of the slice, as v5e:16x16 or v5p:4x4x4.")
BATCH_SIZE = define("batch_size", NonNegativeInt, 0, "Examples over all devices; 0 takes the configuration's.")
ANSWER_BATCH = define(
    "answer_batch",
    NonNegativeInt,
    0,
    "Compile the program for inference too (`convert --export`), for so many examples on one device; 0 does not.",
)
GROWTH = define("growth", bool, False, "Compile half of the batch too: what grows, and what fits.")
WORK_BATCHES = define(
    "work_batches",
    tuple[PositiveInt, ...],
    (),
    "Compile inference only, for so many examples on one device, and count the work of the full model and of each "
    "branch of the packed program, as in 1,8.",
)
OUTPUT = define("output", Path, None, "Write the figures here, as JSON.")


def main() -> None:
    """Runs the command."""
    jax.config.update("jax_platforms", "cpu")  # Otherwise JAX would wait for devices of this machine.
    config = opened_experiment()
    where = open_slice(str(TOPOLOGY.value))
    if WORK_BATCHES.value:
        rows = [row for size in WORK_BATCHES.value for row in inference_work(config, where.devices[0], size)]
        print(format_work(rows))
        _write({**where.to_dict(), "results": [dataclasses.asdict(row) for row in rows]})
        return
    report = report_slice(
        config,
        where,
        BATCH_SIZE.value or config.data.batch_size,
        growth=GROWTH.value,
        answer_batch=ANSWER_BATCH.value,
    )
    print(format_slice(report))
    _write(report.to_dict())
    report.check_memory()


def _write(figures: dict[str, Any]) -> None:
    """Writes figures where the command asks for them."""
    if OUTPUT.value:
        compiler = importlib.metadata.version("libtpu")
        write_figures(OUTPUT.value, origin("python -m smarttrim_jax.aot", libtpu=compiler) | figures)


run = functools.partial(
    run_command, main, required=("config", "topology"), keeps_programs=False, more_help=explained_keys
)

if __name__ == "__main__":
    run()
