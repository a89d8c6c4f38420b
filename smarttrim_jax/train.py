"""Trains, calibrates and evaluates one experiment.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --workdir=runs/quick [--config.a.b=value]

The same command again goes on where the run was stopped. Several processes, each with this command, train one run.
With --check it only looks whether everything is there.
"""

import sys

import jax
from absl import flags
from ml_collections import config_flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.configuration import build
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.reporting.table import format_report
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.preflight import preflight
from smarttrim_jax.training.run import train

CONFIG = config_flags.DEFINE_config_file("config", help_string="configs/NAME.py[:argument]", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, report.")
CHECK = flags.DEFINE_bool("check", False, "Only check configuration, folder, data and mesh; train nothing.")
CHECK_DEVICES = flags.DEFINE_integer(
    "check_devices", None, "Devices that the run will have, for --check; by default this machine's.", lower_bound=1
)
CHECK_SLICES = flags.DEFINE_integer("check_slices", 1, "TPU slices that --check_devices belong to.", lower_bound=1)


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    config = build(ExperimentConfig, CONFIG.value.to_dict())
    workdir = str(WORKDIR.value)
    if CHECK.value:
        print(preflight(config, workdir, CHECK_DEVICES.value or jax.device_count(), CHECK_SLICES.value))
        return
    try:
        report = train(config, workdir)
    except Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    if jax.process_index() == 0:
        print(format_report(report))


if __name__ == "__main__":
    run_command(main, required=("config", "workdir"), shared=True)
