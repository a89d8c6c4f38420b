"""Trains, calibrates and evaluates one experiment.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --workdir=runs/quick [--config.a.b=value]

The same command again goes on where the run was stopped.
"""

import sys

from absl import app, flags, logging
from ml_collections import config_flags

from smarttrim_jax.configuration import build
from smarttrim_jax.errors import run_command
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.run import train

CONFIG = config_flags.DEFINE_config_file("config", help_string="configs/NAME.py[:argument]", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, report.")


def main(_: list[str]) -> None:
    """Runs the command."""
    logging.set_verbosity(logging.WARNING)  # Orbax tells every file it writes
    try:
        report = train(build(ExperimentConfig, CONFIG.value.to_dict()), WORKDIR.value)
    except Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    print(format_report(report))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(lambda argv: run_command(lambda: main(argv)))
