"""Evaluates a trained model on its data, at the speed-up it was trained for or at another.

    python -m smarttrim_jax.evaluate --workdir=runs/quick [--split=test] [--speedup=2.5] [--execution=packed]

The data must be that which the model was trained on. Without --split and --speedup a run's `report.json` is written
anew.
"""

import functools
import json

import jax
from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.model_flags import SPEEDUP, SPLIT, WORKDIR, opened_data, opened_model
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.serving.evaluation import EVALUATORS, evaluate
from smarttrim_jax.serving.folder import is_saved
from smarttrim_jax.training.workdir import Workdir

EXECUTION = flags.DEFINE_enum(
    "execution",
    "padded",
    list(EVALUATORS),
    "Closed tokens masked, as in training, or out of memory.",
)
JSON = flags.DEFINE_bool("json", False, "Print the report as JSON.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    trained = opened_model()
    speedup = SPEEDUP.value
    report = evaluate(trained, opened_data(trained), split=SPLIT.value, speedup=speedup, execution=EXECUTION.value)
    if SPLIT.value is None and speedup is None and not is_saved(str(WORKDIR.value)):
        Workdir(str(WORKDIR.value)).write_report(report)
    if jax.process_index() == 0:
        print(json.dumps(report) if JSON.value else format_report(report))


run = functools.partial(run_command, main, required=("workdir",), shared=True)

if __name__ == "__main__":
    run()
