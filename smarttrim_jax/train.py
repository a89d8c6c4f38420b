"""Trains, calibrates and evaluates one experiment.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --workdir=runs/quick [--config.a.b=value]

The same command again goes on where the run was stopped. Several processes, each with this command, train one run.
With --check it only looks whether everything is there.

    python -m smarttrim_jax.train --config=configs/easy_vqa.py:quick --help

explains every key of the configuration. `--config.model.trimming=None` switches a group off, `={}` on.
"""

import functools
import sys

import jax

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.experiment_flags import CONFIG, explained_keys, opened_experiment
from smarttrim_jax.command_line.workdir import WORKDIR
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.reporting.tables import format_report
from smarttrim_jax.training.preemption import Preempted
from smarttrim_jax.training.preflight import preflight
from smarttrim_jax.training.run import train

CHECK = define("check", bool, False, "Only check configuration, folder, data and mesh; train nothing.")
CHECK_DEVICES = define(
    "check_devices", PositiveInt, None, "Devices that the run will have, for --check; by default this machine's."
)
CHECK_SLICES = define("check_slices", PositiveInt, 1, "TPU slices that --check_devices belong to.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    config = opened_experiment()
    workdir = str(WORKDIR.value)
    if CHECK.value:
        print(preflight(config, workdir, CHECK_DEVICES.value or jax.device_count(), CHECK_SLICES.value))
        return
    try:
        report = train(config, workdir, CONFIG.value.split(":", maxsplit=1)[0])
    except Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    if jax.process_index() == 0:
        print(format_report(report))


run = functools.partial(run_command, main, required=("config", "workdir"), shared=True, more_help=explained_keys)

if __name__ == "__main__":
    run()
