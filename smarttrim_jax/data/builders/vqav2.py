"""VQA v2 (Goyal et al. 2017): questions about COCO's photographs, each answered by ten people."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.builders.official import CALIBRATION_PERIOD, OfficialFiles
from smarttrim_jax.data.builders.rows import read_list
from smarttrim_jax.data.builders.vqa_files import (
    Question,
    VisualGenomeQuestion,
    read_questions,
    read_visual_genome,
    with_annotations,
)
from smarttrim_jax.data.builders.vqa_rules import (
    VISUAL_GENOME_WEIGHT,
    frequent_answers,
    named,
    shares,
    soft_scores,
)
from smarttrim_jax.data.schema import Record
from smarttrim_jax.data.submissions import vqa_results
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.vqa_answers import stripped_answer

YEARS = {"train": "train2014", "val": "val2014", "test-dev": "test-dev2015", "test": "test2015"}
"""What an official split is called in names of files."""
ANNOTATED = ("train", "val")
CANDIDATES = "answer_list.json"
VISUAL_GENOME = "vg_qa.json"


def _questions_file(split: str) -> str:
    return f"v2_OpenEnded_mscoco_{YEARS[split]}_questions.json"


def _annotations_file(split: str) -> str:
    return f"v2_mscoco_{YEARS[split]}_annotations.json"


@dataclasses.dataclass(frozen=True)
class VQAv2Options(Settings):
    """What may be chosen of VQA v2.

    Attributes:
        rule: Which answers count: "meter" or "blip".
        train: What is trained on, less calibration: "train" or "train+val".
        test: What is evaluated: "val", whose answers are published; "test-dev" or "test", whose answers are secret.
        visual_genome: Whether Visual Genome's questions are trained on too, as BLIP does.

    Raises:
        ConfigError: What is evaluated would be trained on, or METER is given Visual Genome.
    """

    rule: Literal["meter", "blip"] = "meter"
    train: Literal["train", "train+val"] = "train"
    test: Literal["val", "test-dev", "test"] = "val"
    visual_genome: bool = False

    def check(self) -> None:
        """Makes sure that the fields fit together; see `Settings.check`."""
        if self.train == "train+val" and self.test == "val":
            raise ConfigError("train is 'train+val', so 'val' is no test; choose test=test-dev or test=test")
        if self.visual_genome and self.rule != "blip":
            raise ConfigError(f"visual_genome needs rule=blip; rule is '{self.rule}'")


class VQAv2(OfficialFiles):
    """VQA v2 from its official files: visualqa.org, "Download", balanced real images; cocodataset.org, images.

        v2_OpenEnded_mscoco_train2014_questions.json      v2_mscoco_train2014_annotations.json
        v2_OpenEnded_mscoco_val2014_questions.json        v2_mscoco_val2014_annotations.json
        v2_OpenEnded_mscoco_test-dev2015_questions.json   for test=test-dev; of test, v2_OpenEnded_mscoco_test2015_...
        train2014/COCO_train2014_000000000009.jpg ...     val2014/ and test2015/ likewise
        answer_list.json                                  may be there for rule=blip: BLIP's candidates
        vg_qa.json, image/...                             for visual_genome: BLIP's list and Visual Genome's images

    | split | questions | which |
    |---|---|---|
    | train | 443,757, less calibration and those without a known answer | train, or train and val (658,111) |
    | calibration | about 2 % of the images that are trained on, by a hash of the image's number | |
    | test | 214,354; 107,394; 447,793 | val; test-dev; test |

    - rule=meter (`write_vqa.py`): 3,129 answers, those whose normal form is the commonest answer to at least nine
      questions of train and val, whatever is trained on, in the order in which they occur. Answers count .3, .6, .9
      or 1, by how many of ten people gave them. The empty answer among them is called "a".
    - rule=blip (`vqa_dataset.py`): answers count by the share of people who gave them. Answers to choose from are
      those of `answer_list.json`, by default METER's without the empty one, which is how its authors say that they
      made the file. BLIP also learns to write other answers; here, all that is learnt can be chosen.

    Training questions without a known answer are left out, as METER does; how many is printed. All questions are
    tested, also those that METER leaves out of val, since the official evaluation counts them. An annotation is
    needed of every question and the other way round; the official code stops without one.

    Visual Genome shares photographs with COCO, under other numbers, so some of calibration may be trained on there.

    Preparation takes about half an hour on two cores, 3 GB of memory, and the size of the chosen images on disk:
    about 13 GB for train2014, 6 GB for val2014, 12 GB for test2015, 15 GB for Visual Genome. Terms of use of the
    questions and answers are at visualqa.org; the photographs are those of Flickr's users, under Flickr's terms.
    """

    title = "VQA v2"
    submission = staticmethod(vqa_results)
    page = "visualqa.org"
    roots = (
        *map(_questions_file, YEARS),
        *map(_annotations_file, ANNOTATED),
        *("train2014", "val2014", "test2015"),
        *(CANDIDATES, VISUAL_GENOME, "image"),
    )
    Options = VQAv2Options

    def answers(self) -> list[str]:
        """Names the answers to choose from; see the class for the rules."""
        return list(map(named, self._known))

    def lists(self) -> list[str]:
        """Names the lists of the splits; see `OfficialFiles.lists`."""
        splits = dict.fromkeys([*ANNOTATED, self.options.test])
        return [*map(_questions_file, splits), *map(_annotations_file, ANNOTATED)]

    def records(self, split: str) -> Iterator[Record]:
        """Yields the records of a split; see the class.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with weighted answers, whose metadata holds `question_id`, `question_type`, `answer_type` and, in
            test, `human_answers`: what every person answered. Answers that are secret are empty.
        """
        if split == "test":
            for question in self._questions(self.options.test):
                yield self._record(question, self.options.test, is_test=True)
            return
        for raw_split, questions in self._trained_on.items():
            for question in questions:
                if is_held_out(str(question.image), CALIBRATION_PERIOD) == (split == "calibration"):
                    yield self._record(question, raw_split)
        if split == "train":
            for number, extra in self._visual_genome.items():
                yield self._visual_genome_record(number, extra)

    @functools.cached_property
    def _known(self) -> dict[str, None]:
        """The answers to choose from, as they are in the files, in their order."""
        if self.options.rule == "blip":
            content = self.read(CANDIDATES) if self.source else None
            if content is not None:
                return dict.fromkeys(_candidates(content))
        commonest = (
            question.annotation.commonest
            for split in ANNOTATED
            for question in self._questions(split)
            if question.annotation is not None
        )
        known = dict.fromkeys(frequent_answers(commonest))
        if self.options.rule == "blip":
            known.pop("", None)
        return known

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.answers())

    @functools.cached_property
    def _trained_on(self) -> dict[str, list[Question]]:
        """The questions of train and calibration by official split: those with a known answer."""
        splits = self.options.train.split("+")
        chosen = {split: [each for each in self._questions(split) if self._is_known(each)] for split in splits}
        self._tell_left_out("questions", sum(map(len, map(self._questions, splits))), sum(map(len, chosen.values())))
        return chosen

    @functools.cached_property
    def _visual_genome(self) -> dict[int, VisualGenomeQuestion]:
        """Visual Genome's questions with a known answer, by the number of their row."""
        if not self.options.visual_genome:
            return {}
        rows = read_visual_genome(self._faults, self.file(VISUAL_GENOME), VISUAL_GENOME)
        chosen = {number: row for number, row in enumerate(rows, 1) if stripped_answer(row.answer) in self._names}
        self._tell_left_out("questions of Visual Genome", len(rows), len(chosen))
        return chosen

    @functools.cached_property
    def _questions(self) -> Callable[[str], list[Question]]:
        """Function that reads the questions of an official split, once."""
        return functools.cache(self._read_questions)

    def _read_questions(self, split: str) -> list[Question]:
        file = _questions_file(split)
        questions = read_questions(self._faults, self.file(file), file)
        if split not in ANNOTATED:
            return questions
        annotations = _annotations_file(split)
        return with_annotations(self._faults, questions, file, self.file(annotations), annotations)

    def _weights(self, question: Question) -> dict[str, float]:
        if question.annotation is None:
            return {}
        given = question.annotation.answers
        return shares(given) if self.options.rule == "blip" else soft_scores(given, self._known)

    def _is_known(self, question: Question) -> bool:
        """Whether a question has an answer that can be learnt."""
        return not self._names.isdisjoint(self._weights(question))

    def _record(self, question: Question, split: str, is_test: bool = False) -> Record:
        metadata: dict[str, Any] = {"question_id": question.number}
        if question.annotation is not None:
            metadata["question_type"] = question.annotation.question_type
            metadata["answer_type"] = question.annotation.answer_type
            if is_test:
                metadata["human_answers"] = list(question.annotation.answers)
        folder = YEARS[split].replace("test-dev", "test")
        image = self.image(f"{folder}/COCO_{folder}_{question.image:012}.jpg")
        return Record(
            str(question.number), [image], question.text, answers=self._weights(question), metadata=metadata
        )

    def _visual_genome_record(self, number: int, row: VisualGenomeQuestion) -> Record:
        answers = {stripped_answer(row.answer): VISUAL_GENOME_WEIGHT}
        return Record(f"vg-{number}", [self.image(row.image)], row.text, answers=answers)

    def _tell_left_out(self, what: str, before: int, after: int) -> None:
        if after < before:
            print(
                f"{self.title}: {before - after:,} of {before:,} {what} are not trained on, since none of their "
                f"answers is one of the {len(self._known):,} to choose from",
                flush=True,
            )


def _candidates(content: bytes) -> list[str]:
    """Reads BLIP's list of candidates."""
    names = read_list(content, CANDIDATES)
    if not names or not all(isinstance(name, str) and name.strip() == name != "" for name in names):
        raise DataError(f"'{CANDIDATES}' is damaged: it is no list of answers; fetch it again")
    return names
