"""Search of a folder of images by texts: an index of features, and the best candidates judged beside the text."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics import METRICS
from smarttrim_jax.metrics.reranking import RerankedRecall
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.serving.comparing import Comparing, EncodedText
from smarttrim_jax.serving.index_file import IndexFile, check_index_name
from smarttrim_jax.serving.questions import QuestionReader, listed
from smarttrim_jax.tasks import Task
from smarttrim_jax.trimming.gates import Trim


@dataclasses.dataclass(frozen=True)
class Found:
    """An image that was found by a text.

    Attributes:
        text: The text.
        rank: Place among the images found by this text, from 1.
        image: Path of the image.
        score: What the images are sorted by: `similarity`, plus the logit of the matching head where candidates are
            judged.
        similarity: Inner product of the features of image and text, -1 to 1.
        text_cut: Whether the text has more words or tokens than the model reads, so that its end was ignored.
    """

    text: str
    rank: int
    image: str
    score: float
    similarity: float
    text_cut: bool


class ImageIndex:
    """The features of all images of a folder; `TrainedModel.index` builds it.

    Args:
        folder: The folder.
        content: The images with their features.
        unreadable: Why images could not be read, by their names; they are in no result.
        comparing: The model's programs.
        trim: How the trimmers decided; None for full capacity.
        reader: Prepares images and texts.
        candidates: Number of images judged beside each text, unless a search asks for another.
        batch_size: Number of images computed at a time.

    Attributes:
        folder: The folder.
        unreadable: Why images could not be read, by their names.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        content: IndexFile,
        unreadable: Mapping[str, str],
        comparing: Comparing,
        trim: Trim | None,
        reader: QuestionReader,
        candidates: int,
        batch_size: int,
    ):
        self.folder = folder
        self.unreadable = unreadable
        self._content = content
        self._comparing = comparing
        self._trim = trim
        self._reader = reader
        self._candidates = candidates
        self._batch_size = batch_size

    def __len__(self) -> int:
        """The number of images."""
        return len(self._content.images)

    def save(self, path: str) -> None:
        """Writes the index as a whole; `TrainedModel.index` opens it again.

        Args:
            path: File to write, which ends in `.safetensors`; an earlier index is replaced.

        Raises:
            DataError: The file cannot be written.
        """
        check_index_name(path)
        self._content.write(path)

    def search(self, texts: str | Sequence[str], top: int = 5, *, candidates: int | None = None) -> list[Found]:
        """Finds the images that fit texts best.

        The images of the most similar features are encoded again and judged beside the text by the matching head, as
        in the official evaluation of BLIP; see `metrics.reranking`.

        Args:
            texts: One text, or several.
            top: Number of images found by each text; all if there are fewer.
            candidates: Number of images that are judged, at least `top` of them; 0 judges none and sorts by the
                features alone, which is far faster. None takes the number of the model's evaluation.

        Returns:
            The images found by the first text, best first, then those found by the second, and so on.

        Raises:
            ConfigError: `top` is not positive, or `candidates` is negative.
            DataError: `texts` is no text and no list of texts, a text is empty or not a string, or an image that must
                be judged is gone.
        """
        if not top >= 1:
            raise ConfigError(f"top is {top}; it must be at least 1")
        wanted = self._candidates if candidates is None else candidates
        if not wanted >= 0:
            raise ConfigError(f"candidates is {wanted}; it must be at least 0")
        asked = listed(texts)
        if not asked:
            return []
        encoded = [self._reader.encode(text) for text in asked]
        read = [EncodedText(ids, mask) for ids, mask, _ in encoded]
        similarities = self._comparing.encode_texts(read, self._batch_size, self._trim)
        similarities = similarities @ self._content.features.T
        judged = min(max(wanted, top), len(self)) if wanted else 0
        scores = self._judge(read, similarities, judged) if judged else similarities
        found = []
        for text, (_, _, is_cut), row, similarity in zip(asked, encoded, scores, similarities, strict=True):
            # A stable sort: images of equal scores stay in the order of their names.
            for rank, number in enumerate(np.argsort(-row, kind="stable")[:top], 1):
                image = str(self.folder / self._content.images[number].name)
                found.append(Found(text, rank, image, float(row[number]), float(similarity[number]), is_cut))
        return found

    def _judge(self, texts: Sequence[EncodedText], similarities: np.ndarray, judged: int) -> np.ndarray:
        """Scores of the most similar images of each text, `[texts, images]`; -inf for all others."""
        is_candidate = np.zeros(similarities.shape, bool)
        best = np.argsort(-similarities, axis=1, kind="stable")[:, :judged]
        np.put_along_axis(is_candidate, best, True, axis=1)
        scores = np.full(similarities.shape, -np.inf, np.float32)
        numbers = np.flatnonzero(is_candidate.any(axis=0))
        size = min(self._batch_size, len(numbers))
        with ProgressLine("judging", len(numbers), "images") as progress:
            for some in np.split(numbers, range(size, len(numbers), size)):
                paths = (self.folder / self._content.images[number].name for number in some)
                pixels = [self._reader.pixels([path]) for path in paths]
                images = self._comparing.encode_images(pixels, size, self._trim)
                for row, text in enumerate(texts):
                    mine = is_candidate[row, some]
                    if mine.any():
                        logits = self._comparing.match(images, text, self._trim)[: len(some)]
                        scores[row, some[mine]] = logits[mine] + similarities[row, some[mine]]
                progress.advance(len(some))
        return scores


def candidates_of(task: Task) -> int:
    """Looks up how many images the evaluation of a task judges beside each text.

    Args:
        task: The task.

    Returns:
        The number of the configured metric, such as `reranked_recall_128`; BLIP's 256 for COCO if there is none.
    """
    metrics = [METRICS.find(name) for name in task.metric_names if name in METRICS]
    numbers = [getattr(metric, "candidates", 0) for metric in metrics]
    return max(numbers, default=0) or RerankedRecall.candidates
