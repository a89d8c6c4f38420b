"""Answers questions about images with a trained model, or searches a folder of images by texts.

    python -m smarttrim_jax.predict --workdir=runs/quick --image=FILE [--image=FILE] --text="what shape is this?"
    python -m smarttrim_jax.predict --workdir=runs/quick --image=FOLDER --text="is it blue?" --output=answers.jsonl
    python -m smarttrim_jax.predict --workdir=runs/quick --input=questions.jsonl --output=answers.jsonl
    some-program | python -m smarttrim_jax.predict --workdir=runs/quick --input=- --output=- | other-program
    python -m smarttrim_jax.predict --workdir=runs/retrieval --search=FOLDER --text="a blue circle" --index=FILE

A folder asks the same of each of its images; a model of captions says what it sees, without --text; a model that
reads several images together takes --image once for each. Several --text are asked one by one. A line of JSONL
in is `{"image": FILE or [FILE, ...], "text": ...}` ("images" and "question" are taken too) with any other keys, which
its line out has again, with `answer`, `confidence`, `macs_saved`, `seconds` and `text_cut` (whether the text is
longer than the model reads), or `error` where the question could not be asked, and `run` and `speedup`. The same
command again goes on where an output ends.

--search, for models of retrieval, finds the --top images of a folder for each text. --index keeps what was computed
of the images, so that another search encodes only those that were added or changed. The most similar images are
judged beside the text, as many as --candidates; 0 sorts by similarity alone, which is far faster. The --output of a
search has a line `{"text": ..., "rank": ..., "image": ..., "score": ..., ...}` for each image found, and replaces an
earlier one.
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
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.memory import keep_freed_memory
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.ranges import NonNegativeInt, PositiveInt
from smarttrim_jax.serving.index_file import images_of
from smarttrim_jax.serving.predictor import Answer, Failure
from smarttrim_jax.serving.question_file import AnswerFile, Asked, ask, read_questions, same_file, write_lines
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.tasks import Captions

IMAGE = flags.DEFINE_multi_string("image", [], "Image file (once per image of the example), or a folder of images.")
TEXT = flags.DEFINE_multi_string("text", [], "Question or statement, once for each; captions need none.")
INPUT = flags.DEFINE_string("input", None, "JSONL of many questions; - is standard input.")
OUTPUT = flags.DEFINE_string("output", None, "JSONL to write, - for standard output; a table is printed without it.")
BATCH_SIZE = define("batch_size", PositiveInt, 32, "Questions, or images of a search, at a time.")
SEARCH = flags.DEFINE_string("search", None, "Folder of images to search for each --text.")
TOP = define("top", PositiveInt, 5, "Images to find for each text.")
INDEX = flags.DEFINE_string("index", None, "File (.safetensors) that keeps the features of the searched images.")
CANDIDATES = define(
    "candidates", NonNegativeInt, None, "Images judged beside each text; as in evaluations by default."
)


def main() -> None:
    """Runs the command."""
    keep_freed_memory()
    if SEARCH.value is None:
        _answer()
    else:
        _search(SEARCH.value)


def _answer() -> None:
    """Answers the questions that the flags give."""
    asked = _asked()
    trained = opened_model()
    _check_takes(trained)
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
    _say_cut(trained, cut)
    if trained.answering.execution:
        print(f"executed as {trained.answering.execution}", file=sys.stderr)
    if not count:
        raise DataError(f"'{INPUT.value}' holds no question")
    if failed:
        others = "; the others are answered" if failed < count else ""
        raise DataError(f"{failed} of {count} questions could not be asked{others}")


def _row(answer: Answer, asked: Asked) -> str:
    """Formats an answer as a line of the table for people."""
    figures = f"{100 * answer.confidence:5.1f} %  {100 * answer.macs_saved:3.0f} % of MACs saved"
    images = asked.record.get("image", asked.record.get("images"))
    text = f"  {asked.record['text']}" if len(TEXT.value) > 1 else ""
    return f"{answer.answer:12}  {figures}  {1e3 * answer.seconds:8.1f} ms  {images}{text}"


def _asked() -> Iterator[Asked]:
    """Questions that the flags give."""
    if INDEX.value is not None or CANDIDATES.value is not None:
        raise ConfigError("--index and --candidates belong to a search; give --search=FOLDER, or leave them out")
    if INPUT.value is not None:
        if IMAGE.value or TEXT.value:
            raise ConfigError("--input brings its own images and texts; leave out --image and --text")
        if OUTPUT.value and same_file(INPUT.value, OUTPUT.value):
            raise ConfigError(f"--output is --input, '{INPUT.value}'; choose another file")
        return read_questions(INPUT.value)
    if not IMAGE.value:
        raise ConfigError("give --image and --text, or --input with many questions, or --search and --text")
    images = [[str(file)] for file in images_of(pathlib.Path(IMAGE.value[0]))] if _asks_folder() else [IMAGE.value]
    return iter([ask(list(each), text) for each in images for text in TEXT.value or [""]])


def _asks_folder() -> bool:
    """Whether each image of a folder is asked about."""
    return len(IMAGE.value) == 1 and pathlib.Path(IMAGE.value[0]).is_dir()


def _check_takes(trained: TrainedModel) -> None:
    """Checks that the flags give what the model reads; lines of JSONL are judged one by one instead.

    Raises:
        ConfigError: They do not.
    """
    if INPUT.value is not None:
        return
    writes_captions = isinstance(trained.task, Captions)
    if writes_captions and TEXT.value:
        raise ConfigError("this model writes captions and reads no text; leave out --text")
    if not writes_captions and not TEXT.value:
        raise ConfigError("this model needs a question or a statement about the image; give --text")
    if _asks_folder() and trained.reader.images > 1:
        raise ConfigError(
            f"this model reads {trained.reader.images} images together, but a folder asks about one at a time; give "
            "--image once for each, or --input"
        )


def _say_cut(trained: TrainedModel, cut: int) -> None:
    """Says on standard error how many texts were cut, if any."""
    if cut:
        length = trained.config.data.text_length
        print(f"{cut} texts are longer than the {length} tokens that this model reads", file=sys.stderr)


def _search(folder: str) -> None:
    """Searches a folder for the texts that the flags give."""
    if IMAGE.value or INPUT.value is not None:
        raise ConfigError("--search takes a folder and --text; leave out --image and --input")
    if not TEXT.value:
        raise ConfigError("--search needs what to search for; give --text, once for each text")
    trained = opened_model()
    index = trained.index(folder, file=INDEX.value, speedup=SPEEDUP.value, batch_size=BATCH_SIZE.value)
    if TOP.value > len(index):
        print(
            f"'{folder}' holds {len(index)} images that can be found, fewer than --top={TOP.value}", file=sys.stderr
        )
    found = index.search(TEXT.value, TOP.value, candidates=CANDIDATES.value)
    if OUTPUT.value is None:
        for each in found:
            text = f"  {each.text}" if len(TEXT.value) > 1 else ""
            print(f"{each.rank:4}  {each.score:8.3f}  {each.image}{text}")
    else:
        label = {"run": trained.origin, "speedup": trained.speedup(SPEEDUP.value)}
        write_lines(OUTPUT.value, (dataclasses.asdict(each) | label for each in found))
    _say_cut(trained, len({each.text for each in found if each.text_cut}))
    if index.unreadable:
        count = len(index) + len(index.unreadable)
        raise DataError(f"{len(index.unreadable)} of {count} images cannot be read; the others are searched")


run = functools.partial(run_command, main, required=("workdir",))

if __name__ == "__main__":
    run()
