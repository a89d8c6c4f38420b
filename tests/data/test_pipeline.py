"""Batches: order, shares, resuming, each example once."""

import collections
import dataclasses
import itertools
import json
import types
from collections.abc import Iterable

import numpy as np
import pytest

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.examples import Examples
from smarttrim_jax.data.pipeline import eval_batches, train_iterator
from smarttrim_jax.errors import DataError

Batch = dict[str, np.ndarray]


def take(batches: Iterable[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(batches, count))


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def examples(batches: list[Batch]) -> list[bytes]:
    """The examples in order, by image and text, which tell them apart."""
    return [
        image.tobytes() + ids.tobytes()
        for batch in batches
        for image, ids, weight in zip(batch["image"], batch["text_ids"], batch["weight"], strict=True)
        if weight
    ]


def test_a_batch_has_the_promised_shapes(dataset: Dataset, config: DataConfig) -> None:
    batch = next(train_iterator(dataset, config))
    expected = {
        "image": ((4, 1, 8, 8, 3), np.uint8),
        "text_ids": ((4, 10), np.int32),
        "text_mask": ((4, 10), np.int32),
        "label": ((4,), np.int32),
        "weight": ((4,), np.float32),
        "index": ((4,), np.int32),
    }
    assert {key: (value.shape, value.dtype.type) for key, value in batch.items()} == expected
    assert (batch["weight"] == 1).all()


def test_image_text_and_label_belong_together(dataset: Dataset, config: DataConfig) -> None:
    for batch in take(train_iterator(dataset, config), 20):
        for image, ids, mask, label in zip(
            batch["image"], batch["text_ids"], batch["text_mask"], batch["label"], strict=True
        ):
            assert (image == image.flat[0]).all()
            number = int(image.flat[0])
            written = "".join(dataset.text.tokens(ids)).replace("##", "")
            assert written.startswith(f"[CLS]isshape{number}of")
            question = int(written.split("of")[1][0])
            assert label == (number + question) % 4
            assert (mask == (ids != dataset.text.pad_id)).all()


def test_the_seed_decides_the_order(dataset: Dataset, config: DataConfig) -> None:
    first = take(train_iterator(dataset, config), 30)
    assert_equal(first, take(train_iterator(dataset, config), 30))
    other = take(train_iterator(dataset, dataclasses.replace(config, seed=1)), 30)
    assert examples(first) != examples(other)


def test_an_epoch_has_each_example_once_and_the_next_another_order(dataset: Dataset, config: DataConfig) -> None:
    read = examples(take(train_iterator(dataset, config), 42))  # 168 examples: two epochs of 84
    first, second = read[:84], read[84:]
    assert len(set(first)) == 84
    assert set(first) == set(second)
    assert first != second


@pytest.mark.parametrize("augment", ["none", "clip_randaug", "blip"])
def test_rows_are_those_of_the_whole_batch(dataset: Dataset, config: DataConfig, augment: str) -> None:
    config = dataclasses.replace(config, augment=augment)
    alone = take(train_iterator(dataset, config), 25)
    for rows in (np.array([0, 1]), np.array([3]), np.array([0, 2, 3])):
        share = take(train_iterator(dataset, config, rows), 25)
        assert_equal(share, [{key: value[rows] for key, value in batch.items()} for batch in alone])


def test_the_position_is_the_same_whatever_rows_are_read(dataset: Dataset, config: DataConfig) -> None:
    share, alone = (train_iterator(dataset, config, rows) for rows in (np.array([1, 2]), None))
    take(share, 7)
    alone.set_state(share.get_state())
    assert_equal(take(alone, 3), take(train_iterator(dataset, config), 10)[7:])


@pytest.mark.parametrize("augment", ["none", "clip_randaug", "blip"])
@pytest.mark.parametrize("consumed", [0, 1, 7, 23])
def test_a_state_resumes_exactly_even_while_reading_went_on(
    dataset: Dataset, config: DataConfig, augment: str, consumed: int
) -> None:
    config = dataclasses.replace(config, augment=augment)
    iterator = train_iterator(dataset, config)
    take(iterator, consumed)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = take(iterator, 30)  # over the end of an epoch
    resumed = train_iterator(dataset, config)
    resumed.set_state(state)
    assert_equal(take(resumed, 30), expected)
    iterator.set_state(state)
    assert_equal(take(iterator, 3), expected[:3])


@pytest.mark.parametrize("augment", ["none", "blip"])
def test_a_blind_model_sees_white_images_and_all_else(dataset: Dataset, config: DataConfig, augment: str) -> None:
    blind = dataclasses.replace(config, augment=augment, blind=True)
    for read in (lambda c: take(train_iterator(dataset, c), 3), lambda c: list(eval_batches(dataset, "test", c))):
        for white, seen in zip(read(blind), read(config), strict=True):
            assert (white.pop("image") == 255).all()
            assert (seen.pop("image") != 255).any()
            assert_equal([white], [seen])


def test_augmentation_changes_training_images_only(dataset: Dataset, config: DataConfig) -> None:
    augmented = dataclasses.replace(config, augment="clip_randaug")
    plain, changed = (take(train_iterator(dataset, c), 5) for c in (config, augmented))
    assert any((a["image"] != b["image"]).any() for a, b in zip(plain, changed, strict=True))
    assert_equal(list(eval_batches(dataset, "train", config)), list(eval_batches(dataset, "train", augmented)))


def test_worker_processes_read_the_same_batches(dataset: Dataset, config: DataConfig) -> None:
    with_worker = train_iterator(dataset, dataclasses.replace(config, workers=1))
    assert_equal(take(with_worker, 3), take(train_iterator(dataset, config), 3))
    with_worker.close()


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("limit", [None, 0, 1, 4, 7, 1000])
def test_evaluation_covers_each_example_once(
    dataset: Dataset, config: DataConfig, processes: int, limit: int | None
) -> None:
    size = 10 if limit is None else min(limit, 10)  # of the test split; 4 does not divide 10
    blocks = np.arange(4).reshape(processes, -1)
    shares = [eval_batches(dataset, "test", config, rows, limit) for rows in blocks]
    read = [list(share) for share in shares]
    assert {len(share) for share in shares} == {len(batches) for batches in read} == {-(-size // 4)}
    seen: collections.Counter[int] = collections.Counter()
    for batch in itertools.chain.from_iterable(read):
        assert all(len(value) == 4 // processes for value in batch.values())
        assert set(batch["weight"]) <= {0, 1}
        assert ((batch["index"] == -1) == (batch["weight"] == 0)).all()
        seen.update(batch["index"][batch["weight"] > 0].tolist())
    assert seen == collections.Counter(range(size))


def test_the_index_is_the_record_and_a_second_pass_is_the_same(dataset: Dataset, config: DataConfig) -> None:
    batches = eval_batches(dataset, "test", config)
    records = dataset.records("test")
    first = list(batches)
    for batch in first:
        for index, label, weight in zip(batch["index"], batch["label"], batch["weight"], strict=True):
            assert not weight or records[index]["answer"] == label
    assert_equal(first, list(batches))


def test_damage_is_an_error_that_names_the_example(dataset: Dataset, config: DataConfig) -> None:
    record = dataset.records("test")[3]
    name = record["id"].decode()
    damages = {
        f"cannot read image '{name}': ": {"images": [record["images"][0][:50]]},
        f"example '{name}': the text is empty": {"text": b" "},
    }
    for message, damage in damages.items():
        stand_in = types.SimpleNamespace(
            records=lambda split, damage=damage: [record | damage], text=dataset.text, most_answers=0, kind="answer"
        )
        with pytest.raises(DataError, match=message):
            Examples(stand_in, "test", config).get(0)


def test_records_tell_what_no_model_sees(dataset: Dataset, config: DataConfig) -> None:
    split = Examples(dataset, "test", config)
    values = split.record_values([3, 0], {"id", "metadata", "references", "caption"})
    texts = [[record["text"].decode()] for record in dataset.records("test").without_images([3, 0])]
    assert values == {"id": dataset.ids("test", [3, 0]), "metadata": [{}, {}], "references": texts}
    assert split.record_values([3, 0], {"caption"}) == {}
