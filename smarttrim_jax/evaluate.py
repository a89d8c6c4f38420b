"""Evaluates a finished run, at the speed-up it was trained for or at another.

python -m smarttrim_jax.evaluate --workdir=runs/quick [--split=test] [--speedup=2.5] [--execution=packed]
"""

import json

import jax
from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.inference.evaluation import PackedEvaluator
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.training.evaluation import Evaluator
from smarttrim_jax.training.run import evaluate

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
SPLIT = flags.DEFINE_string("split", None, "Split of its data set; the configured one by default.")
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")
EXECUTION = flags.DEFINE_enum(
    "execution",
    "padded",
    ["padded", "packed"],
    "Closed tokens masked, as in training, or out of memory.",
)
JSON = flags.DEFINE_bool("json", False, "Print the report as JSON.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    make_evaluator = PackedEvaluator if EXECUTION.value == "packed" else Evaluator
    report = evaluate(str(WORKDIR.value), split=SPLIT.value, speedup=SPEEDUP.value, make_evaluator=make_evaluator)
    if jax.process_index() == 0:
        print(json.dumps(report) if JSON.value else format_report(report))


if __name__ == "__main__":
    run_command(main, required=("workdir",), shared=True)
