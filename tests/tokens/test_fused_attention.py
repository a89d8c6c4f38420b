"""Fused kernels in training: what they give, and all gradients, are those of plain attention."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.primitives import dropout
from smarttrim_jax.tokens import Kernel, Padded, attend, shorten
from smarttrim_jax.tokens.attention import cudnn, dispatch, splash

KERNELS: tuple[Kernel, ...] = ("cudnn", "splash")
# Examples, queries, keys, heads, head width: of one block and of several, self- and cross-attention.
SHAPES = ((4, 9, 9, 2, 8), (2, 150, 5, 1, 24), (3, 6, 140, 2, 64))
PARTS = ("mixed", "query", "key", "value", "gate")
ON_A_MESH = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from smarttrim_jax.sharding import EXAMPLES, MeshConfig, make_mesh
from smarttrim_jax.tokens.attention import dispatch, plain, splash

splash.INTERPRET = True
mesh = make_mesh(MeshConfig(fsdp=2, tensor=2))
kernel = dispatch.FUSED["splash"]

def gradients(mix, *parts):
    return jax.value_and_grad(lambda *parts: jnp.sum(mix(*parts) ** 2), argnums=(0, 1, 2, 3))(*parts)

def on_mesh(*parts):
    return gradients(lambda *parts: dispatch.mix_apart(kernel, *parts), *parts)

for batch, heads in ((4, 2), (4, 3), (3, 2)):  # the parts of a batch, and the heads, that a mesh can and cannot split
    random = np.random.default_rng(0)
    query, key, value = (jnp.asarray(random.normal(size=(batch, 5, heads, 4)), jnp.float32) for _ in range(3))
    gate = jnp.asarray(random.integers(0, 2, (batch, 5)), jnp.float32).at[:, 0].set(1)
    expected = jax.jit(gradients, static_argnums=0)(plain.mix_gated, query, key, value, gate)
    placed = query, key, value, gate
    if batch == 4:
        placed = jax.device_put(placed, NamedSharding(mesh, EXAMPLES))
    with jax.set_mesh(mesh):
        lowered = jax.jit(on_mesh).lower(*placed)
        found = jax.jit(on_mesh)(*placed)
    (loss, pulled), (expected_loss, expected_pulled) = found, expected
    # A sum near 84, whose last bits depend on the order in which devices add.
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), pulled, expected_pulled)
    assert "all-gather" not in lowered.compile().as_text(), (batch, heads)
"""


@pytest.fixture(autouse=True)
def _without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudnn, "IMPLEMENTATION", "xla")
    monkeypatch.setattr(cudnn, "suits_cudnn", lambda query: True)
    monkeypatch.setattr(splash, "INTERPRET", True)
    monkeypatch.setattr(splash, "MOST", 128)


@functools.cache
def program(kernel: Kernel) -> Callable[..., Any]:
    """Attention in training, and the gradients of a weighted sum of what it gives, by `PARTS`."""

    def run(query: Any, key: Any, value: Any, gate: Any, weight: Any) -> dict[str, Any]:
        def mix(*parts: Any) -> Any:
            own = Padded(query.reshape(*query.shape[:2], -1), jnp.ones(query.shape[:2]))
            source = Padded(key.reshape(*key.shape[:2], -1), parts[3])
            return attend(own, *parts[:3], source=source, training=True, kernel=kernel)

        mixed, pull = jax.vjp(mix, query, key, value, gate)
        return dict(zip(PARTS, (mixed, *pull(weight)), strict=True))

    return jax.jit(run)


def draw(shape: tuple[int, ...], dtype: Any = jnp.float32) -> list[Any]:
    """Queries, keys, values, gates of which many, few or only the first are open, and weights."""
    batch, queries, keys, heads, width = shape
    random = np.random.default_rng(sum(shape))
    sizes = [(batch, count, heads, width) for count in (queries, keys, keys, queries)]
    query, key, value, weight = (jnp.asarray(random.normal(size=size), dtype) for size in sizes)
    share = np.resize([0.7, 0.2, 0.0], (batch, 1))
    gate = (random.uniform(size=(batch, keys)) < share).astype(np.float32)
    gate[:, 0] = 1
    return [3 * query, key, value, jnp.asarray(gate), weight]


