"""Rungs of the ladder hold every count, waste little, and are few."""

from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.tokens.rounding import ladder, smallest_rung


@given(st.integers(1, 5000), st.floats(1.02, 2.0), st.sampled_from([1, 8, 128]), st.data())
def test_the_smallest_rung_is_the_lowest_that_holds_the_count(most, growth, multiple, data):
    rungs = ladder(most, growth, multiple)
    count = data.draw(st.integers(1, most))
    size = smallest_rung(count, rungs)
    assert count <= size <= most
    assert size <= growth * count + multiple
    assert all(rung % multiple == 0 for rung in rungs[:-1])
    assert rungs[-1] == most
    assert list(rungs) == sorted(set(rungs))
    assert rungs[0] >= 1
