"""What trimming never does in any of BLIP's tasks; see test_meter_promises for the words."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison import poisoned_pass
from tiny_blip import (
    CLOSING,
    EVERY_TASK,
    STAYS_OPEN,
    TASKS,
    TinyBlip,
    assert_nearly_all_closed,
    forward,
    fresh_blip,
    tiny_blip,
)

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.policies import RandomPolicyConfig

GATES = {
    "vqa": {"image", "fusion_text", "fusion_image", "decoder_target", "decoder_text"},
    "nlvr2": {"image"} | {f"{run}_{side}" for run in ("fusion", "merge") for side in ("text", "image0", "image1")},
    "caption": {"image", "decoder_target", "decoder_image"},
    "retrieval": {"image", "fusion_text", "fusion_image", "text"},
}


@pytest.fixture(params=EVERY_TASK, scope="module")
def tiny(request: Any) -> TinyBlip:
    return tiny_blip(request.param)


def test_all_gates_open_equals_the_plain_backbone(tiny):
    fresh = fresh_blip(tiny.config.task)
    params = {name: part for name, part in fresh.params.items() if name != "trimmers"}
    expected = dataclasses.replace(fresh, params=params).with_config(trimming=None).run()
    gated = fresh.run(Trim())
    for name, logits in expected.logits.items():
        np.testing.assert_allclose(gated.logits[name], logits, atol=1e-6, err_msg=name)
    for name, gate in gated.record.opened().gates.items():
        jax.tree.map(np.testing.assert_array_equal, gated.record.gates[name], gate)
    with pytest.raises(ConfigError, match="no trimmers"):
        dataclasses.replace(fresh, params=params).with_config(trimming=None).run(Trim())


def test_gates_are_hard_cumulative_deterministic_and_spare_the_global_token(tiny):
    record = tiny.run(CLOSING).record
    jax.tree.map(np.testing.assert_array_equal, record, tiny.run(CLOSING).record)
    assert {key.name for key in record.gates} == GATES[tiny.config.task]
    assert record.present.keys() == record.gates.keys()
    assert all(set(np.unique(leaf)) <= {0.0, 1.0} for leaf in jax.tree.leaves(record.gates))
    for key, gate in record.gates.items():
        assert (np.diff(gate.tokens, axis=0) <= 0).all()
        assert (gate.tokens[..., 0] == 1).all()
        assert (gate.tokens <= record.present[key]).all()
        kept, possible = gate.tokens[-1].sum(), record.present[key].sum()
        assert kept < possible or key.name in STAYS_OPEN, key
        for part, heads in gate.modules.items():
            assert 0 < heads.mean() < 1, (key, part)


def test_what_is_closed_stays_closed_in_the_next_run(tiny):
    gates = tiny.run(CLOSING).record.gates
    task = tiny.config.task
    if task == "nlvr2":
        for i in (0, 1):
            assert (gates["fusion", f"image{i}"].tokens[0] <= gates["image", "image"].tokens[-1][i::2]).all()
            assert (gates["merge", f"image{i}"].tokens[0] <= gates["fusion", f"image{i}"].tokens[-1]).all()
        assert (gates["merge", "text"].tokens[0] <= gates["fusion", "text"].tokens[-1]).all()
        assert "twin_heads" in gates["merge", "text"].modules
    else:
        reader = "decoder" if task == "caption" else "fusion"
        assert (gates[reader, "image"].tokens[0] <= gates["image", "image"].tokens[-1]).all()
    if task == "vqa":
        read = np.repeat(gates["fusion", "text"].tokens[-1:], 2, axis=1)
        np.testing.assert_array_equal(gates["decoder", "text"].tokens, np.repeat(read, 2, axis=0))


@pytest.mark.parametrize("rows", [[2], [3, 1, 0, 2]])
def test_neighbours_do_not_matter(tiny, rows):
    expected, some = tiny.run(CLOSING), tiny.run(CLOSING, rows=rows)
    for name, logits in some.logits.items():
        np.testing.assert_allclose(logits, expected.logits[name][jnp.array(rows)], atol=1e-5, err_msg=name)
    for name, gate in some.record.gates.items():
        whole = expected.record.gates[name].tokens
        by_example = whole.reshape(len(whole), 4, -1, whole.shape[-1])[:, jnp.array(rows)]
        np.testing.assert_array_equal(gate.tokens.reshape(by_example.shape), by_example)


def test_padding_changes_nothing(tiny):
    expected = tiny.run(CLOSING)
    other = tiny.run(CLOSING, ids=np.where(tiny.inputs["mask"], tiny.inputs["ids"], 17))
    jax.tree.map(np.testing.assert_array_equal, other.record, expected.record)
    for name, logits in other.logits.items():
        counted = tiny.inputs["mask"][..., None] if name == "caption" else 1
        np.testing.assert_array_equal(logits * counted, expected.logits[name] * counted)


def test_values_of_closed_tokens_change_no_logit(tiny):
    @jax.jit
    def run(amount: jax.Array) -> tuple[Any, Any]:
        output = poisoned_pass(tiny.model.bind(tiny.params), tiny.batch, CLOSING, amount)
        open_only = {side: tokens.values * tokens.gate[..., None] for side, tokens in output.state.items()}
        return output.record, (open_only["target"] if "target" in open_only else open_only["text"])

    clean, spoilt = run(0.0), run(100.0)
    jax.tree.map(np.testing.assert_array_equal, clean, spoilt)


# bfloat16, which takes long to compile, for an encoder and the decoder that reads it.
@pytest.mark.parametrize(
    ("task", "dtype"),
    [
        *(pytest.param(task, "float32", marks=EVERY_TASK[number].marks) for number, task in enumerate(TASKS)),
        ("caption", "bfloat16"),
    ],
)
def test_with_all_but_the_global_tokens_closed_nothing_is_nan(task, dtype):
    scan = dtype == "bfloat16"  # in float32 the unrolled layers are compiled already
    output = fresh_blip(task).with_config(dtype=dtype, scan=scan).run(Trim(offset=-1e3))
    assert_nearly_all_closed(output.record)
    for leaf in jax.tree.leaves((output.logits, output.state)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()


def test_inputs_that_do_not_fit_are_refused(tiny):
    images = tiny.inputs["images"]
    three = np.stack([images.reshape(4, -1, 32, 32, 3)[:, 0]] * 3, axis=1)
    with pytest.raises(ConfigError, match=f"3 images per example, but the model takes {tiny.config.images}"):
        tiny.run(images=three)
    with pytest.raises(ConfigError, match="texts of 17 tokens do not fit a position table for 16"):
        tiny.run(ids=np.ones((4, 17), np.int32), mask=np.ones((4, 17), np.int32))


@pytest.mark.parametrize("task", EVERY_TASK)
def test_a_policy_that_draws_is_given_every_examples_seed(task):
    tiny = fresh_blip(task).with_config(trimming=TrimmingConfig(policy=RandomPolicyConfig(heads=0.5)))
    params = {name: part for name, part in tiny.params.items() if name != "trimmers"}
    output = jax.eval_shape(lambda *inputs: forward(tiny.model, *inputs, Trim(), None), params, tiny.inputs)
    assert {key.name for key in output.record.gates} == GATES[task]
