"""BLIP's MACs: the published dense totals, XLA's own count, and what closed gates save."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_blip import TASKS, TinyBlip, forward, tiny_blip

from smarttrim_jax.models.blip import BlipConfig, blip_base, blip_large, blip_macs, blip_small, blip_tiny
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.tokens.attention import plain
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import Trim, TrimRecord


def specs(config: BlipConfig, length: int) -> tuple[Any, ...]:
    size = config.vision.image_size
    params = jax.eval_shape(Functional(config).init, jax.random.key(0))
    text = jax.ShapeDtypeStruct((1, length), jnp.int32)
    return params, jax.ShapeDtypeStruct((1, config.images, size, size, 3), jnp.float32), text, text


def dense_record(config: BlipConfig, length: int) -> TrimRecord:
    """The record of one example with a text of so many tokens, at full capacity, from shapes alone."""
    record = jax.eval_shape(lambda *inputs: Functional(config).apply(*inputs).record, *specs(config, length))
    return jax.tree.map(lambda leaf: jnp.ones(leaf.shape), record)


def dense_answers(config: BlipConfig, length: int, answers: int, tokens: int) -> TrimRecord:
    """The decoder's part of the record of one question and its answers."""
    params, *inputs = specs(config, length)
    ids = jax.ShapeDtypeStruct((1, answers, tokens), jnp.int32)

    def record(params: Any, ids: Any, *inputs: Any) -> TrimRecord:
        model = Functional(config).bind(params)
        return model.decode(model(*inputs), ids, ids).record

    shapes = jax.eval_shape(record, params, ids, *inputs)
    both = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes)
    return both.of_runs("decoder")


def test_captions_cost_what_was_published():
    """65.7 GMACs for a caption of 15 tokens, [DEC], prompt and [SEP] among them, read once as in training."""
    config = blip_base("caption")
    counted = Functional(config).macs(dense_record(config, 15)).item() / 1e9
    np.testing.assert_allclose(counted, 65.7, rtol=0.001)


def test_answers_cost_what_was_published():
    """186.1 GMACs at 480 px for a step of training: 32 questions of 14 tokens about one image, read only once, and 47
    answers of 5 tokens, [DEC] and [SEP] among them, to one question."""
    config, questions, answers = blip_base("vqa"), 32, 47
    encoder, decoder = dense_record(config, 14), dense_answers(config, 14, answers, 5)
    image = encoder.of_runs("image")
    alone, question = blip_macs(config, image).item(), blip_macs(config, encoder).item()
    keys_and_values = 2 * 901 * config.vision.width * config.text.width * config.text.depth
    again = (questions - 1) * (question - alone - keys_and_values)
    repeated = (answers - 1) * 2 * 14 * config.text.width**2 * config.text.depth
    counted = question + again + blip_macs(config, decoder).sum().item() - repeated
    np.testing.assert_allclose(counted / 1e9, 186.1, rtol=0.001)


def opened_record(tiny: TinyBlip) -> TrimRecord:
    """The record of its batch at full capacity, for which the compiler leaves out all layers."""
    return jax.jit(lambda inputs: forward(tiny.model, tiny.params, inputs, Trim(), None).record.opened())(tiny.inputs)


