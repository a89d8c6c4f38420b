"""What a run leaves in its folder beside checkpoints and metrics: its configuration, speed dial and report."""

import json
from typing import Any

import fsspec
import jax
from etils import epath

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.data.language import Language, write_language
from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.version import __version__

# What may change between two runs in one folder: nothing that the saved state depends on.
FREE = ("evaluation", "execution", "init_from", "mesh")


class Workdir:
    """The files of one run, on a disk or in a bucket (`gs://...`); process 0 writes them.

    Args:
        path: the folder.

    Raises:
        ConfigError: a bucket, and what reaches it is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path = epath.Path(path).expanduser()
        if path.startswith("gs://"):
            try:
                fsspec.get_filesystem_class("gcs")
            except ImportError:
                raise ConfigError(f"'{path}' is a bucket; pip install -e '.[gcs]' brings what reaches it") from None

    @property
    def checkpoints(self) -> str:
        """The folder of the checkpoints."""
        return str(self.path / "checkpoints")

    def create(self) -> None:
        """Makes the folder, before anything takes time.

        Raises:
            TrainingError: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def claim(self, config: ExperimentConfig) -> None:
        """Writes the configuration, or makes sure that the folder's run had the same one.

        Raises:
            ConfigError: the folder holds a run of another configuration.
            TrainingError: the folder cannot be written.
        """
        if not (self.path / "config.json").exists():
            self._write("config.json", to_dict(config))
            return
        known, new = (_flat(_comparable(to_dict(each))) for each in (self.config(), config))
        changed = sorted(key for key in known.keys() | new.keys() if known.get(key) != new.get(key))
        if changed:
            key = changed[0]
            raise ConfigError(
                f"'{self.path}' holds a run with {key} = {known.get(key)!r}, not {new.get(key)!r}; "
                "choose another --workdir, or the same configuration to go on"
            )

    def config(self) -> ExperimentConfig:
        """The run's configuration, with all sizes resolved.

        Raises:
            CheckpointError: the folder holds no run.
        """
        return build(ExperimentConfig, self._read("config.json", "no run"))

    def dial(self) -> SpeedDial:
        """The run's speed dial.

        Raises:
            CheckpointError: the run has none: it was not trim-tuned to its end.
        """
        return build(SpeedDial, self._read("speed_dial.json", "no speed dial: its trim-tuning has not ended"))

    def write_language(self, language: Language) -> None:
        """Saves the words and answers, so that the run is served without its data."""
        if jax.process_index() == 0:
            try:
                write_language(self.path, language)
            except OSError as error:
                raise self._unwritable(error) from None

    def write_dial(self, dial: SpeedDial) -> None:
        """Saves the speed dial."""
        self._write("speed_dial.json", to_dict(dial))

    def write_report(self, report: dict[str, Any]) -> None:
        """Saves the final report."""
        self._write("report.json", report)

    def _read(self, name: str, otherwise: str) -> dict[str, Any]:
        file = self.path / name
        if not file.exists():
            raise CheckpointError(f"'{self.path}' holds {otherwise} ({name} is missing)")
        try:
            return json.loads(file.read_text())
        except ValueError as error:
            raise CheckpointError(f"'{file}' is damaged ({error}); train again") from None

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if jax.process_index() != 0:
            return
        try:
            half = self.path / f".{name}.part"
            half.write_text(json.dumps(content, indent=1) + "\n")
            half.replace(self.path / name)
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> TrainingError:
        reason = error.strerror or error
        return TrainingError(f"cannot write to workdir '{self.path}': {reason}; choose a writable --workdir")


def _comparable(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in json.loads(json.dumps(config)).items() if key not in FREE}


def _flat(tree: dict[str, Any], path: str = "config") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}.{key}") if isinstance(value, dict) else {f"{path}.{key}": value}
    return flat


def describe(config: ExperimentConfig) -> dict[str, Any]:
    """What is saved with every checkpoint: the resolved configuration and the versions that wrote it."""
    return {"config": to_dict(config), "versions": {"smarttrim_jax": __version__, "jax": jax.__version__}}
