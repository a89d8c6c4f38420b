"""One run of a tiny METER, undisturbed on one device, that all other runs are held against."""

import dataclasses
import json
import pathlib
import shutil
from typing import NamedTuple

import pytest
import tiny_tasks
from mesh_runs import FIRST, MESHES, WIDER
from processes import Ended, run_together, start_together, wait_for

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.run import train


@pytest.fixture(scope="session")
def experiment(experiment: ExperimentConfig) -> ExperimentConfig:
    """The tiny experiment with all that a mesh could disturb: 8 heads to share, scan, remat, accumulation."""
    model = experiment.model
    # Else the first steps would trim next to nothing.
    trimmers = dataclasses.replace(model.trimming.trimmers, initial_bias=0.5)
    trimming = dataclasses.replace(model.trimming, trimmers=trimmers)
    layers = {part: dataclasses.replace(getattr(model, part), heads=8) for part in ("vision", "text", "fusion")}
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(model, **layers, trimming=trimming, scan=True, remat="full"),
        optimizer=dataclasses.replace(experiment.optimizer, accumulate=2),
        # After the first save there is trim-tuning alone, and half of an update has been gathered.
        schedule=dataclasses.replace(experiment.schedule, full_steps=13, trim_steps=21, save_every=13, keep=3),
    )


@pytest.fixture(scope="session")
def finished(experiment: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that nobody disturbed."""
    path = str(tmp_path_factory.mktemp("finished"))
    train(experiment, path)
    return path


class Together(NamedTuple):
    """A run of several processes."""

    folder: pathlib.Path
    ended: list[Ended]


@pytest.fixture(scope="session")
def on_eight_devices(
    experiment: ExperimentConfig, finished: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, Together]:
    """The trim-tuning of the finished run again, by one process on many meshes and, at the same time, by two."""
    folder = tmp_path_factory.mktemp("meshes")
    for name in (*MESHES, "1x8x1", "together"):
        (folder / name).mkdir()
        shutil.copy(pathlib.Path(finished) / "metrics.jsonl", folder / name)
    for name in (*MESHES, "together"):
        saved = pathlib.Path("checkpoints", str(FIRST))
        shutil.copytree(pathlib.Path(finished) / saved, folder / name / saved)

    (folder / "raw").mkdir()
    retrieval = tiny_tasks.experiment("retrieval", tiny_tasks.make_sources(folder / "raw"))
    retrieval = dataclasses.replace(
        retrieval,
        data=dataclasses.replace(retrieval.data, batch_size=8),
        retrieval=dataclasses.replace(retrieval.retrieval, places=16),
    )
    data = dataclasses.replace(experiment.data, data_dir=str(folder / "prepared"))
    two = dataclasses.replace(experiment, data=data, mesh=WIDER)
    for name, config in {"meter": experiment, "blip": retrieval, "together.json": two}.items():
        (folder / name).write_text(json.dumps(to_dict(config)))

    here = pathlib.Path(__file__).parent
    flags = [f"--config={here / 'tiny_config.py'}:{folder / 'together.json'}", f"--workdir={folder / 'together'}"]
    started = start_together("-m", "smarttrim_jax.train", *flags, devices=4)
    (one,) = run_together(str(here / "mesh_runs.py"), str(folder), processes=1, devices=8)
    ended = wait_for(started)
    assert one.status == 0, one.stderr
    return folder, Together(folder / "together", ended)


@pytest.fixture(scope="session")
def meshes(on_eight_devices: tuple[pathlib.Path, Together]) -> pathlib.Path:
    """A folder for every mesh of eight devices in one process."""
    return on_eight_devices[0]


@pytest.fixture(scope="session")
def together(on_eight_devices: tuple[pathlib.Path, Together]) -> Together:
    """The run of two processes of four devices each; batches, parameters and moments are split over all."""
    return on_eight_devices[1]
