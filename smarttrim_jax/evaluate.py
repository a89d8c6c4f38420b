"""Evaluates a finished run, at the speed-up it was trained for or at another.

    python -m smarttrim_jax.evaluate --workdir=runs/quick [--split=test] [--speedup=2.5]
"""

import json

from absl import app, flags, logging

from smarttrim_jax.errors import run_command
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.training.run import evaluate

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
SPLIT = flags.DEFINE_string("split", None, "Split of its data set; the configured one by default.")
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")
JSON = flags.DEFINE_bool("json", False, "Print the report as JSON.")


def main(_: list[str]) -> None:
    """Runs the command."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells every file it writes
    report = evaluate(WORKDIR.value, split=SPLIT.value, speedup=SPEEDUP.value)
    print(json.dumps(report) if JSON.value else format_report(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    app.run(lambda argv: run_command(lambda: main(argv)))
