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
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.model_flags import SPEEDUP, SPLIT, opened_data, opened_model
from smarttrim_jax.data.pipeline import eval_batches
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.metrics import Scores
from smarttrim_jax.ranges import NonNegativeInt, PositiveInt
from smarttrim_jax.reporting.page import build_page, is_page
from smarttrim_jax.reporting.picture import draw
from smarttrim_jax.reporting.side_by_side import by_image, draw_side_by_side
from smarttrim_jax.serving.explanation import BATCH_SIZE, Explanation, asked_batches, explain
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.serving.trained_model import TrainedModel

PAGE, EXAMPLES, SIDE_BY_SIDE = "index.html", "examples", "side_by_side"
ROWS = 6
"""Examples of one image that are drawn together at most, if they come from the data."""

OUTPUT = flags.DEFINE_string("output", None, "Folder to write: new, empty, or of an earlier page, which is replaced.")
IMAGE = flags.DEFINE_multi_string(
    "image", [], "Image file (once per image of the example) to explain instead of data."
)
TEXT = flags.DEFINE_multi_string("text", [], "Question or statement about the image, once for each.")
LIMIT = define("limit", PositiveInt, None, "Only the first examples of the split; all by default.")
PICTURES = define("pictures", NonNegativeInt, 24, "Examples that get a picture of their own.")


def main() -> None:
    """Runs the command."""
    if IMAGE.value and (SPLIT.value is not None or LIMIT.value is not None):
        raise ConfigError("--split and --limit choose from the data; leave them out with --image")
    if TEXT.value and not IMAGE.value:
        raise ConfigError("--text asks about an --image; give both")
    folder = pathlib.Path(str(OUTPUT.value))
    if folder.exists() and not (folder.is_dir() and (is_page(folder / PAGE) or not any(folder.iterdir()))):
        raise ConfigError(f"'{folder}' holds something else than this command's pages; choose another --output")
    trained = opened_model()
    source, batches = _asked(trained) if IMAGE.value else _data(trained)
    scores = None if IMAGE.value else Scores(trained.task.metric_names)
    examples = list(explain(trained, batches, SPEEDUP.value, scores))
    computed = None if scores is None else scores.compute()
    title = f"{source}, asked for {trained.speedup(SPEEDUP.value):g}x fewer MACs"
    try:
        _write_pictures(folder, examples)
        (folder / PAGE).write_text(build_page(examples, title, computed), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to '{folder}': {error.strerror}; choose another --output") from None
    print(f"wrote {folder / PAGE} ({len(examples)} examples)")


def _write_pictures(folder: pathlib.Path, examples: Sequence[Explanation]) -> None:
    """Draws the first examples, and the first images with several; pictures of an earlier page are deleted."""
    for part in (EXAMPLES, SIDE_BY_SIDE):
        for earlier in (folder / part).glob("[0-9]" * 6 + ".png"):
            earlier.unlink()
    (folder / f"{SIDE_BY_SIDE}.png").unlink(missing_ok=True)
    (folder / EXAMPLES).mkdir(parents=True, exist_ok=True)
    for example in examples[: PICTURES.value]:
        draw(example).save(folder / EXAMPLES / f"{example.index:06d}.png")
    groups = [group for group in by_image(examples) if len(group) > 1][: PICTURES.value]
    if IMAGE.value:
        for group in groups:
            draw_side_by_side(group).save(folder / f"{SIDE_BY_SIDE}.png")
    elif groups:
        (folder / SIDE_BY_SIDE).mkdir(exist_ok=True)
        for group in groups:
            draw_side_by_side(group[:ROWS]).save(folder / SIDE_BY_SIDE / f"{group[0].index:06d}.png")


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
