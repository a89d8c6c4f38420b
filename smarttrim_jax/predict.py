"""Answers questions about images with a finished run.

    python -m smarttrim_jax.predict --workdir=runs/quick --image=FILE [--image=FILE] --text="what shape is this?"
    python -m smarttrim_jax.predict --workdir=runs/quick --image=FOLDER --text="is it blue?" --output=answers.jsonl
    python -m smarttrim_jax.predict --workdir=runs/quick --input=questions.jsonl --output=answers.jsonl

A folder asks the same of each of its images; a model of captions says what it sees, without --text. A line of JSONL
in is `{"image": FILE or [FILE, ...], "text": ...}`; a line out adds `answer`, `confidence`, `macs_saved` and
`seconds`, or `error` where the question could not be asked.
"""

import contextlib
import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable, Iterator

from absl import flags

from smarttrim_jax.command_line import run_command
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.inference.predictor import Answer, Failure, Predictor, Question
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.training.finished import open_run

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a finished run.")
IMAGE = flags.DEFINE_multi_string("image", [], "Image file (once per image of the example), or a folder of images.")
TEXT = flags.DEFINE_string("text", "", "Question or statement; a model that writes captions needs none.")
INPUT = flags.DEFINE_string("input", None, "JSONL of many questions.")
OUTPUT = flags.DEFINE_string("output", None, "JSONL to write; a table is printed without it.")
SPEEDUP = flags.DEFINE_float("speedup", None, "Speed-up in MACs; the one it was trained for by default.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Questions at a time.", lower_bound=1)


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    questions = _read_questions(INPUT.value) if INPUT.value else _asked(IMAGE.value, TEXT.value)
    predictor = Predictor(open_run(str(WORKDIR.value)), SPEEDUP.value)
    failed = 0
    with _writer(OUTPUT.value) as write:
        for answer in predictor(questions, BATCH_SIZE.value):
            write(answer)
            if isinstance(answer, Failure):
                failed += 1
                print(f"error: {answer.error}", file=sys.stderr)
    if failed:
        raise DataError(f"{failed} of {len(questions)} questions could not be asked; the others are answered")


@contextlib.contextmanager
def _writer(path: str | None) -> Iterator[Callable[[Answer | Failure], object]]:
    """Writes lines of JSON to a file, or answers to the terminal."""
    if path is None:
        yield lambda answer: isinstance(answer, Failure) or print(_line(answer), flush=True)
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            yield lambda answer: file.write(json.dumps(dataclasses.asdict(answer)) + "\n")
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror}; choose another --output") from None


def _line(answer: Answer) -> str:
    figures = f"{100 * answer.confidence:5.1f} %  {100 * answer.macs_saved:3.0f} % of MACs saved"
    return f"{answer.answer:12}  {figures}  {1e3 * answer.seconds:8.1f} ms  {', '.join(answer.images)}"


def _asked(images: list[str], text: str) -> list[Question]:
    if not images:
        raise ConfigError("give --image and --text, or --input with many questions")
    folder = pathlib.Path(images[0])
    if len(images) > 1 or not folder.is_dir():
        return [Question(tuple(images), text)]
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not files:
        raise DataError(f"'{folder}' holds no .png or .jpg file")
    return [Question((str(file),), text) for file in files]


def _read_questions(path: str) -> list[Question]:
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None
    questions = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            images = record["image"]
            questions.append(Question((images,) if isinstance(images, str) else tuple(images), record["text"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"'{path}', line {number} is no question ({error!r}); see --help") from None
    return questions


if __name__ == "__main__":
    run_command(main, required=("workdir",))