def test_nlvr2_costs_what_was_published():
    """132.54 GMACs a pair, for a text of 36 tokens without padding, [ENC] and [SEP] among them."""
    config = blip_base("nlvr2")
    record = dense_record(config, 36)
    counted = Functional(config).macs(record).item() / 1e9
    np.testing.assert_allclose(counted, 132.54, rtol=0.001)
    image = record.of_runs("image")
    np.testing.assert_allclose(blip_macs(config, image).sum() / 1e9, 111.0, rtol=0.001)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("trimmed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_half_of_xlas_flops(monkeypatch, task, trimmed):
    monkeypatch.setattr(plain, "ROW_BY_ROW", 2**40)  # XLA counts what a loop repeats only once
    config = blip_base(task, 384, trimming=TrimmingConfig() if trimmed else None)
    shallow = {part: dataclasses.replace(getattr(config, part), depth=2) for part in ("vision", "text")}
    config = dataclasses.replace(config, first_merge=1, **shallow)  # two layers are traced faster than twelve
    model, trim = Functional(config), Trim() if trimmed else None

    def outputs(params: Any, images: Any, ids: Any, mask: Any) -> Any:
        output = model.apply(params, images, ids, mask, trim=trim)
        return output.logits or output.state["text"].values

    lowered = jax.jit(outputs).lower(*specs(config, 37))
    counted = model.macs(dense_record(config, 37)).item()
    np.testing.assert_allclose(counted, lowered.cost_analysis()["flops"] / 2, rtol=0.03)


def test_answers_cost_for_each_of_them():
    tiny = tiny_blip("vqa")
    record = opened_record(tiny)
    questions = record.of_runs("image", "fusion")
    config, lengths = tiny.config, tiny.inputs["answer_mask"].sum(-1).clip(1)
    keys, width, layers = tiny.inputs["mask"].sum(-1).clip(1)[:, None], config.text.width, config.text.depth
    self_attention = 4 * lengths * width**2 + 2 * lengths**2 * width
    cross_attention = 2 * (lengths + keys) * width**2 + 2 * lengths * keys * width
    mlp, words = 2 * lengths * width * config.text.mlp_width, lengths * width * (width + config.text.vocab_size)
    expected = (layers * (self_attention + cross_attention + mlp) + words).sum(axis=1)
    answers = tiny.model.macs(record, trimmed=False) - tiny.model.macs(questions, trimmed=False)
    np.testing.assert_allclose(answers, expected, rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_a_closed_head_and_a_closed_token_save_their_share(task):
    tiny = tiny_blip(task)
    model, record = tiny.model, opened_record(tiny)
    name, source = {
        "vqa": (("fusion", "text"), ("fusion", "image")),
        "nlvr2": (("fusion", "text"), ("fusion", "image0")),
        "caption": (("decoder", "target"), ("decoder", "image")),
        "retrieval": (("fusion", "text"), ("fusion", "image")),
    }[task]
    width, image_width, head_width, keys = 32, 24, 8, 17
    queries = np.asarray(record.gates[name].tokens[0].sum(-1))

    def saved(name: tuple[str, str], **gates: Any) -> jax.Array:
        changed = dataclasses.replace(
            record, gates=record.gates | {name: dataclasses.replace(record.gates[name], **gates)}
        )
        return model.macs(record, trimmed=False) - model.macs(changed, trimmed=False)

    own, read = record.gates[name], record.gates[source]
    per_head = head_width * (2 * queries * width + 2 * keys * image_width + 2 * queries * keys)
    for part in ("cross_heads", "twin_heads") if task == "nlvr2" else ("cross_heads",):
        one_head = saved(name, **{part: getattr(own, part).at[0, 0, 0].set(0)})
        np.testing.assert_allclose(one_head, [per_head[0], 0, 0, 0], rtol=1e-4, atol=1)
    per_token = 2 * width * image_width + 2 * queries * width
    one_token = saved(source, tokens=read.tokens.at[0, 1, 5].set(0))
    np.testing.assert_allclose(one_token, [0, per_token[1], 0, 0], rtol=1e-4, atol=1)


@pytest.mark.parametrize("task", TASKS)
def test_presets_are_built_for_every_task(task):
    sizes = []
    for preset in (blip_base, blip_large, blip_small, blip_tiny):
        config = preset(task)
        text = dataclasses.replace(config.text, vocab_size=config.text.vocab_size or 100)
        shapes = jax.eval_shape(Functional(dataclasses.replace(config, text=text)).init, jax.random.key(0))
        sizes.append(sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)))
    assert sizes[1] > sizes[0] > sizes[2] > sizes[3]
    assert blip_base(task).vision.image_size == (480 if task == "vqa" else 384)
