"""What stands for a user's own package: a metric that reads texts, and a writer."""

import pathlib
from collections.abc import Mapping
from typing import Any


class Agreement:
    """How many examples there were by their names, and the share whose answer is right, letter by letter."""

    needs = ("id", "metadata")

    def __init__(self) -> None:
        self.right: dict[str, bool] = {}

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        assert targets["metadata"] == [{}] * len(targets["id"])
        for name, answer, target in zip(targets["id"], outputs["answer"], targets["answer"], strict=True):
            self.right[name] = answer == target

    def compute(self) -> dict[str, float]:
        return {"agreement": sum(self.right.values()) / len(self.right), "answers": len(self.right)}


class Captioned:
    """The mean number of words of a written caption, and how many there were."""

    needs = ("caption",)

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        assert len(outputs["caption"]) == len(targets["caption"])
        self.lengths += [len(caption.split()) for caption in outputs["caption"]]

    def compute(self) -> dict[str, float]:
        return {"words": sum(self.lengths) / len(self.lengths), "captions": len(self.lengths)}


class StepList:
    """Writes the number of each step to a file, once."""

    def __init__(self, workdir: Any, start_step: int) -> None:
        self.file = pathlib.Path(workdir) / "steps.txt"
        known = self.file.read_text().split() if self.file.exists() else []
        self.steps = known[:start_step]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.steps.append(str(step))

    def flush(self) -> None:
        self.file.write_text(" ".join(self.steps))

    def close(self) -> None:
        self.flush()
