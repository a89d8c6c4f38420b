"""Answers questions about images with a trained model.

    python -m smarttrim_jax.predict --workdir=runs/quick --image=FILE [--image=FILE] --text="what shape is this?"
    python -m smarttrim_jax.predict --workdir=runs/quick --image=FOLDER --text="is it blue?" --output=answers.jsonl
    python -m smarttrim_jax.predict --workdir=runs/quick --input=questions.jsonl --output=answers.jsonl
    some-program | python -m smarttrim_jax.predict --workdir=runs/quick --input=- --output=- | other-program

A folder asks the same of each of its images; a model of captions says what it sees, without --text. A line of JSONL
in is `{"image": FILE or [FILE, ...], "text": ...}` ("images" and "question" are taken too) with any other keys, which
its line out has again, with `answer`, `confidence`, `macs_saved`, `seconds` and `text_cut` (whether the text is
longer than the model reads), or `error` where the question could not be asked, and `run` and `speedup`. The same
command again goes on where an output ends.
"""

import dataclasses
import functools
import itertools
import pathlib
import sys
from collections.abc import Iterator

from absl import flags

from smarttrim_jax.command_line import define, run_command
from smarttrim_jax.command_line.model_flags import SPEEDUP, opened_model
from smarttrim_jax.data.images import IMAGE_SUFFIXES
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.serving.predictor import Answer, Failure
from smarttrim_jax.serving.question_file import AnswerFile, Asked, ask, read_questions, same_file

IMAGE = flags.DEFINE_multi_string("image", [], "Image file (once per image of the example), or a folder of images.")
TEXT = flags.DEFINE_string("text", None, "Question or statement; a model that writes captions needs none.")
INPUT = flags.DEFINE_string("input", None, "JSONL of many questions; - is standard input.")
OUTPUT = flags.DEFINE_string("output", None, "JSONL to write, - for standard output; a table is printed without it.")
BATCH_SIZE = define("batch_size", PositiveInt, 32, "Questions at a time.")


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    asked = _asked()
    trained = opened_model()
    trim = trained.trim(SPEEDUP.value)
    label = {"run": trained.origin, "speedup": trained.speedup(SPEEDUP.value)}
    count = 0
    failed = 0
    cut = 0
    with AnswerFile(OUTPUT.value or "-", label) as output, ProgressLine("answering", unit="questions") as progress:
        for line in itertools.islice(asked, output.done):
            failed += not output.check_next(line.record)
            count += 1
        if count < output.done:
            raise DataError(f"'{output.path}' holds answers to {output.done} questions, but {count} are asked")
        if count:
            print(f"'{output.path}' holds {count} answers; going on behind them", file=sys.stderr)
        asked, ahead = itertools.tee(asked)
        answers = trained.predictor((line.question for line in ahead), trim, BATCH_SIZE.value)
        for line, answer in progress.over(zip(asked, answers, strict=True)):
            count += 1
            if isinstance(answer, Failure):
                failed += 1
                print(f"error: {answer.error}", file=sys.stderr)
            else:
                cut += answer.text_cut
            if OUTPUT.value is not None:
                output.write(line.record, dataclasses.asdict(answer))
            elif isinstance(answer, Answer):
                print(_row(answer, line), flush=True)
    if cut:
        length = trained.config.data.text_length
        print(f"{cut} texts are longer than the {length} tokens that this model reads", file=sys.stderr)
    if not count:
        raise DataError(f"'{INPUT.value}' holds no question")
    if failed:
        others = "; the others are answered" if failed < count else ""
        raise DataError(f"{failed} of {count} questions could not be asked{others}")


def _row(answer: Answer, asked: Asked) -> str:
    """Formats an answer as a line of the table for people."""
    figures = f"{100 * answer.confidence:5.1f} %  {100 * answer.macs_saved:3.0f} % of MACs saved"
    images = asked.record.get("image", asked.record.get("images"))
    return f"{answer.answer:12}  {figures}  {1e3 * answer.seconds:8.1f} ms  {images}"


def _asked() -> Iterator[Asked]:
    """Questions that the flags give."""
    if INPUT.value is not None:
        if IMAGE.value or TEXT.value is not None:
            raise ConfigError("--input brings its own images and texts; leave out --image and --text")
        if OUTPUT.value and same_file(INPUT.value, OUTPUT.value):
            raise ConfigError(f"--output is --input, '{INPUT.value}'; choose another file")
        return read_questions(INPUT.value)
    if not IMAGE.value:
        raise ConfigError("give --image and --text, or --input with many questions")
    images, text = list(IMAGE.value), TEXT.value or ""
    if len(images) == 1 and pathlib.Path(images[0]).is_dir():
        return iter([ask([str(file)], text) for file in images_of(pathlib.Path(images[0]))])
    return iter([ask(images, text)])


def images_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the images of a folder by name; the number of other files is reported on standard error.

    Args:
        folder: The folder.

    Returns:
        Paths of the images, sorted by name.

    Raises:
        DataError: There are no images.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"'{folder}' holds no image; read are {', '.join(sorted(IMAGE_SUFFIXES))}")
    if len(images) < len(files):
        print(f"'{folder}': {len(files) - len(images)} files that are no images are left out", file=sys.stderr)
    return images


run = functools.partial(run_command, main, required=("workdir",))

if __name__ == "__main__":
    run()
