"""Shows what a trained model keeps of each example: a picture each, and one page for the whole set.

    python -m smarttrim_jax.explain --workdir=runs/quick --output=explained --image=FILE --text="is it blue?"
    python -m smarttrim_jax.explain --workdir=runs/quick --output=explained [--split=test] [--limit=500] [--speedup=2]

Writes `explained/index.html` (self-contained, sortable by cost and by error) and `explained/examples/*.png`; where
several examples are about one image, `explained/side_by_side/*.png` too. With --image the data set is not opened, and
several --text, which ask about the same image, are drawn together in `explained/side_by_side.png`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable
from typing import Any

from absl import flags

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.model_flags import SPEEDUP, SPLIT, opened_data, opened_model
from smarttrim_jax.data.pipeline import eval_batches
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.ranges import NonNegativeInt, PositiveInt
from smarttrim_jax.reporting.folder import check_folder, write_folder
from smarttrim_jax.serving.explanation import BATCH_SIZE, asked_batches, explain
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.trained_model import TrainedModel

OUTPUT = flags.DEFINE_string("output", None, "Folder to write: new, empty, or of an earlier page, which is replaced.")
IMAGE = flags.DEFINE_multi_string(
    "image", [], "Image file (once per image of the example) to explain instead of data."
)
TEXT = flags.DEFINE_multi_string("text", [], "Question or statement about the image, once for each.")
LIMIT = define("limit", PositiveInt, None, "Only the first examples of the split; all by default.")
PICTURES = define("pictures", NonNegativeInt, 24, "Examples, and images that several examples share, that are drawn.")


def main() -> None:
    """Runs the command."""
    if IMAGE.value and (SPLIT.value is not None or LIMIT.value is not None):
        raise ConfigError("--split and --limit choose from the data; leave them out with --image")
    if TEXT.value and not IMAGE.value:
        raise ConfigError("--text asks about an --image; give both")
    folder = pathlib.Path(str(OUTPUT.value))
    check_folder(folder)
    trained = opened_model()
    source, batches = _asked(trained) if IMAGE.value else _data(trained)
    scores = None if IMAGE.value else Scores(trained.task.metric_names)
    examples = list(explain(trained, batches, SPEEDUP.value, scores))
    computed = None if scores is None else scores.compute()
    title = f"{source}, asked for {trained.speedup(SPEEDUP.value):g}x fewer MACs"
    page = write_folder(folder, examples, title, computed, pictures=PICTURES.value)
    print(f"wrote {page} ({len(examples)} examples)")


def _asked(trained: TrainedModel) -> tuple[str, Iterable[dict[str, Any]]]:
    """Title and batches of the questions that the flags give."""
    questions = [Question(tuple(IMAGE.value), text) for text in TEXT.value or [""]]
    return ", ".join(IMAGE.value), asked_batches(trained, questions)


def _data(trained: TrainedModel) -> tuple[str, Iterable[dict[str, Any]]]:
    """Title and batches of a split of the model's data."""
    data = dataclasses.replace(trained.config.data, batch_size=BATCH_SIZE)
    split = SPLIT.value or trained.config.evaluation.split
    return f"{data.dataset}, {split} split", eval_batches(opened_data(trained), split, data, limit=LIMIT.value)


run = functools.partial(run_command, main, required=("workdir", "output"))

if __name__ == "__main__":
    run()
