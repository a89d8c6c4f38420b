"""Evaluates a trained model on its data, at the speed-up it was trained for or at another.

    python -m smarttrim_jax.evaluate --workdir=runs/quick [--split=test] [--speedup=2.5] [--execution=packed]
    python -m smarttrim_jax.evaluate --workdir=runs/quick --metrics=accuracy,package.module:Name --predictions=FILE
    python -m smarttrim_jax.evaluate --workdir=runs/vqa --submission=FILE
    python -m smarttrim_jax.evaluate --workdir=runs/quick --output=FILE.json

The data must be that which the model was trained on. Without --split, --speedup and --metrics a run's `report.json`
is written anew. A file of predictions has a JSON line for every example: its id, answer and target, at that speed-up.
A submission has the same answers in the form in which the data's benchmark takes them. With --output the report goes
into a file that also says where it comes from: the machine, the commit, this command and those that trained the run.
"""

import functools
import json

import jax
from absl import flags

from smarttrim_jax.benchmarking.origin import origin, trained_by, write_figures
from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.model_flags import EXECUTION, SPEEDUP, SPLIT, opened_data, opened_model
from smarttrim_jax.command_line.workdir import WORKDIR
from smarttrim_jax.data import DATASETS
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.ranges import Name, Path
from smarttrim_jax.registry import import_implementation
from smarttrim_jax.reporting.tables import format_report
from smarttrim_jax.serving.evaluation import evaluate
from smarttrim_jax.serving.folder import is_saved
from smarttrim_jax.serving.predictions import Predictions, ResultsFile, ResultsFiles, Submission
from smarttrim_jax.training.workdir import Workdir

METRICS = define(
    "metrics",
    tuple[Name, ...],
    (),
    "Metrics to compute, the primary one first: this library's by name, your own as package.module:Name; by default "
    "the configured ones.",
)
PREDICTIONS = define("predictions", Path, None, "File that takes one JSON line for every example.")
SUBMISSION = define("submission", Path, None, "File that takes the answers in the form of the data's benchmark.")
OUTPUT = define(
    "output",
    Path,
    None,
    "Write the report here, as JSON, with the machine, the commit and the commands it comes from.",
)
JSON = flags.DEFINE_bool("json", False, "Print the report as JSON.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    for name in METRICS.value:
        import_implementation(name)
    trained = opened_model()
    dataset = opened_data(trained)
    split = SPLIT.value or trained.config.evaluation.split
    files: list[ResultsFile] = []
    if PREDICTIONS.value is not None:
        files.append(Predictions(PREDICTIONS.value))
    if SUBMISSION.value is not None:
        files.append(_submission(trained.config.data.dataset, SUBMISSION.value))
    listener = ResultsFiles(files) if files else None
    report = evaluate(
        trained,
        dataset,
        split=split,
        speedup=SPEEDUP.value,
        execution=EXECUTION.value or "padded",
        metrics=METRICS.value,
        listener=listener,
    )
    as_trained = SPLIT.value is None and SPEEDUP.value is None and not METRICS.value
    if as_trained and not is_saved(str(WORKDIR.value)):
        Workdir(str(WORKDIR.value)).write_report(report)
    if jax.process_index() == 0:
        print(json.dumps(report) if JSON.value else format_report(report))
        if OUTPUT.value is not None:
            training = {"trained_by": trained_by(str(WORKDIR.value))}
            write_figures(OUTPUT.value, origin("python -m smarttrim_jax.evaluate") | training | report)
    if listener is not None:
        listener.write()


def _submission(dataset: str, path: str) -> Submission:
    """Prepares the file in which the benchmark of a data set takes results."""
    form = DATASETS.find(dataset).submission
    if form is None:
        raise ConfigError(f"{dataset} is no benchmark that takes results in a file; leave out --submission")
    return Submission(form, path)


run = functools.partial(run_command, main, required=("workdir",), shared=True)

if __name__ == "__main__":
    run()
