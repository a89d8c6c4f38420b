"""Measures what trimming saves: full, padded and packed execution in one run.

    python -m smarttrim_jax.benchmark --config=configs/benchmark.py:meter_base --keep=0.5,0.3 --batch_sizes=1,8
    python -m smarttrim_jax.benchmark --config=configs/benchmark.py:blip_vqa --keep=0.4 --against=torch
    python -m smarttrim_jax.benchmark --config=configs/benchmark.py:meter_small --steps --batch_sizes=16
    python -m smarttrim_jax.benchmark --config=configs/benchmark.py:meter_base --host
    python -m smarttrim_jax.benchmark --workdir=runs/quick --split=test --batch_sizes=1,8,64 [--output=FILE.json]
    python -m smarttrim_jax.benchmark --workdir=runs/quick --split=test --batch_sizes=1,8,64 --remember
    python -m smarttrim_jax.benchmark --workdir=models/quick --input=questions.jsonl --speedups=2,3

With a config the model is untrained and its gates are forced: every example draws the share of tokens it keeps, and
with --keep_heads all keep the same share of heads. With a workdir the trained model trims real examples at the
speed-ups of its dial: questions as `predict` takes them (--input), or a split of its data set (--split); without
either its gates are forced too. With --steps it is training that is measured: what a step of trim-tuning costs (also
a shortened one, where the config has a capacity), against one of plain fine-tuning. With --host it is what a call
costs besides computing: the model is made narrow. With --remember the times of a trained model are kept in its
folder: from then on its batches are executed as was fastest on a device of this kind.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from smarttrim_jax.benchmarking.host_share import measure_host
from smarttrim_jax.benchmarking.origin import check_figures, origin, write_figures
from smarttrim_jax.benchmarking.speed import Row
from smarttrim_jax.benchmarking.speed_report import EXAMPLES, measure_forced, measure_trained, timings_of
from smarttrim_jax.benchmarking.step_speed import measure_steps
from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.experiment_flags import CONFIG, explained_keys, opened_experiment
from smarttrim_jax.command_line.model_flags import SPLIT, opened_data, opened_model
from smarttrim_jax.command_line.workdir import WORKDIR
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.ranges import Path, PositiveInt, ShareAboveZero, SpeedUp, not_empty
from smarttrim_jax.reporting.tables import (
    format_host,
    format_speed,
    format_step,
    host_head,
    speed_head,
    step_head,
)
from smarttrim_jax.serving.folder import write_timings
from smarttrim_jax.serving.question_file import read_questions
from smarttrim_jax.serving.timed_examples import first_examples, first_questions
from smarttrim_jax.serving.trained_model import TrainedModel

INPUT = define("input", Path, None, "With --workdir: JSONL of questions to time it on, see predict.")
BATCH_SIZES = define(
    "batch_sizes", Annotated[tuple[PositiveInt, ...], not_empty], (1, 8), "Examples at a time, as in 1,8."
)
KEEP = define(
    "keep",
    Annotated[tuple[ShareAboveZero, ...], not_empty],
    (0.5, 0.3),
    "Mean shares of tokens kept where gates are forced, as in 0.5,0.3.",
)
KEEP_HEADS = define(
    "keep_heads", ShareAboveZero, None, "Share of heads kept where gates are forced, the same for all examples."
)
SPEEDUPS = define(
    "speedups", tuple[SpeedUp, ...], (), "Of the dial, with --workdir; the one it was trained for by default."
)
STEPS = define("steps", bool, False, "With --config: time training steps, not inference.")
HOST = define("host", bool, False, "With --config: time what calls cost besides computing, at a small width.")
REMEMBER = define("remember", bool, False, "Keep the times with the model, whose batches are then executed by them.")
REPEATS = define("repeats", PositiveInt, 5, "Timed calls of each execution.")
OUTPUT = define("output", Path, None, "Write the figures here, as JSON.")
AGAINST = define("against", Literal["torch"], None, "With --config of a BLIP: time transformers' model too.")


def main() -> None:
    """Runs the command."""
    if (CONFIG.value is None) == (WORKDIR.value is None):
        raise ConfigError("give either --config (an untrained model) or --workdir (a trained one)")
    if (STEPS.value or HOST.value) and CONFIG.value is None:
        raise ConfigError("--steps and --host time an untrained model; give --config in place of --workdir")
    if STEPS.value and HOST.value:
        raise ConfigError("--steps times training and --host calls; give one of them")
    if WORKDIR.value is not None and AGAINST.value is not None:
        raise ConfigError("--against compares an untrained model; give --config in place of --workdir")
    forces = not (STEPS.value or HOST.value or INPUT.value is not None or SPLIT.value is not None)
    if KEEP_HEADS.value is not None and not forces:
        raise ConfigError("--keep_heads is for forced gates; leave it out with --steps, --host, --split and --input")
    if REMEMBER.value and (WORKDIR.value is None or (INPUT.value is None and SPLIT.value is None)):
        raise ConfigError("--remember keeps times of real examples; give --workdir, and --split or --input")
    sizes = BATCH_SIZES.value
    keep_freed_memory()
    trained = None if WORKDIR.value is None else opened_model()
    head, line = speed_head, format_speed
    if STEPS.value:
        head, line = step_head, format_step
        results = measure_steps(opened_experiment(), sizes, REPEATS.value)
    elif HOST.value:
        head, line = host_head, format_host
        results = measure_host(opened_experiment(), sizes, REPEATS.value)
    elif trained is None:
        results = measure_forced(
            opened_experiment(),
            sizes,
            KEEP.value,
            REPEATS.value,
            keep_heads=KEEP_HEADS.value,
            against_torch=AGAINST.value == "torch",
        )
    else:
        results = _measure_trained(trained, sizes)
    rows: list[Row] = []
    figures = {**origin("python -m smarttrim_jax.benchmark"), "results": rows}
    if OUTPUT.value:
        check_figures(OUTPUT.value)
    print(head(), flush=True)
    for row in results:
        rows.append(row)
        print(line(row), flush=True)
        _write(figures)
    if trained is not None and REMEMBER.value:
        workdir = str(WORKDIR.value)
        write_timings(workdir, trained.timings.renewed(timings_of(rows, rows[0]["asked"])))
        print(f"'{workdir}' keeps these times; its batches are executed as was fastest at the nearest batch size")


def _measure_trained(trained: TrainedModel, sizes: Sequence[int]) -> Iterator[Row]:
    """Times a trained model on questions, on its data, or with forced gates."""
    config = trained.config
    path, split = INPUT.value, SPLIT.value
    if path is None and split is None:
        return measure_forced(
            config, sizes, KEEP.value, REPEATS.value, keep_heads=KEEP_HEADS.value, params=trained.params
        )
    speedups = SPEEDUPS.value or (trained.speedup(),)
    trims = {speedup: trim for speedup in speedups if (trim := trained.trim(speedup)) is not None}
    if not trims:
        raise ConfigError("this model never trimmed; there is nothing to compare")
    count = max(EXAMPLES, *sizes)
    if path is not None:
        questions = itertools.islice((line.question for line in read_questions(path)), count)
        examples = calibration = first_questions(trained, questions)
    elif split is not None:
        dataset = opened_data(trained)
        examples = first_examples(trained, dataset, split, count)
        calibration = first_examples(trained, dataset, "calibration", config.evaluation.calibration_examples)
    return measure_trained(
        trained.model, trained.params, config.execution, trims, examples, calibration, sizes, REPEATS.value
    )


def _write(figures: dict[str, Any]) -> None:
    """Writes what was measured so far, so that a late failure does not lose hours of measurements."""
    if OUTPUT.value:
        write_figures(OUTPUT.value, figures)


run = functools.partial(run_command, main, required=(), keeps_programs=False, more_help=explained_keys)

if __name__ == "__main__":
    run()
