"""Runs on meshes of eight devices, all in one process: `python mesh_runs.py FOLDER`, which `test_meshes` prepares."""

import dataclasses
import itertools
import json
import pathlib
import pickle
import shutil
import sys
from typing import Any

import jax
import optax

from smarttrim_jax import sharding
from smarttrim_jax.configuration import build
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.pipeline import train_iterator
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.sharding import MeshConfig, held_rows, make_mesh, place, place_batch, state_shardings
from smarttrim_jax.tasks import make_task
from smarttrim_jax.training.run import trained_params
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.step import Steps
from smarttrim_jax.training.workdir import Workdir

MESHES = {
    "8x1x1": MeshConfig(8, 1, 1),
    "2x4x1": MeshConfig(2, 4, 1),
    "2x2x2": MeshConfig(2, 2, 2),
    "1x1x8": MeshConfig(1, 1, 8),
}
WIDER = MeshConfig(1, 8, 1)
FIRST, SECOND = 13, 26  # steps saved before the last


def train(config: ExperimentConfig, folder: pathlib.Path) -> int:
    """Goes on with the run in the folder, and says how many of the parameters are split."""
    dataset = prepare(config.data)
    config = fit_to_data(config, dataset)
    params = trained_params(make_task(config, dataset.language), Workdir(str(folder)), dataset)
    return sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(params))


def retrieve(config: ExperimentConfig, devices: list[Any]) -> tuple[list[dict[str, float]], Any]:
    """Metrics of two steps of BLIP's retrieval, and the state after them."""
    dataset, mesh = prepare(config.data), make_mesh(config.mesh, devices)
    task = make_task(fit_to_data(config, dataset), dataset.language)
    steps = Steps(task, optax.sgd(0.1))
    params = jax.jit(task.model.init)(jax.random.key(0))
    shardings = state_shardings(jax.eval_shape(steps.initial_state, params), mesh, steps.config.model.is_stacked)
    state = place(jax.device_get(jax.jit(steps.initial_state)(params)), shardings)
    iterator = train_iterator(dataset, config.data, held_rows(mesh, config.data.batch_size))
    with jax.set_mesh(mesh):
        step, metrics = jax.jit(steps.trim, donate_argnums=0, out_shardings=(shardings, None)), []
        for batch in itertools.islice(iterator, 2):
            state, measured = step(state, place_batch(batch, mesh))
            metrics.append({name: float(value) for name, value in measured.items()})
    iterator.close()
    return metrics, jax.device_get(state)


def main(folder: pathlib.Path) -> None:
    # The tiny model's kernels are split too.
    sharding.SMALLEST_SPLIT = 200
    meter, blip = (build(ExperimentConfig, json.loads((folder / name).read_text())) for name in ("meter", "blip"))
    split = {}
    for name, mesh in MESHES.items():
        split[name] = train(dataclasses.replace(meter, mesh=mesh), folder / name)
    shutil.copytree(folder / "2x4x1" / "checkpoints" / str(SECOND), folder / "1x8x1" / "checkpoints" / str(SECOND))
    split["1x8x1"] = train(dataclasses.replace(meter, mesh=WIDER), folder / "1x8x1")
    (folder / "split.json").write_text(json.dumps(split))
    results = (
        retrieve(blip, jax.devices()[:1]),
        retrieve(dataclasses.replace(blip, mesh=MESHES["2x2x2"]), jax.devices()),
    )
    (folder / "blip.pickle").write_bytes(pickle.dumps(results))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
