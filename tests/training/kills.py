"""Kills a tiny run again and again, at random moments or at chosen ones, and looks at what it left each time.

    python tests/training/kills.py --random=60 --aimed=30 [--seed=0]

Prints what happened as JSON. The runs are those of `toy_run`, in a folder with lock, configuration, dial and report.
"""

import argparse
import collections
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import toy_run
from test_same_run import CONFIG

from smarttrim_jax.configuration import build
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.file_digests import DIGESTS, check_digest, read_digests
from smarttrim_jax.small_files import MOST_BYTES, read_json
from smarttrim_jax.training import checkpoints as checkpoints_module
from smarttrim_jax.training import run_lock
from smarttrim_jax.training.checkpoint_reading import restore, saved_steps
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.digests import summarize
from smarttrim_jax.training.preemption import leaving_on_sigterm
from smarttrim_jax.training.run_lock import locked
from smarttrim_jax.training.workdir import Workdir
from smarttrim_jax.trimming.calibration import SpeedDial

EVERY, TOTAL = toy_run.EVERY, 40
SMALL_FILES = ("config.json", "speed_dial.json", "report.json", DIGESTS)
# What is killed at: a function, the end of its first argument's name (or of its second's, for a rename), and whether
# before or after it ran.
REPLACED = ("config.json", "metrics.jsonl", "files.json", "run.lock", "speed_dial.json", "report.json", DIGESTS)
POINTS = [f"replace {name} {when}" for name in REPLACED for when in ("before", "after")]
POINTS += [f"unlink run.lock {when}" for when in ("before", "after")]
POINTS += [f"list_files  {when}" for when in ("before", "after")]
POINTS += ["dump  before", "dump  after"]
POINTS += [f"unlink {number} deleted" for number in (1, 2, 5, 9, 14)]


def train(folder: pathlib.Path) -> None:
    """The run, to its end."""
    run_lock.RENEWED_EVERY = 0.1
    workdir = Workdir(str(folder))
    workdir.create()
    with leaving_on_sigterm(), locked(workdir.path) as check_lock:
        workdir.check_same_run(CONFIG)
        say("held")
        workdir.claim(CONFIG)
        made = functools.partial(Checkpoints, before_save=check_lock)
        batches = toy_run.Batches(lambda step: (say(f"step {step}"), time.sleep(0.03))[0])
        toy_run.run(folder, total=TOTAL, batches=batches, checkpoints_class=made)  # type: ignore[arg-type]
        workdir.write_dial(SpeedDial((-1.0, 1.0), (0.5, 1.0)))
        workdir.write_report({"accuracy": 1.0})
        say("reported")


def say(line: str) -> None:
    """Tells the killer."""
    os.write(1, f"{line}\n".encode())


def aim(point: str, occurrence: int) -> None:
    """Kills this process when it passes a point for the so-manieth time."""
    function, name, when = point.split(" ")
    left = [occurrence]

    def passed() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(original: Callable[..., Any], matches: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **settings: Any) -> Any:
            hit = matches(*arguments, **settings)
            if hit and when == "before":
                passed()
            result = original(*arguments, **settings)
            if hit and when != "before":
                passed()
            return result

        return wrapped

    if when == "deleted":
        left[0] = int(name) + (occurrence - 1) * 20
        # Folders are deleted file by file, relative to their descriptor.
        os.unlink = wrap(os.unlink, lambda path, *, dir_fd=None: dir_fd is not None)
    elif function == "unlink":
        os.unlink = wrap(os.unlink, lambda path, *, dir_fd=None: os.fspath(path).endswith(name))
        os.remove = wrap(os.remove, lambda path, *, dir_fd=None: os.fspath(path).endswith(name))
    elif function == "replace":
        os.replace = wrap(os.replace, lambda source, target: os.fspath(target).endswith(name))
    elif function == "list_files":
        checkpoints_module.list_files = wrap(checkpoints_module.list_files, lambda folder: True)
    else:
        run_lock.json.dump = wrap(json.dump, lambda content, file: True)


class Child:
    """A function in a process of its own, forked from this one, which has imported all that is slow to import.

    This process itself never starts JAX, whose threads would not survive a fork.
    """

    def __init__(self, function: Callable[[], object], errors: pathlib.Path) -> None:
        self._errors = errors
        reading, writing = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.dup2(writing, 1)
            os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            status = 1
            try:
                function()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(writing)
        self._said = os.fdopen(reading)

    def line(self) -> str:
        """The next line that it says; "" at its end."""
        return self._said.readline().strip()

    def end(self) -> tuple[bool, list[str]]:
        """Waits for its end: whether it was killed, and what else it said."""
        said = self._said.read().splitlines()
        _, status = os.waitpid(self.process, 0)
        self._said.close()
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), (code, self._errors.read_text()[-3000:])
        return code != 0, said


