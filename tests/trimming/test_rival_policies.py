"""The policies that SmartTrim is compared with: the rules that they follow, and what every policy promises."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from fresh_params import fresh_params
from packed_output import COARSE, same
from tiny_run import small_model

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution import OneProgramExecutor, PackedExecutor
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.nn.layers import PostNormLayer, PreNormLayer
from smarttrim_jax.tokens import Padded, compact
from smarttrim_jax.tokens.attention.plain import mix_gated, mix_rows
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.cost import FARTHEST, FIRST_OFFSET, steer
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.policies import (
    ClassAttentionPolicyConfig,
    LayerContext,
    MergePolicyConfig,
    RunTrimming,
    SideShape,
)
from smarttrim_jax.trimming.policies.merge import match, merged

ROWS, LENGTH, WIDTH, HEADS = 3, 9, 8, 2
PRESENT = (np.arange(LENGTH) < np.array([9, 6, 2])[:, None]).astype(np.float32)


def layer_of(kind: type) -> Any:
    sizes: dict[str, Any] = {"epsilon": 1e-5, "dtype": jnp.float32, "rngs": nnx.Rngs(0)}
    if kind is PreNormLayer:
        return PreNormLayer(WIDTH, HEADS, 16, activation="gelu", layer_scale=False, **sizes)
    return PostNormLayer(WIDTH, HEADS, 16, dropout_rate=0.0, cross_attention=False, **sizes)


def batch(seed: int = 0) -> Padded:
    values = np.random.default_rng(seed).normal(size=(ROWS, LENGTH, WIDTH)).astype(np.float32)
    return Padded(jnp.asarray(values), jnp.asarray(PRESENT))


def decide(config: Any, layer: Any, tokens: Any, offset: float = 0.0) -> Any:
    policy = config.build(SideShape(WIDTH, HEADS), RunTrimming(), rngs=nnx.Rngs(0))
    return policy(tokens=tokens, context=LayerContext((), jnp.asarray(PRESENT), layer=layer), trim=Trim(offset))


@pytest.mark.parametrize("kind", [PreNormLayer, PostNormLayer])
def test_class_attention_keeps_what_the_layers_global_token_reads_most(kind: type) -> None:
    layer, tokens = layer_of(kind), batch()
    kept = np.asarray(decide(ClassAttentionPolicyConfig(tokens=0.5), layer, tokens).gates.tokens)
    x = np.asarray(tokens.values)
    if kind is PreNormLayer:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    query, keys = (
        (x @ np.asarray(part.kernel[...]) + np.asarray(part.bias[...])).reshape(ROWS, LENGTH, HEADS, -1)
        for part in (layer.attention.query, layer.attention.key)
    )
    scores = np.einsum("rhd,rnhd->rnh", query[:, 0], keys) / np.sqrt(WIDTH / HEADS)
    weights = np.exp(scores) * PRESENT[..., None]
    attended = (weights / weights.sum(1, keepdims=True)).mean(-1)
    for row, count in enumerate(np.round(PRESENT.sum(1) / 2).astype(int)):
        others = np.argsort(-attended[row, 1:])[: count - 1] + 1
        assert set(np.flatnonzero(kept[row])) == {0, *others}


def test_merging_follows_its_definition() -> None:
    # The first token takes no part; token 2 resembles token 3, token 4 resembles token 1 less; 5 is closed.
    keys = jnp.asarray([[[1.0, 0.0], [0.0, 2.0], [3.0, 3.1], [1.0, 1.0], [-1.0, 2.0], [0.0, 9.0]]])
    is_open = jnp.asarray([[True, True, True, True, True, False]])
    pairs = match(keys, is_open)
    np.testing.assert_array_equal(np.isfinite(pairs.similarity), [[False, False, True, False, True, False]])
    np.testing.assert_array_equal(pairs.partner[0, jnp.asarray([2, 4])], [3, 1])
    assert pairs.similarity[0, 2] > pairs.similarity[0, 4] == pytest.approx(2 / 5**0.5)
    values = jnp.asarray([[[1.0], [2.0], [4.0], [10.0], [7.0], [5.0]]])
    sizes = jnp.asarray([[1.0, 1.0, 2.0, 1.0, 1.0, 0.0]])
    means, grown = merged(values, sizes, jnp.asarray([[False, False, True, False, False, False]]), pairs.partner)
    np.testing.assert_allclose(means[0, :, 0], [1.0, 2.0, 4.0, (2 * 4 + 10) / 3, 7.0, 5.0])
    np.testing.assert_allclose(grown[0, jnp.asarray([0, 1, 3, 4])], [1.0, 1.0, 3.0, 1.0])


@pytest.mark.parametrize("seed", range(3))
def test_merging_loses_no_token_and_keeps_their_sum_whatever_the_layout(seed: int) -> None:
    layer, tokens = layer_of(PreNormLayer), batch(seed)
    for share in (0.9, 0.6, 0.05):
        padded = decide(MergePolicyConfig(tokens=share), layer, tokens)
        before = (tokens.values * PRESENT[..., None]).sum(1)
        gate = padded.tokens.padded_gate
        np.testing.assert_allclose((padded.tokens.values * gate[..., None]).sum(1), before, atol=1e-5)
        np.testing.assert_allclose(gate.sum(1), PRESENT.sum(1))
        np.testing.assert_array_equal(padded.gates.tokens, (gate > 0).astype(np.float32))
        most = np.maximum(PRESENT.sum(1) - np.round((1 - share) * PRESENT.sum(1)), np.floor(PRESENT.sum(1) / 2) + 1)
        np.testing.assert_array_equal(padded.gates.tokens.sum(1), np.minimum(most, PRESENT.sum(1)))
        packed = decide(MergePolicyConfig(tokens=share), layer, compact(tokens, 20, LENGTH))
        np.testing.assert_allclose(packed.tokens.padded_gate, gate, atol=1e-6)
        for one, other in ((packed, padded), (compact(packed.tokens, 20, LENGTH), padded)):
            moved = getattr(one, "tokens", one)
            opened = (gate > 0)[..., None]
            np.testing.assert_allclose(moved.pad(moved.values) * opened, other.tokens.values * opened, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_a_gate_of_n_adds_log_n_to_the_scores(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (ROWS, LENGTH, HEADS, 4)
    query, key, value = (jnp.asarray(random.normal(size=shape), jnp.float32) for _ in range(3))
    sizes = random.integers(1, 6, (ROWS, LENGTH)) * PRESENT
    scores = np.einsum("bqhd,bkhd->bhqk", query, key) / 2.0
    with np.errstate(divide="ignore"):
        weights = jax.nn.softmax(scores + np.log(sizes)[:, None, None], axis=-1)
    expected = np.einsum("bhqk,bkhd->bqhd", weights, value)
    tokens = Padded(jnp.zeros((ROWS, LENGTH, 1)), jnp.asarray(sizes, jnp.float32))
    np.testing.assert_allclose(mix_gated(query, key, value, tokens.gate), expected, atol=1e-6)
    np.testing.assert_allclose(mix_rows(tokens, tokens, query, key, value), expected, atol=1e-6)


@pytest.mark.parametrize("config", [ClassAttentionPolicyConfig(), MergePolicyConfig()])
def test_a_layer_without_readable_attention_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"needs layers with an Attention named attention .* object has not"):
        decide(config, object(), batch())


@pytest.mark.parametrize("depth", [1, 6, 24])
def test_steering_reaches_the_budget_and_follows_it(depth: int) -> None:
    offset = jnp.asarray(FIRST_OFFSET)
    for target in (1.0, *np.linspace(1.0, 0.4, 300), *[0.4] * 100):
        share = jax.nn.sigmoid(np.log(0.7 / 0.3) + offset)
        ratio = jnp.mean(share ** (1.0 + jnp.arange(depth)))
        offset = steer(offset, jnp.stack([ratio - target]), jnp.asarray(target))
        assert abs(float(offset)) <= FARTHEST
        assert ratio - target < 0.1
    assert float(ratio) == pytest.approx(0.4, rel=0.01)


@pytest.fixture(params=["merge", pytest.param("class_attention", marks=pytest.mark.slow)], scope="module")
def model(request: Any) -> Functional:
    policy = {"merge": MergePolicyConfig(), "class_attention": ClassAttentionPolicyConfig()}[request.param]
    return Functional(small_model(trimming=TrimmingConfig(policy=policy)))


@pytest.fixture(scope="module")
def params(model: Functional) -> Any:
    return fresh_params(model.config)


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    mask = (np.arange(12) < np.array([12, 7, 4, 1, 9])[:, None]).astype(np.int32)
    ids = np.where(mask, random.integers(3, 50, mask.shape), 1).astype(np.int32)
    return random.normal(size=(5, 32, 32, 3)).astype(np.float32), ids, mask


@pytest.fixture(scope="module")
def padded(model: Functional, params: Any, inputs: Any) -> Any:
    program = jax.jit(model.apply)
    return lambda offset, *rows: jax.device_get(
        program(params, *(part[list(rows) or slice(None)] for part in inputs), trim=Trim(jnp.float32(offset)))
    )


def test_packed_equals_padded_alone_and_among_others(model: Any, params: Any, inputs: Any, padded: Any) -> None:
    expected = padded(0.0)
    for key, gate in expected.record.gates.items():
        assert 0.1 < gate.tokens[-1].sum() / expected.record.present[key].sum() < 0.9
    trim = Trim(jnp.float32(0.0))
    executor = PackedExecutor(model, params, COARSE)
    same(executor(*inputs, trim=trim), expected)
    same(executor(*(part[[4, 0]] for part in inputs), trim=trim), expected, [4, 0])
    same(padded(0.0, 2), expected, [2])
    one_program = OneProgramExecutor(model, params, COARSE)
    one_program.calibrate([inputs], trim=trim)
    same(one_program(*inputs, trim=trim), expected)


def test_the_dial_goes_from_the_plain_backbone_to_little(model: Any, params: Any, inputs: Any, padded: Any) -> None:
    plain = Functional(dataclasses.replace(model.config, trimming=None))
    expected = jax.jit(plain.apply)(params, *inputs).logits["vqa"]
    outputs = [padded(offset) for offset in (1e3, 1.0, 0.0, -1.0, -1e3)]
    np.testing.assert_allclose(outputs[0].logits["vqa"], expected, atol=1e-6)
    costs = [float(model.macs(output.record).sum()) for output in outputs]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.6 * costs[0]
    assert all((gate.tokens[..., 0] == 1).all() for output in outputs for gate in output.record.gates.values())
    assert all(np.isfinite(output.logits["vqa"]).all() for output in outputs)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_with_little_kept_no_gradient_is_nan(model: Any, params: Any, inputs: Any, dtype: str) -> None:
    typed = Functional(dataclasses.replace(model.config, dtype=dtype))

    def loss(params: Any) -> Any:
        output = typed.apply(params, *inputs, trim=Trim(offset=-1e3), key=jax.random.key(0))
        return jnp.sum(output.logits["vqa"] ** 2) + jnp.sum(typed.macs(output.record)) * 1e-6

    gradients = jax.jit(jax.grad(loss))(params)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradients))


def test_tokens_that_count_several_times_take_plain_attention(model: Any) -> None:
    fused = dataclasses.replace(model.config, attention="cudnn")
    assert fused.kernel == ("xla" if model.config.trimming.policy.weighs_tokens else "cudnn")
