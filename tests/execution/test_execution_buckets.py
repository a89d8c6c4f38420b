"""Buckets hold what they are chosen for, waste little while few exist, and never become many."""

from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.execution.buckets import Bucket, Buckets, Occupancy
from smarttrim_jax.execution.config import ExecutionConfig

BATCH, LENGTH = 8, 50
CONFIG = ExecutionConfig(length_growth=1.05, capacity_growth=1.1, multiple=4, max_buckets=6)
EVERYTHING = Bucket(BATCH * LENGTH, LENGTH)


@st.composite
def occupancies(draw: st.DrawFn, batch: int = BATCH) -> Occupancy:
    longest = draw(st.integers(1, LENGTH))
    total = draw(st.integers(longest, longest * batch))
    return Occupancy((batch, LENGTH), Bucket(batch * LENGTH, LENGTH), total, longest)


@given(st.lists(st.tuples(st.sampled_from(["image", "fusion"]), occupancies(), occupancies()), max_size=60))
def test_buckets_hold_the_tokens_and_stay_few(batches):
    buckets, chosen = Buckets(CONFIG), set()
    for stage, *sides in batches:
        picked = buckets.choose(stage, sides)
        assert all(side.fits(bucket) for side, bucket in zip(sides, picked, strict=True))
        chosen.add((stage, picked))
    assert len(chosen) <= CONFIG.max_buckets + 2  # and one that holds everything, for each stage


@given(occupancies())
def test_the_first_bucket_is_the_smallest_and_a_budget_does_not_bind_while_warming_up(side):
    buckets = Buckets(CONFIG)
    assert buckets.choose("image", [side]) == (side.smallest(CONFIG),)
    buckets.is_unbounded = True
    for total in range(side.longest, side.longest * BATCH + 1, 7):
        other = Occupancy(side.shape, side.bucket, total, side.longest)
        assert buckets.choose("image", [other]) == (other.smallest(CONFIG),)


def test_little_to_gain_changes_nothing():
    held = Bucket(100, 20)
    assert Occupancy((BATCH, LENGTH), held, 99, 20).smallest(CONFIG) == held
    assert Occupancy((BATCH, LENGTH), held, 60, 20).smallest(CONFIG).packed_length < 70


def test_beyond_the_budget_what_exists_is_shared():
    buckets = Buckets(CONFIG)
    sizes = [400, 300, 220, 160, 110, 80]
    for total in sizes:
        buckets.choose("image", [Occupancy((BATCH, LENGTH), EVERYTHING, total, LENGTH)])
    (bucket,) = buckets.choose("image", [Occupancy((BATCH, LENGTH), EVERYTHING, 100, LENGTH)])
    assert 100 <= bucket.packed_length <= 116
    (other,) = buckets.choose("fusion", [Occupancy((BATCH, LENGTH), EVERYTHING, 100, LENGTH)])
    assert other == EVERYTHING


def test_a_single_example_is_its_own_row():
    side = Occupancy((1, LENGTH), Bucket(LENGTH, LENGTH), 17, 17)
    assert side.smallest(CONFIG) == Bucket(20, 20)
