"""Wrong settings and malformed command lines, drawn at random from what each key and flag takes.

    PYTHONPATH=. python tests/wrong_input.py --seed=1 --settings=200 --lines=150

prints how many were refused in one sentence, how many were legal after all, and every one that was neither.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import math
import pathlib
import random
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from forked_commands import ROOT, WORK_BEGINS, command_server, run_forked, stop_at_work

from smarttrim_jax.command_line.config_file import change, load_settings
from smarttrim_jax.command_line.experiment_flags import KEYS
from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import SmartTrimError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.training.optimizer import make_optimizer

FILES = (
    "configs/easy_vqa.py:quick",
    "configs/easy_vqa_captions.py:caption",
    "configs/easy_vqa_captions.py:retrieval",
    "configs/nlvr.py:blip",
)
HUGE = (10**9, 10**23, -(10**9), 10**400, 1e300, -1e300, 1e38)
NUMBERS = (0, -1, 1, 2, 0.5, -0.5, 1.5, 1e-60, math.nan, math.inf, -math.inf, np.float32("nan"), np.int64(-7), *HUGE)
TEXTS = ("", " ", "x", "None", "nan", "../..", "a\0b", "s3://bucket/x", "n" * 300, "\ud800", "half \udcff")
OTHERS = (
    None,
    True,
    (),
    [],
    {},
    [math.nan],
    [0],
    ["x"],
    [None],
    {"a": 1},
    [{}],
    b"bytes",
    object(),
    np.ones(2),
    {1: 2},
)

Outcome = tuple[str, str]
"""What was tried, and what came of it: "refused", "legal", or what else happened."""


def wrong_settings(seed: int, count: int) -> Iterator[Outcome]:
    """One key of a configuration at a time, set to something that few keys take."""
    draw = random.Random(seed)
    settings = {file: load_settings(str(ROOT / file)) for file in FILES}
    for _ in range(count):
        file = draw.choice(FILES)
        value: Any = draw.choice(draw.choice((NUMBERS, HUGE, TEXTS, OTHERS)))
        # A key with its group absent, or of the other backbone, is drawn too.
        key = draw.choice(list(KEYS))
        yield f"{file} {key}={value!r:.80}", outcome(lambda: use(change(settings[file], {key: value})))  # noqa: B023


def use(settings: dict[str, Any]) -> None:
    """What a run does with its settings before its data is opened."""
    config = build(ExperimentConfig, settings)
    assert build(ExperimentConfig, json.loads(json.dumps(to_dict(config)))) == config
    text = dataclasses.replace(config.model.text, vocab_size=max(config.model.text.vocab_size, 50))
    model = dataclasses.replace(config.model, text=text)
    if isinstance(model, MeterConfig):
        heads = tuple(dataclasses.replace(head, outputs=max(head.outputs, 2)) for head in model.heads)
        model = dataclasses.replace(model, heads=heads)
    if model.parameters < 10**10:
        params = jax.eval_shape(Functional(model).init, jax.random.key(config.seed))
        make_optimizer(config.optimizer, params, config.schedule.total_steps, config.model.parameter_group)
    np.random.default_rng(config.seed)


def outcome(action: Callable[[], None]) -> str:
    try:
        action()
    except SmartTrimError as error:
        return "refused" if is_sentence(str(error)) else f"no sentence: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "legal"


def is_sentence(text: str) -> bool:
    return 10 < len(text) < 1500 and "\n" not in text and "Traceback" not in text


# Words of a legal command line for every command; its folder holds no run, and no work is begun.
COMMANDS = {
    "train": ["--config=configs/easy_vqa.py:quick", "--workdir={folder}/run"],
    "aot": ["--config=configs/benchmark.py:meter_base", "--topology=v5e:2x2"],
    "benchmark": ["--config=configs/benchmark.py:meter_tiny", "--repeats=1"],
    "evaluate": ["--workdir={folder}/run"],
    "predict": ["--workdir={folder}/run", "--image=nowhere.png", "--text=is it red?"],
    "explain": ["--workdir={folder}/run", "--output={folder}/page"],
    "convert": ["--workdir={folder}/run", "--export={folder}/model"],
}
FLAGS = {
    "train": [f"config.{key}" for key in KEYS] + ["workdir", "config", "distributed", "connect_timeout"],
    "aot": [
        "config",
        "topology",
        "batch_size",
        "answer_batch",
        "work_batches",
        "growth",
        "output",
        "config.data.batch_size",
    ],
    "benchmark": [
        "config",
        "workdir",
        "batch_sizes",
        "keep",
        "speedups",
        "steps",
        "host",
        "repeats",
        "output",
        "remember",
    ],
    "evaluate": ["workdir", "split", "speedup", "execution", "metrics", "predictions", "json", "unfinished"],
    "predict": [
        "workdir",
        "image",
        "text",
        "input",
        "output",
        "speedup",
        "batch_size",
        "search",
        "top",
        "index",
        "candidates",
        "execution",
    ],
    "explain": ["workdir", "output", "split", "limit", "pictures", "speedup"],
    "convert": ["workdir", "export", "to", "output", "speedup", "batch_size", "platform"],
}
NUMBERS_AS_TEXT = ("0", "-1", "3", "1e3", "0x10", "1.5", "nan", "inf", "1e300", "1e-60", "9" * 23, "1,,2", "(1,2")
WORDS_AS_TEXT = ("", " ", "None", "True", "x", ",", "{}", "{'a':1}", "a b", "\\", "'", '"', "é", "n" * 300, "(" * 400)
PLACES_AS_TEXT = ("s3://bucket/x", "http://host/x", "file:///x", "gs:/x", "/proc/x/y", "configs")
VALUES = NUMBERS_AS_TEXT + WORDS_AS_TEXT + PLACES_AS_TEXT


def malformed_line(draw: random.Random, folder: str) -> tuple[str, list[str]]:
    """A command, and its words with one mistake among them."""
    command = draw.choice(list(COMMANDS))
    words = [word.format(folder=folder) for word in COMMANDS[command]]
    flag, value = draw.choice(FLAGS[command]), draw.choice(VALUES)
    letter = draw.randrange(len(flag))
    mistakes = {
        "a value": [f"--{flag}={value}"],
        "a value behind": [f"--{flag}", value],
        "no dashes": [f"{flag}={value}"],
        "a long dash": [f"\N{EN DASH}{flag}={value}"],
        "a letter less": [f"--{flag[:letter]}{flag[letter + 1 :]}={value}"],
        "another command's": [f"--{draw.choice(FLAGS[draw.choice(list(FLAGS))])}={value}"],
        "twice": [f"--{flag}=1", f"--{flag}=2"],
        "no value": [f"--{flag}"],
        "a stray word": [value],
    }
    # Mostly wrong values: of them there are most.
    kind = draw.choices(list(mistakes), weights=[8, 1, 1, 1, 1, 1, 1, 1, 1])[0]
    place = draw.randrange(len(words) + 1)
    kept = [word for word in words if not word.startswith(f"--{flag}=")]
    return command, [*kept[:place], *mistakes[kind], *kept[place:]]


def malformed_lines(seed: int, count: int) -> Iterator[Outcome]:
    """Command lines with a mistake, each run in a process of its own up to where work would begin."""
    draw = random.Random(seed)
    server = command_server()
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            command, words = malformed_line(draw, folder)
            said = pathlib.Path(folder, f"{index}.stderr")
            status, stderr = run_forked(server, f"smarttrim_jax.{command}", words, said, stop_at_work)
            yield shlex.join([command, *words])[:300], judged(status, stderr)


def judged(status: int | None, stderr: str) -> str:
    """What became of a command line, from its exit status and what it said."""
    if status == WORK_BEGINS:
        return "legal"
    lines = stderr.splitlines()
    if status == 1 and len(lines) == 1 and lines[0].startswith("error: ") and is_sentence(lines[0]):
        return "refused"
    return f"status {status}: {stderr}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", type=int, default=200)
    parser.add_argument("--lines", type=int, default=150)
    asked = parser.parse_args()
    failed = 0
    for kind, count in ((wrong_settings, asked.settings), (malformed_lines, asked.lines)):
        seen: collections.Counter[str] = collections.Counter()
        for tried, result in kind(asked.seed, count):
            seen[result if result in ("refused", "legal") else "neither"] += 1
            if result not in ("refused", "legal"):
                print(f"{tried}\n    {result}")
        print(f"{kind.__name__} seed {asked.seed}: {dict(seen)}")
        failed += seen["neither"]
    return int(failed > 0)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
