"""Batches for training (endless, shuffled, resumable) and for evaluation (each example once)."""

from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.examples import Example, Examples, collate

# Grain's defaults (16 threads, 500 batches) would hold gigabytes of images.
READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def train_iterator(
    dataset: Dataset, config: DataConfig, rows: np.ndarray | None = None, start: int = 0
) -> grain.DatasetIterator[Example]:
    """Creates endless batches of the train split, in an order that depends on the seed only.

    Batch s, and the position after it, are the same whatever rows of it are read. Every epoch has an order of its
    own.

    Args:
        dataset: Prepared data set; see `data.dataset.prepare`.
        config: Settings of the data; gives seed, augmentation and the global batch size B.
        rows: Rows of every batch, in 0..B-1, that are read here; None reads all.
        start: Number of the first batch; earlier batches are not read.

    Returns:
        An iterator with `get_state` and `set_state`, exact to the batch, over dicts of NumPy arrays with b =
        len(rows):

        - `image` uint8 `[b, images, size, size, 3]`.
        - `text_ids` and `text_mask` int32 `[b, text_length]`; of records with references one is drawn in every epoch.
        - `label` int32 `[b]`: number of the answer; of weighted answers one is drawn by the weights in every epoch,
          and evaluation has the heaviest; index of the record where it has references. Evaluation also has -1, for
          an answer without a number.
        - `answer_ids` int32 `[b, answers]` and `answer_weights` float32 `[b, answers]`, if answers have weights: the
          heaviest first, filled up with answers of number -1 and weight 0.
        - `weight` float32 `[b]`: 1.
        - `index` int32 `[b]`: position of the record in its split; see `Dataset.ids`.
    """
    examples, size = Examples(dataset, "train", config), config.batch_size
    mine = np.arange(size) if rows is None else rows
    order = grain.MapDataset.range(len(examples)).seed(config.seed).shuffle().repeat()
    loaded = order.random_map(examples.get) if examples.draws else order.map(examples.get)
    steps = grain.MapDataset.range(start, len(loaded) // size)
    batches = steps.map(lambda step: collate([loaded[step * size + int(row)] for row in mine])).to_iter_dataset(READ)
    if config.workers:
        if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which nothing has parsed outside of our commands.
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=config.workers))
    return iter(batches)


class EvalBatches:
    """Batches of a split for evaluation: every example once, in order, the last batch filled up.

    Args:
        examples: Examples of the split.
        count: Number of examples to read.
        size: Global batch size.
        rows: Rows of every batch that this process reads.

    Attributes:
        examples: As given.
    """

    def __init__(self, examples: Examples, count: int, size: int, rows: np.ndarray) -> None:
        padded = np.arange(-(-count // size) * size)
        self.examples = examples
        self._indices = np.where(padded < count, padded, -1).reshape(-1, size)[:, rows]

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Example]:
        batches = grain.MapDataset.source(self._indices).map(self._load)
        return iter(batches.to_iter_dataset(READ))

    def _load(self, indices: np.ndarray) -> Example:
        # Fillers repeat the first example, so that shapes and values stay ordinary.
        batch = collate([self.examples.get(max(int(index), 0)) for index in indices])
        return batch | {"weight": (indices >= 0).astype(np.float32), "index": indices.astype(np.int32)}


def eval_batches(
    dataset: Dataset,
    split: str,
    config: DataConfig,
    rows: np.ndarray | None = None,
    limit: int | None = None,
) -> EvalBatches:
    """Creates batches of a split for evaluation: every example exactly once, never augmented.

    Args:
        dataset: Prepared data set; see `data.dataset.prepare`.
        split: Name of the split: train, calibration or test.
        config: Settings of the data; gives the global batch size B.
        rows: Rows of every batch, in 0..B-1, that are read here; None reads all.
        limit: Only the first `limit` examples (the stored order is already random); None reads all.

    Returns:
        A sized iterable of batches with the arrays of `train_iterator`; the text is the first of several references.
        Fillers of the last batch have weight 0 and index -1.

    Raises:
        DataError: There is no such split.
    """
    examples = Examples(dataset, split, config)
    count = len(examples) if limit is None else min(limit, len(examples))
    return EvalBatches(examples, count, config.batch_size, np.arange(config.batch_size) if rows is None else rows)
