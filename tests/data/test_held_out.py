"""What is held out shares nothing with what is trained on."""

from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.data.builders.held_out import held_out

IMAGES = st.lists(st.lists(st.integers(0, 60).map(lambda i: i.to_bytes(2)), min_size=1, max_size=3), max_size=60)


@given(IMAGES)
def test_no_image_is_on_both_sides_and_the_order_decides_nothing(images):
    chosen = held_out(images)
    out = {image for index in chosen for image in images[index]}
    kept = {image for index, own in enumerate(images) if index not in chosen for image in own}
    assert not out & kept
    assert held_out(images[::-1]) == {len(images) - 1 - index for index in chosen}


def test_about_a_tenth_is_held_out():
    assert len(held_out([[bytes([i])] for i in range(100)])) == 10
    assert len(held_out([[bytes([i])] for i in range(3)])) == 1
    assert held_out([[b"a"], [b"a"]]) == held_out([[b"a", b"b"], [b"b", b"c"]]) == frozenset()
    # A large group does not fit, a small one is taken.
    assert held_out([[b"a"]] * 30 + [[b"b"]] * 3) == {30, 31, 32}
    assert held_out([[b"a"]] * 10 + [[b"b"]] * 9) == frozenset(range(10, 19))
