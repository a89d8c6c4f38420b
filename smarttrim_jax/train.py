"""Trains, calibrates and evaluates one experiment.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --workdir=runs/quick [--config.a.b=value]

The same command again goes on where the run was stopped. Several processes, each with this command, train one run.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --help

explains every key of the configuration. `--config.model.trimming=None` switches a group off, `={}` on.
"""

import sys

import jax

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.experiment_flags import explained_keys, opened_experiment
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.ranges import Path
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.run import train

WORKDIR = define("workdir", Path, None, "Folder of the run: checkpoints, metrics, report.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    try:
        report = train(opened_experiment(), str(WORKDIR.value))
    except Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    if jax.process_index() == 0:
        print(format_report(report))


if __name__ == "__main__":
    run_command(main, required=("config", "workdir"), shared=True, more_help=explained_keys)
