"""Batches for training (endless, shuffled, resumable) and for evaluation (each example once)."""

from collections.abc import Iterator

import grain
import numpy as np
from absl import flags

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.examples import Example, Examples, collate
from smarttrim_jax.errors import ConfigError

# grain's own defaults (16 threads, 500 batches) hold gigabytes of images.
READ = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)


def train_iterator(
    dataset: Dataset, config: DataConfig, process_index: int = 0, process_count: int = 1
) -> grain.DatasetIterator[Example]:
    """Endless batches of the train split, in an order that the seed alone decides.

    The examples of step s are the same whatever the number of processes; each epoch has an order of its own.

    Args:
        dataset: of `prepare`.
        config: gives seed, augmentation and the global batch size B.
        process_index: which share of every batch this process reads.
        process_count: how many processes share a batch.

    Returns:
        An iterator with `get_state` and `set_state`, exact to the batch, over dicts of numpy arrays with
        b = B / process_count: image uint8 [b, images, size, size, 3], text_ids and text_mask int32
        [b, text_length], label int32 [b], weight float32 [b] (all 1).

    Raises:
        ConfigError: the processes cannot share the batch.
    """
    examples = Examples(dataset, "train", config)
    share = _share(config, process_index, process_count)
    order = grain.MapDataset.range(len(examples)).seed(config.seed).shuffle().repeat()
    augmented = config.augment == "clip_randaug"
    loaded = order.random_map(examples.get) if augmented else order.map(examples.get)
    mine = loaded[process_index::process_count].batch(share, batch_fn=collate)
    batches = mine.to_iter_dataset(READ)
    if config.workers:
        if not flags.FLAGS.is_parsed():  # grain reads its flags, also where absl runs no program
            flags.FLAGS.mark_as_parsed()
        batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=config.workers))
    return iter(batches)


class EvalBatches:
    """The batches of a split for evaluation: every example once, in order, the last batch filled up."""

    def __init__(
        self, examples: Examples, indices: np.ndarray, share: int, process_index: int, process_count: int
    ) -> None:
        rounds = -(-len(indices) // (share * process_count))
        padded = np.full(rounds * share * process_count, -1)
        padded[: len(indices)] = indices
        self._examples = examples
        self._indices = padded.reshape(rounds, share, process_count)[..., process_index]

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Example]:
        batches = grain.MapDataset.source(self._indices).map(self._load)
        return iter(batches.to_iter_dataset(READ))

    def _load(self, indices: np.ndarray) -> Example:
        # Filling repeats an example (index 0), so that shapes and values stay ordinary.
        batch = collate([self._examples.get(max(int(index), 0)) for index in indices])
        return batch | {"weight": (indices >= 0).astype(np.float32), "index": indices.astype(np.int32)}


def eval_batches(
    dataset: Dataset,
    split: str,
    config: DataConfig,
    process_index: int = 0,
    process_count: int = 1,
    limit: int | None = None,
) -> EvalBatches:
    """The examples of a split, each exactly once over all processes, never augmented.

    Args:
        dataset: of `prepare`.
        split: train, calibration or test.
        config: gives the global batch size.
        process_index: which share this process reads.
        process_count: how many processes read; all get the same number of batches.
        limit: only the first `limit` examples (the stored order is already random).

    Returns:
        A sized iterable of batches as `train_iterator` gives them, with index int32 [b], the position in the
        split; fillers of the last batch have weight 0 and index -1.

    Raises:
        ConfigError: the processes cannot share the batch.
        DataError: no such split.
    """
    examples = Examples(dataset, split, config)
    count = len(examples) if limit is None else min(limit, len(examples))
    share = _share(config, process_index, process_count)
    return EvalBatches(examples, np.arange(count), share, process_index, process_count)


def _share(config: DataConfig, process_index: int, process_count: int) -> int:
    """Examples of a batch that each process reads."""
    if config.batch_size % process_count:
        raise ConfigError(
            f"batch_size {config.batch_size} is not a multiple of the {process_count} processes that share it"
        )
    if not 0 <= process_index < process_count:
        raise ConfigError(f"process_index is {process_index}; it must lie in 0..{process_count - 1}")
    return config.batch_size // process_count
