"""Meshes and partition rules, on eight devices in a process of their own and on one here."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_run
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.sharding import (
    AXES,
    MeshConfig,
    axis_sizes,
    make_mesh,
    partition_spec,
    place_batch,
    replicated,
    state_shardings,
)

EIGHT_DEVICES = """
import jax
jax.config.update("jax_num_cpu_devices", 8)
import jax.numpy as jnp, numpy as np, sys
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.training.checkpoint_reading import restore
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.training.optimizer import make_optimizer
from smarttrim_jax.sharding import MeshConfig, make_mesh, place_batch, state_shardings

mesh = make_mesh(MeshConfig(fsdp=2, tensor=2))
assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "tensor": 2}
params = {"image": {"layers": {"mlp": {"up": {"kernel": jnp.ones((4, 64, 256))},
                                       "down": {"kernel": jnp.ones((4, 256, 64))}}}}}
def never(name):
    return False

settings = OptimizerConfig(learning_rate=1e-2, warmup_fraction=0.0)
optimizer = make_optimizer(settings, params, 10, lambda _: "backbone")

def init(params):
    return {"params": params, "opt_state": optimizer.init(params)}

shardings = state_shardings(jax.eval_shape(init, params), mesh, never)
state = jax.jit(init, out_shardings=shardings)(params)
up = state["params"]["image"]["layers"]["mlp"]["up"]["kernel"]
assert up.addressable_shards[0].data.shape == (4, 32, 128), up.sharding
assert state["opt_state"][0].mu["image"]["layers"]["mlp"]["up"]["kernel"].sharding == up.sharding

def loss(params, batch):
    x = batch["x"]
    for up, down in zip(*(params["image"]["layers"]["mlp"][name]["kernel"] for name in ("up", "down"))):
        x = x + jnp.tanh(x @ up / 64) @ down / 256
    return jnp.mean(x ** 2)

def step(state, batch):
    gradients = jax.grad(loss)(state["params"], batch)
    updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
    return {"params": jax.tree.map(jnp.add, state["params"], updates), "opt_state": opt_state}

batch = {"x": np.random.default_rng(0).standard_normal((8, 64), dtype=np.float32)}
placed = place_batch(batch, mesh)
assert placed["x"].shape == (8, 64) and placed["x"].addressable_shards[0].data.shape == (2, 64)
sharded = jax.jit(step, out_shardings=shardings)(state, placed)
single = jax.jit(step)(init(params), batch)
jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), sharded, single)

checkpoints = Checkpoints(sys.argv[1], every=1, keep=1)
checkpoints.save(1, sharded, None, {})
other = state_shardings(jax.eval_shape(init, params), make_mesh(MeshConfig(fsdp=8)), never)
wanted = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), sharded, other)
_, restored, _ = checkpoints.restore_latest(wanted)
assert jax.tree.map(lambda a: a.sharding, restored) == other
jax.tree.map(np.testing.assert_array_equal, restored, sharded)
jax.tree.map(np.testing.assert_array_equal, restore(sys.argv[1]), sharded["params"])
checkpoints.close()

for broken in (lambda: make_mesh(MeshConfig(fsdp=3)), lambda: place_batch({"x": np.zeros((6, 2))}, mesh)):
    try:
        broken()
    except ConfigError as error:
        print(error)
"""


def never(name: str) -> bool:
    return False


def fake_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1) -> AbstractMesh:
    return AbstractMesh((data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("image/layers/attention/query/kernel", (12, 768, 768), P(None, "fsdp", "tensor")),
        ("fusion_text/cross_attention/out/kernel", (8, 768, 768), P(None, "tensor", "fsdp")),
        ("trimmers/fusion_image/token/own/kernel", (128, 64, 64), P(None, "fsdp", None)),
        ("image/layers/mlp/up/bias", (12, 3072), P(None, "tensor")),
        ("opt_state/0/mu/image/layers/mlp/down/kernel", (12, 3072, 768), P(None, "tensor", "fsdp")),
        ("text/word_embedding/embedding", (50265, 768), P(None, "fsdp")),
        ("image/layers/odd/kernel", (16, 333, 333), P(None, None, None)),
        ("image/last_norm/scale", (768,), P(None)),
        ("step", (), P()),
    ],
)
def test_rules_split_the_inner_side_and_never_the_layers(name, shape, expected):
    stacked = MeterConfig().is_stacked(name)
    assert partition_spec(name, shape, fake_mesh(fsdp=4, tensor=2), stacked) == expected


def test_heads_that_do_not_divide_stay_whole():
    spec = partition_spec("image/layers/attention/query/kernel", (2, 333, 333), fake_mesh(tensor=2), True)
    assert spec == P(None, None, None)


def test_one_device_is_a_mesh_that_splits_nothing():
    mesh = make_mesh(MeshConfig())
    state = {"params": {"kernel": np.zeros((512, 512))}, "step": np.zeros(())}
    assert all(sharding.is_fully_replicated for sharding in jax.tree.leaves(state_shardings(state, mesh, never)))
    assert replicated(mesh).is_fully_replicated
    placed = place_batch({"x": np.ones((3, 2)), "y": np.ones(3)}, mesh)
    np.testing.assert_array_equal(placed["x"], np.ones((3, 2)))


def test_a_mesh_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="does not fit"):
        make_mesh(MeshConfig(data=10**6))
    with pytest.raises(ConfigError, match=r"MeshConfig.data is 0; it must be a whole number, at least 1 or -1"):
        MeshConfig(data=0)
    with pytest.raises(ConfigError, match=r"MeshConfig.fsdp is 0; it must be at least 1"):
        MeshConfig(fsdp=0)


@dataclasses.dataclass(frozen=True)
class SliceDevice:
    """Stands for a chip of one of several slices."""

    id: int
    slice_index: int
    process_index: int = 0
    platform: str = "cpu"
    device_kind: str = "stand-in"


def test_data_alone_crosses_slices() -> None:
    devices = [SliceDevice(number, number % 2) for number in range(8)]
    for config, shape in (
        (MeshConfig(fsdp=4), (2, 4, 1)),
        (MeshConfig(tensor=2), (4, 1, 2)),
        (MeshConfig(data=8), (8, 1, 1)),
    ):
        arranged = make_mesh(config, devices).devices
        assert arranged.shape == shape
        slices = np.vectorize(lambda device: device.slice_index)(arranged)
        assert (slices == slices[:, :1, :1]).all(), "fsdp and tensor stay within a slice"
        assert {device.id for device in arranged.flat} == set(range(8))
    with pytest.raises(ConfigError, match=r"mesh.data is 1, but there are 2 slices.*fsdp \* tensor at most 4"):
        make_mesh(MeshConfig(fsdp=8), devices)
    assert axis_sizes(MeshConfig(fsdp=8), 8) == (1, 8, 1)


def test_eight_devices_compute_restore_and_refuse(tmp_path):
    done = toy_run.run_python("-W", "error", "-c", EIGHT_DEVICES, str(tmp_path / "checkpoints"))
    assert done.returncode == 0, done.stderr
    assert "fsdp=3, tensor=1 does not fit 8 devices" in done.stdout
    assert "a batch of 6 examples cannot be split over 4 devices" in done.stdout
