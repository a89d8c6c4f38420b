"""Asks thousands of questions of a trained model in one file with faults, kills `predict` on the way, and measures.

    python tests/serving/long_file.py --run=runs/quick [--questions=20000] [--kills=2] [--seed=0]

The same questions are asked twice: as they are, without a kill; then with missing pictures and bad lines, and kills.
Prints as JSON whether every line has its answer, in order, how much longer the second took, and memory on the way.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from PIL import Image

PICTURES = 400
MISSING, BAD = 0.15, 0.01
BAD_LINES = ("{", "[1, 2]", '{"text": "no image"}', '{"image": 7, "text": "?"}', "\x00\x01", '{"image": "a.png"}')
TEXTS = ("what shape is in the image?", "is there a red shape?", "what color is the shape?", "is there no circle?")


def write_questions(folder: pathlib.Path, count: int, draw: random.Random) -> tuple[list[str], list[str]]:
    """Lines without faults, and the same lines with them."""
    numbers = np.random.default_rng(draw.randrange(2**32))
    for number in range(PICTURES):
        pixels = np.full((64, 64, 3), numbers.integers(0, 256, 3), np.uint8)
        left, top = numbers.integers(0, 40, 2)
        pixels[top : top + 20, left : left + 20] = numbers.integers(0, 256, 3)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    good, faulty = [], []
    for number in range(count):
        line = {"image": str(folder / f"{draw.randrange(PICTURES)}.png"), "text": draw.choice(TEXTS), "id": number}
        good.append(json.dumps(line))
        chance = draw.random()
        if chance < BAD:
            faulty.append(draw.choice(BAD_LINES))
        elif chance < BAD + MISSING:
            faulty.append(json.dumps(line | {"image": str(folder / f"missing-{number}.png")}))
        else:
            faulty.append(good[-1])
    return good, faulty


class Predict:
    """A `predict` in a process of its own, whose memory is looked at while it works."""

    def __init__(self, run: str, asked: pathlib.Path, output: pathlib.Path) -> None:
        self._output = output
        flags = [f"--workdir={run}", f"--input={asked}", f"--output={output}"]
        self._errors = open(f"{output}.stderr", "ab")  # noqa: SIM115
        self._process = subprocess.Popen([sys.executable, "-m", "smarttrim_jax.predict", *flags], stderr=self._errors)
        self.memory: list[tuple[int, int]] = []  # (answers written, MB)

    def wait(self, kill_at: int | None = None) -> float:
        """Waits for its end, or kills it once so many answers are written; the seconds it took."""
        began = looked = time.monotonic()
        while self._process.poll() is None:
            time.sleep(0.05)
            written = self._written()
            if time.monotonic() - looked > 1:
                looked = time.monotonic()
                self.memory.append((written, self._megabytes()))
            if kill_at is not None and written >= kill_at:
                self._process.kill()
                self._process.wait()
        self._errors.close()
        return time.monotonic() - began

    def _written(self) -> int:
        if not self._output.exists():
            return 0
        with open(self._output, "rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

    def _megabytes(self) -> int:
        try:
            status = pathlib.Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0)


def compare(asked: list[str], good: list[Any], got: list[Any]) -> dict[str, int]:
    """Counts of lines: answered as without faults, failed where there is a fault, and anything else."""
    counts = {"same answer": 0, "failed where faulty": 0, "wrong": abs(len(asked) - len(got))}
    for number, (line, expected, answer) in enumerate(zip(asked, good, got, strict=False)):
        clean = '"id"' in line and "missing-" not in line
        if clean and answer.get("id") == number and answer.get("answer") == expected["answer"]:
            counts["same answer"] += 1
        elif not clean and "error" in answer and "answer" not in answer and answer.get("id", number) == number:
            counts["failed where faulty"] += 1
        else:
            counts["wrong"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, count = random.Random(arguments.seed), arguments.questions

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        good, faulty = write_questions(folder, count, draw)
        read: dict[str, Any] = {}
        seconds: dict[str, list[float]] = {}
        memory: list[tuple[int, int]] = []
        kills = sorted(draw.sample(range(count // 10, count), arguments.kills))
        for kind, lines in {"good": good, "faulty": faulty}.items():
            asked, output = folder / f"{kind}.jsonl", folder / f"{kind}-answers.jsonl"
            asked.write_text("\n".join(lines) + "\n")
            stops = [None] if kind == "good" else [*kills, None]
            seconds[kind] = []
            for stop in stops:
                predict = Predict(arguments.run, asked, output)
                seconds[kind].append(round(predict.wait(stop), 1))
                memory = predict.memory if len(predict.memory) > len(memory) else memory
            read[kind] = [json.loads(line) for line in output.read_text().splitlines()]

    quarters = [memory[len(memory) * part // 4] for part in range(1, 4)] + memory[-1:]
    result = {
        **compare(faulty, read["good"], read["faulty"]),
        "killed after": kills,
        "seconds of each start": seconds,
        "times as long": round(sum(seconds["faulty"]) / sum(seconds["good"]), 3),
        "MB after answers": dict(quarters),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