def look_at(folder: pathlib.Path) -> None:
    """Makes sure that nothing which a kill left is half a file or a bad checkpoint, and says the state's digests."""
    for name in SMALL_FILES:
        if (folder / name).exists():
            read_json(folder / name, "")
    if (folder / "config.json").exists():
        assert build(ExperimentConfig, read_json(folder / "config.json", "")) == CONFIG
    state = restore(folder / "checkpoints", params_only=False) if saved_steps(folder / "checkpoints") else {}
    say(json.dumps({name: summary.digest for name, summary in summarize(state).items()}))


class Killer:
    """Kills runs and keeps count.

    Args:
        root: Folder for the runs.
        draw: Random numbers.
    """

    def __init__(self, root: pathlib.Path, draw: random.Random) -> None:
        self._root = root
        self._draw = draw
        self.counts: collections.Counter[str] = collections.Counter()
        self.lost: list[int] = []
        self.waits: list[float] = []
        self._reached: dict[pathlib.Path, int] = {}
        quiet = root / "quiet"
        began = time.monotonic()
        self._run(lambda: train(quiet))
        self._seconds = time.monotonic() - began
        self._expected = self._look(quiet)

    def at_random(self, kills: int) -> None:
        """Kills runs at random moments of their lives, up to so many times."""
        while self.counts["at random"] < kills:
            folder = self._root / f"random-{self.counts['at random']}"
            for _ in range(min(8, kills - self.counts["at random"])):
                after = self._draw.uniform(0, 0.8 * self._seconds)
                killed = self._run(lambda: train(folder), folder, after)  # noqa: B023 (called in this turn)
                self.counts["at random"] += killed
                if not killed:
                    break
            self._end(folder)

    def at_points(self, kills: int) -> None:
        """Kills runs at chosen points, one after the other, up to so many times."""
        for number in range(kills):
            point = POINTS[number % len(POINTS)]
            folder = self._root / f"aimed-{number}"
            occurrence = self._draw.choice((1, 1, 2))

            def aimed() -> None:
                aim(point, occurrence)  # noqa: B023 (called in this turn)
                train(folder)  # noqa: B023

            # A second start passes points that the first does not, and more often.
            killed = sum([self._run(aimed, folder) for _ in range(2)]) > 0
            self.counts["aimed"] += killed
            if not killed:
                self.counts[f"not passed: {point}"] += 1
            self._end(folder)

    def report(self) -> None:
        """Prints what happened so far."""
        figures = {
            "starts": len(self.waits),
            "starts that went on": len(self.lost),
            "most steps lost": max(self.lost, default=0),
            "lost more than an interval": sorted(lost for lost in self.lost if lost > EVERY),
            "longest wait for the lock": round(max(self.waits), 1),
        }
        print(json.dumps({**self.counts, **figures}), flush=True)

    def _run(
        self, function: Callable[[], None], folder: pathlib.Path | None = None, after: float | None = None
    ) -> bool:
        """Whether a run was killed; what it left is looked at."""
        began = time.monotonic()
        child = Child(function, self._root / "errors.txt")
        first = child.line()
        self.waits.append(time.monotonic() - began)
        if after is not None:
            time.sleep(after)
            os.kill(child.process, signal.SIGKILL)
        killed, said = child.end()
        if folder is not None:
            steps = [int(line.split()[1]) for line in (first, *said) if line.startswith("step ")]
            reached = self._reached.get(folder, 0)
            if steps:
                self.lost.append(max(0, reached - 1 - (steps[0] - 1)))  # a step is announced when it begins
                self._reached[folder] = max(reached, *steps)
            self._look(folder)
        return killed

    def _look(self, folder: pathlib.Path) -> dict[str, str]:
        child = Child(lambda: look_at(folder), self._root / "errors.txt")
        _, said = child.end()
        return json.loads(said[-1])

    def _end(self, folder: pathlib.Path) -> None:
        """Lets a run end, and compares it with one that nobody disturbed."""
        assert not self._run(lambda: train(folder), folder)
        assert self._look(folder) == self._expected
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(1, TOTAL + 1)), steps
        left = {entry.name for entry in folder.iterdir()} - {"metrics.jsonl.damaged"}
        assert left == {"checkpoints", "metrics.jsonl", *SMALL_FILES}, left
        for name, digest in read_digests(folder, "").items():
            check_digest(folder / name, digest, MOST_BYTES, "")
        assert sorted(os.listdir(folder / "checkpoints")) == [str(TOTAL - EVERY), str(TOTAL)]
        shutil.rmtree(folder)
        self._reached.pop(folder, None)  # its name may come again


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--random", type=int, default=60)
    parser.add_argument("--aimed", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp())
    try:
        killer = Killer(root, random.Random(flags.seed))
        killer.at_random(flags.random)
        killer.report()
        killer.at_points(flags.aimed)
        killer.report()
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
