"""Rooms hold what they are chosen for, waste little while few exist, and never become many."""

from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.inference.rooms import Occupancy, Room, Rooms
from smarttrim_jax.models.execution import ExecutionConfig

BATCH, LENGTH = 8, 50
CONFIG = ExecutionConfig(line_growth=1.05, places_growth=1.1, multiple=4, sizes=6)
EVERYTHING = Room(BATCH * LENGTH, LENGTH)


@st.composite
def occupancies(draw: st.DrawFn, batch: int = BATCH) -> Occupancy:
    longest = draw(st.integers(1, LENGTH))
    total = draw(st.integers(longest, longest * batch))
    return Occupancy((batch, LENGTH), Room(batch * LENGTH, LENGTH), total, longest)


@given(st.lists(st.tuples(st.sampled_from(["image", "fusion"]), occupancies(), occupancies()), max_size=60))
def test_rooms_hold_the_tokens_and_stay_few(batches):
    rooms, chosen = Rooms(CONFIG), set()
    for stage, *sides in batches:
        picked = rooms.choose(stage, sides)
        assert all(side.fits(room) for side, room in zip(sides, picked, strict=True))
        chosen.add((stage, picked))
    assert len(chosen) <= CONFIG.sizes + 2  # and one that holds everything, for each stage


@given(occupancies())
def test_the_first_room_is_the_smallest_and_a_budget_does_not_bind_while_warming_up(side):
    rooms = Rooms(CONFIG)
    assert rooms.choose("image", [side]) == (side.smallest(CONFIG),)
    rooms.is_open = True
    for total in range(side.longest, side.longest * BATCH + 1, 7):
        other = Occupancy(side.shape, side.room, total, side.longest)
        assert rooms.choose("image", [other]) == (other.smallest(CONFIG),)


def test_little_to_gain_changes_nothing():
    held = Room(100, 20)
    assert Occupancy((BATCH, LENGTH), held, 99, 20).smallest(CONFIG) == held
    assert Occupancy((BATCH, LENGTH), held, 60, 20).smallest(CONFIG).line < 70


def test_beyond_the_budget_what_exists_is_shared():
    rooms = Rooms(CONFIG)
    sizes = [400, 300, 220, 160, 110, 80]
    for total in sizes:
        rooms.choose("image", [Occupancy((BATCH, LENGTH), EVERYTHING, total, LENGTH)])
    (room,) = rooms.choose("image", [Occupancy((BATCH, LENGTH), EVERYTHING, 100, LENGTH)])
    assert 100 <= room.line <= 116
    (other,) = rooms.choose("fusion", [Occupancy((BATCH, LENGTH), EVERYTHING, 100, LENGTH)])
    assert other == EVERYTHING


def test_a_single_example_is_its_own_row():
    side = Occupancy((1, LENGTH), Room(LENGTH, LENGTH), 17, 17)
    assert side.smallest(CONFIG) == Room(20, 20)
