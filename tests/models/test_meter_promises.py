"""What trimming never does: read closed tokens, depend on neighbours, or count padding."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison import poisoned_pass

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.trimming.gates import Trim


def test_gates_are_hard_cumulative_deterministic_and_spare_the_global_token(tiny_meter, closing):
    record = tiny_meter.run(closing).record
    jax.tree.map(np.testing.assert_array_equal, record, tiny_meter.run(closing).record)
    assert all(set(np.unique(leaf)) <= {0.0, 1.0} for leaf in jax.tree.leaves(record.gates))
    for gate in record.gates.values():
        assert (np.diff(gate.tokens, axis=0) <= 0).all()
        assert (gate.tokens[..., 0] == 1).all()
        assert 0 < gate.tokens.mean() < 1
    for side in ("image", "text"):
        assert (record.gates["fusion", side].tokens[0] <= record.gates[side, side].tokens[-1]).all()


def test_a_lower_offset_closes_more(tiny_meter):
    macs = [tiny_meter.model.macs(tiny_meter.run(Trim(o)).record).mean() for o in (2.0, -2.5, -9.0)]
    assert macs[0] > macs[1] > macs[2]


def test_every_example_may_have_its_own_offset(tiny_meter):
    offsets = [9.0, -2.5, -9.0, -1.0]
    mixed = tiny_meter.run(Trim(jnp.asarray(offsets)))
    for row, offset in enumerate(offsets):
        alone = tiny_meter.run(Trim(offset))
        np.testing.assert_allclose(mixed.logits["vqa"][row], alone.logits["vqa"][row], atol=1e-6)
        for name, gates in alone.record.gates.items():
            ours = mixed.record.gates[name]
            for part in ("tokens", "heads"):
                np.testing.assert_array_equal(getattr(ours, part)[:, row], getattr(gates, part)[:, row])
    with pytest.raises(ConfigError, match=r"offset has shape \(2,\) for 4 examples"):
        tiny_meter.run(Trim(jnp.zeros(2)))


@pytest.fixture(scope="module")
def poisoned(tiny_meter) -> Any:
    """Logits when every token that a layer closes gets other values at the layer that closes it."""

    @jax.jit
    def run(trim: Trim, amount: jax.Array) -> tuple[jax.Array, Any]:
        output = poisoned_pass(tiny_meter.model.bind(tiny_meter.params), tiny_meter.batch, trim, amount)
        return output.logits["vqa"], output.record.gates

    return run


def test_values_of_closed_tokens_change_no_logit(poisoned, tiny_meter, closing):
    clean, gates = poisoned(closing, 0.0)
    spoilt, spoilt_gates = poisoned(closing, 100.0)
    np.testing.assert_array_equal(spoilt, clean)
    jax.tree.map(np.testing.assert_array_equal, spoilt_gates, gates)
    np.testing.assert_allclose(clean, tiny_meter.run(closing).logits["vqa"], atol=1e-5)


def test_padding_changes_no_logit_and_no_gate(tiny_meter, closing):
    ids = np.where(tiny_meter.mask, tiny_meter.ids, 17)
    ids = np.where(np.arange(10) == 9, 17, ids)  # other pad ids at the end, where no position depends on them
    expected, other = tiny_meter.run(closing), tiny_meter.run(closing, ids=ids)
    np.testing.assert_array_equal(other.logits["vqa"], expected.logits["vqa"])
    jax.tree.map(np.testing.assert_array_equal, other.record, expected.record)


def test_padding_never_counts_as_kept_or_saved(tiny_meter, closing):
    def longer(array: np.ndarray, value: int) -> np.ndarray:
        return np.pad(array, ((0, 0), (0, 6)), constant_values=value)

    short = tiny_meter.run(closing)
    long = tiny_meter.run(closing, ids=longer(tiny_meter.ids, 1), mask=longer(tiny_meter.mask, 0))
    for output in (short, long):
        tokens = output.record.opened().gates["fusion", "text"].tokens
        np.testing.assert_array_equal(tokens.sum(-1), np.broadcast_to(tiny_meter.mask.sum(1), (2, 4)))
    for record in ("record", "opened"):
        pair = [output.record if record == "record" else output.record.opened() for output in (short, long)]
        np.testing.assert_array_equal(*[tiny_meter.model.macs(part) for part in pair])
    np.testing.assert_allclose(long.logits["vqa"], short.logits["vqa"], atol=1e-5)


@pytest.mark.parametrize("rows", [[2], [3, 1, 0, 2], [1, 1, 1, 1]])
def test_neighbours_do_not_matter(tiny_meter, closing, rows):
    expected = tiny_meter.run(closing)
    some = tiny_meter.run(
        closing, images=tiny_meter.images[rows], ids=tiny_meter.ids[rows], mask=tiny_meter.mask[rows]
    )
    np.testing.assert_allclose(some.logits["vqa"], expected.logits["vqa"][jnp.array(rows)], atol=1e-5)
    for name, gate in some.record.gates.items():
        np.testing.assert_array_equal(gate.tokens, expected.record.gates[name].tokens[:, jnp.array(rows)])