def assert_alike(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    for part in PARTS:
        scale = float(np.max(np.abs(np.float32(expected[part])))) or 1.0
        np.testing.assert_allclose(
            np.float32(found[part]) / scale, np.float32(expected[part]) / scale, atol=tolerance, err_msg=part
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_values_and_gradients_are_those_of_plain_attention(kernel: Kernel, shape: tuple[int, ...]) -> None:
    inputs = draw(shape)
    expected = program("xla")(*inputs)
    assert np.all(np.abs(expected["gate"])[np.asarray(inputs[3]) == 0] > 0)
    assert_alike(program(kernel)(*inputs), expected, 1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_in_bfloat16_they_are_near(kernel: Kernel) -> None:
    inputs = draw(SHAPES[0], jnp.bfloat16)
    assert_alike(program(kernel)(*inputs), program("xla")(*inputs), 2e-2)


@pytest.mark.parametrize("score", [30.0, 1000.0, 1e30])
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_closed_key_is_never_too_loud(kernel: Kernel, score: float) -> None:
    query, key, value, gate, weight = draw(SHAPES[0])
    gate = gate.at[:, 2].set(0.0)
    query = query.at[..., 0].set(8**0.5)
    quiet = program(kernel)(query, key, value, gate, weight)
    loud_key = key.at[:, 2].set(jnp.where(jnp.arange(8) == 0, score, 0.0))
    loud = program(kernel)(query, loud_key, value, gate, weight)
    np.testing.assert_array_equal(loud["mixed"], quiet["mixed"])
    np.testing.assert_allclose(loud["query"], quiet["query"], atol=1e-6)
    assert_alike(loud, program("xla")(query, loud_key, value, gate, weight), 1e-5)


@pytest.mark.parametrize("kernel", ["xla", *KERNELS])
def test_with_every_key_closed_the_means_are_zero_and_gradients_finite(kernel: Kernel) -> None:
    query, key, value, gate, weight = draw(SHAPES[0])
    found = program(kernel)(query, key, value, gate.at[1].set(0.0), weight)
    assert np.all(np.asarray(found["mixed"][1]) == 0)
    assert all(np.all(np.isfinite(part)) for part in found.values())
    np.testing.assert_allclose(
        found["mixed"][0], program("xla")(query, key, value, gate, weight)["mixed"][0], atol=1e-5
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_gradient_of_shortened_tokens_gates_is_plain_attentions(kernel: Kernel) -> None:
    _, key, _, gate, weight = draw(SHAPES[0])

    def total(gate: Any, kernel: Kernel) -> Any:
        tokens = shorten(Padded(key.reshape(4, 9, -1), gate), jnp.ones((4, 9)), 5, jax.random.key(0))
        short = tokens.values.reshape(4, 5, 2, 8)
        return jnp.sum(attend(tokens, short, short, short, training=True, kernel=kernel) * weight[:, :5])

    gradient = jax.jit(jax.grad(total), static_argnums=1)
    expected = gradient(gate, "xla")
    assert np.any(np.asarray(expected)[np.asarray(gate) == 0] != 0)
    np.testing.assert_allclose(gradient(gate, kernel), expected, atol=1e-5 * np.max(np.abs(expected)))


def test_gates_are_computed_for_few_examples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = draw((5, 9, 9, 2, 8))
    whole = jax.jit(cudnn.gate_gradient)(*inputs)
    for at_once in (1, 2 * 9 * 9 * 2):
        monkeypatch.setattr(cudnn, "SCORES_AT_ONCE", at_once)
        np.testing.assert_allclose(jax.jit(lambda *parts: cudnn.gate_gradient(*parts))(*inputs), whole, atol=1e-5)


@pytest.mark.parametrize("has_gates", [False, True])
def test_cudnns_gate_gradient_is_computed_only_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, has_gates: bool
) -> None:
    *parts, weight = draw(SHAPES[0])
    # A cosine, which attention has not, stands for the gradient of the gates.
    monkeypatch.setattr(cudnn, "gate_gradient", lambda *inputs: jnp.cos(inputs[3]))

    def gradients(*parts: Any) -> Any:
        every = jax.vjp(cudnn.mix_cudnn, *parts)[1](weight)
        return every if has_gates else every[:3]

    assert ("cosine" in jax.jit(gradients).lower(*parts).compile().as_text()) == has_gates


def test_plain_attention_keeps_scores_only_where_memory_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, gate, weight = draw(SHAPES[0])
    scores, gradients = {}, {}

    def mix(query: Any, gate: Any, random: Any) -> Any:
        own = Padded(query.reshape(4, 9, -1), gate)
        return attend(own, query, key, value, training=True, drop=functools.partial(dropout, rate=0.5, key=random))

    def pull(query: Any, gate: Any) -> Any:
        return jax.vjp(functools.partial(mix, random=jax.random.key(1)), query, gate)[1]

    for platform in ("cpu", "tpu"):
        monkeypatch.setattr(dispatch, "_platform", lambda platform=platform: platform)
        kept = jax.tree.leaves(jax.eval_shape(lambda *parts: pull(*parts), query, gate))
        scores[platform] = [leaf for leaf in kept if leaf.shape == (4, 2, 9, 9)]
        gradients[platform] = jax.jit(lambda *parts: pull(*parts)(weight))(query, gate)
    assert scores["cpu"]
    assert not scores["tpu"]
    for ours, theirs in zip(gradients["tpu"], gradients["cpu"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_dropout_is_applied_in_plain_attention_whatever_the_kernel() -> None:
    query, key, value, gate, _ = draw(SHAPES[0])
    own = Padded(query.reshape(4, 9, -1), gate)
    mixed = functools.partial(attend, own, query, key, value, kernel="splash")
    halved = mixed(training=True, drop=lambda weights: 0.5 * weights)
    np.testing.assert_allclose(halved, 0.5 * mixed(training=True), atol=1e-5)
    with pytest.raises(ValueError, match="dropout is for training"):
        mixed(drop=lambda weights: weights)


def test_gates_of_evaluation_get_no_gradient_from_fused_kernels_either() -> None:
    query, key, value, gate, _ = draw(SHAPES[0])

    def total(gate: Any) -> Any:
        return jnp.sum(attend(Padded(query.reshape(4, 9, -1), gate), query, key, value, kernel="splash"))

    with pytest.raises(ConfigError, match="attention in evaluation"):
        jax.grad(total)(gate)


@pytest.mark.slow
def test_on_a_mesh_each_device_computes_its_own_examples_and_heads() -> None:
    done = toy_run.run_python("-W", "error", "-c", ON_A_MESH)
    assert done.returncode == 0, done.stderr
