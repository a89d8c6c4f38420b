"""SNLI-VE (Xie et al. 2019): does a photograph entail a sentence, contradict it, or neither?"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

from smarttrim_jax.data.builders.official import OfficialFiles
from smarttrim_jax.data.builders.rows import good_rows, is_file_name, read_lines
from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.data.submissions import snli_ve_results
from smarttrim_jax.errors import quoted

ANSWERS = ("contradiction", "neutral", "entailment")
NO_LABEL = "-"
"""Label of a row on which the people who judged it did not agree."""
FILES = {"train": "train", "calibration": "dev", "test": "test"}
KEYS = ("pairID", "Flickr30K_ID", "sentence2", "gold_label")

Row = dict[str, Any]


def _list_file(name: str) -> str:
    return f"snli_ve_{name}.jsonl"


class SNLIVE(OfficialFiles):
    """SNLI-VE from its official files: github.com/necla-ml/SNLI-VE, and the photographs of Flickr30k.

        snli_ve_train.jsonl, snli_ve_dev.jsonl, snli_ve_test.jsonl
        flickr30k-images/1000092795.jpg ...    as the archive of Flickr30k holds them (METER: Flickr30K/images)

    | split | images | examples | which |
    |---|---|---|---|
    | train | 29,783 | 529,527 | train |
    | calibration | 1,000 | 17,858 | dev |
    | test | 1,000 | 17,901 | test |

    The text is the hypothesis, `sentence2`; the caption that it was written for is not shown. Answers are in METER's
    order (`write_snli.py`). Rows without a label ("-") are left out, as the authors' own generator does, and their
    number is printed.

    Preparation takes about ten minutes on two cores, 3 GB of memory, and the size of the images on disk, about 4.4
    GB. The repository is under a BSD licence; the photographs may be used for research and education only.
    """

    title = "SNLI-VE"
    submission = staticmethod(snli_ve_results)
    page = "github.com/necla-ml/SNLI-VE"
    roots = (*map(_list_file, FILES.values()), "flickr30k-images")

    def answers(self) -> tuple[str, ...]:
        """Names the classes: contradiction, neutral and entailment."""
        return ANSWERS

    def lists(self) -> list[str]:
        """Names the lists of the splits; see `OfficialFiles.lists`."""
        return list(map(_list_file, FILES.values()))

    def records(self, split: str) -> Iterator[Record]:
        """Yields the records of a split; see the class.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with one image and an answer, whose metadata holds the `pairID`.
        """
        for row in self._rows(FILES[split]):
            image = self.image(f"flickr30k-images/{row['Flickr30K_ID']}.jpg")
            metadata = {"pairID": row["pairID"]}
            yield Record(row["pairID"], [image], row["sentence2"], row["gold_label"], metadata=metadata)

    @functools.cached_property
    def _rows(self) -> Callable[[str], list[Row]]:
        """Function that reads the labelled rows of an official split, once."""
        return functools.cache(self._read_rows)

    def _read_rows(self, name: str) -> list[Row]:
        file = _list_file(name)
        rows = good_rows(self._faults, file, read_lines(self.file(file)), _problem, "pairID")
        labelled = [{key: row[key] for key in KEYS} for row in rows if row["gold_label"] != NO_LABEL]
        if len(labelled) < len(rows):
            missing = len(rows) - len(labelled)
            print(f"{self.title}: {missing:,} of {len(rows):,} rows of '{file}' have no label; left out", flush=True)
        return labelled


def _problem(row: Any) -> str:
    """Describes what is wrong with a row; "" if nothing is."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    if not is_text(row.get("pairID")):
        return "its pairID is no text"
    if not is_file_name(row.get("Flickr30K_ID")):
        return f"its Flickr30K_ID is {quoted(row.get('Flickr30K_ID'))}, no name of an image"
    if not is_text(row.get("sentence2")):
        return "its sentence2 is no text"
    label = row.get("gold_label")
    if label not in (*ANSWERS, NO_LABEL):
        return f"its gold_label is {quoted(label)}, not {', '.join(ANSWERS)} or {NO_LABEL}"
    return ""
