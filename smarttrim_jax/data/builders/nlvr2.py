"""NLVR2 (Suhr et al. 2019): is a sentence true of two photographs?"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.builders.official import CALIBRATION_PERIOD, OfficialFiles
from smarttrim_jax.data.builders.rows import good_rows, is_file_name, read_lines
from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.data.submissions import nlvr2_results
from smarttrim_jax.errors import quoted

ANSWERS = ("False", "True")
PARTS = 4
"""An identifier is split-set-pair-sentence, as "test1-366-0-1"."""

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class NLVR2Options(Settings):
    """What may be chosen of NLVR2.

    Attributes:
        test: What is evaluated: "test1", the public test set, "test2", or "dev".
    """

    test: Literal["test1", "test2", "dev"] = "test1"


class NLVR2(OfficialFiles):
    """NLVR2 from its official files: github.com/lil-lab/nlvr, and images that its authors send on request.

        nlvr2/data/train.json, dev.json, test1.json    the repository's folder `nlvr2`; test2.json for test=test2
        images/train/0/train-10108-0-img0.png ...      in the folder that a row of train.json names
        dev/dev-0-0-img0.png ...                       likewise test1/ and test2/

    | split | examples | which |
    |---|---|---|
    | train | 86,373 | train; less calibration with test=dev |
    | calibration | 6,982 | dev; with test=dev, about 2 % of the sets of train, by a hash of the set's number |
    | test | 6,967; 6,970; 6,982 | test1; test2; dev |

    A record has the left and the right image, the sentence, and the answer "False" or "True" (number 1). A row
    without a label is refused, since METER's code stops at it too. Photographs of a set, about which
    sentences were written together, stay on one side, as the authors advise.

    Preparation takes about half an hour on two cores, and the size of the images on disk, about 20 GB. The sentences
    are published under CC BY 4.0; the photographs are those of others, and given for research only.
    """

    title = "NLVR2"
    submission = staticmethod(nlvr2_results)
    page = "github.com/lil-lab/nlvr"
    roots = ("nlvr2", "images", "dev", "test1", "test2")
    Options = NLVR2Options

    def answers(self) -> tuple[str, ...]:
        """Names the classes: False and True."""
        return ANSWERS

    def lists(self) -> list[str]:
        """Names the lists of the splits; see `OfficialFiles.lists`."""
        return [_list_file(split) for split in ("train", "dev", self.options.test)]

    def records(self, split: str) -> Iterator[Record]:
        """Yields the records of a split; see the class.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with two images and an answer. Those of the same sentence, which is about up to four pairs, have
            the same `group` in their metadata.
        """
        for row in self._of_split(split):
            raw_split, number, pair, sentence = row["identifier"].split("-")
            folder = f"images/train/{row['directory']}" if raw_split == "train" else raw_split
            images = [self.image(f"{folder}/{raw_split}-{number}-{pair}-img{side}.png") for side in (0, 1)]
            metadata = {"group": f"{raw_split}-{number}-{sentence}"}
            yield Record(row["identifier"], images, row["sentence"], row["label"], metadata=metadata)

    def _of_split(self, split: str) -> Iterator[Row]:
        if split == "test":
            yield from self._rows(self.options.test)
        elif self.options.test != "dev":
            yield from self._rows("train" if split == "train" else "dev")
        else:
            for row in self._rows("train"):
                is_calibration = is_held_out(row["identifier"].split("-")[1], CALIBRATION_PERIOD)
                if is_calibration == (split == "calibration"):
                    yield row

    @functools.cached_property
    def _rows(self) -> Callable[[str], list[Row]]:
        """Function that reads the rows of an official split, once."""
        return functools.cache(self._read_rows)

    def _read_rows(self, split: str) -> list[Row]:
        file = _list_file(split)
        problem = functools.partial(_problem, split=split)
        rows = good_rows(self._faults, file, read_lines(self.file(file)), problem, "identifier")
        keys = ("identifier", "sentence", "label", *(["directory"] if split == "train" else []))
        return [{key: row[key] for key in keys} for row in rows]


def _list_file(split: str) -> str:
    return f"nlvr2/data/{split}.json"


def _problem(row: Any, split: str) -> str:
    """Describes what is wrong with a row of a split; "" if nothing is."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    identifier = row.get("identifier")
    parts = str(identifier).split("-")
    if not is_file_name(identifier) or len(parts) != PARTS or parts[0] != split:
        return f"its identifier is {quoted(identifier)}, not {split}-SET-PAIR-SENTENCE"
    if not is_text(row.get("sentence")):
        return "its sentence is no text"
    if row.get("label") not in ANSWERS:
        return (
            f"its label is {quoted(row['label'])}, not {' or '.join(ANSWERS)}"
            if "label" in row
            else "it has no label"
        )
    directory = row.get("directory")
    if split == "train" and not (is_file_name(str(directory)) and isinstance(directory, str | int)):
        return f"its directory is {quoted(directory)}"
    return ""
