"""Files that a run keeps in its folder beside checkpoints and metrics: configuration, words, dial and report."""

import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from etils import epath

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.data.language import ANSWERS, TOKENIZER, Language, write_language
from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.file_digests import record_digests
from smarttrim_jax.small_files import check_access, in_bucket, read_json, remove_halves, write_json
from smarttrim_jax.training.checkpoint_reading import metadata, saved_steps
from smarttrim_jax.training.older_runs import settings_of_today
from smarttrim_jax.trimming.calibration import SpeedDial
from smarttrim_jax.version import __version__

T = TypeVar("T")

_log = logging.getLogger(__name__)

# Keys and groups of keys that may change between two starts of a run, since the saved state does not depend on them.
FREE = (
    "data.data_dir",
    "data.source",
    "data.workers",
    "schedule.log_every",
    "schedule.save_every",
    "schedule.keep",
    "schedule.writers",
    "evaluation",
    "execution",
    "init_from",
    "mesh",
)
# Keys that the data decides. Runs of earlier versions have these values for them.
FROM_DATA = {"data.fingerprint": "", "data.example_images": 0}

CONFIG = "config.json"
DIAL = "speed_dial.json"
REPORT = "report.json"
RENEW = "run the same train command again, which writes it anew and trains nothing twice"


class Workdir:
    """The files of one run, on a disk or in a bucket (`gs://...`); only process 0 writes them.

    Args:
        path: Folder of the run.

    Attributes:
        path: Folder of the run.

    Raises:
        ConfigError: The folder is in a bucket, and the package that accesses buckets is not installed.
    """

    def __init__(self, path: str) -> None:
        self.path = epath.Path(path).expanduser()
        check_access(path)

    @property
    def checkpoints(self) -> str:
        """Path of the folder of the checkpoints."""
        return str(self.path / "checkpoints")

    def create(self) -> None:
        """Creates the folder, before anything takes time.

        Raises:
            TrainingError: The folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def check_same_run(self, config: ExperimentConfig) -> None:
        """Checks that a run with this configuration can be resumed from what the folder holds.

        Until a run has saved a checkpoint, nothing in its folder depends on its configuration.

        Args:
            config: Run configuration, all sizes resolved.

        Raises:
            CheckpointError: The folder's configuration was written by another version and cannot be understood.
            ConfigError: The folder holds a run of another configuration.
        """
        steps = saved_steps(self.checkpoints)
        known = self._known_config() if steps else None
        if known is None:
            return
        before, now = (_flat(json.loads(json.dumps(to_dict(each)))) for each in (known, config))
        for key in sorted(before.keys() | now.keys()):
            old: Any = before.get(key)
            new: Any = now.get(key)
            if old == new or _is_free(key) or (key in FROM_DATA and old == FROM_DATA[key]):
                continue
            if key in ("schedule.full_steps", "schedule.trim_steps"):
                self._check_more_steps(key, old, new, max(steps))
            else:
                raise self._another_run(key, old, new)

    def claim(self, config: ExperimentConfig) -> None:
        """Writes the run's configuration into the folder; called once nothing but training itself can fail.

        Args:
            config: Run configuration, all sizes resolved.

        Raises:
            CheckpointError: See `check_same_run`.
            ConfigError: See `check_same_run`.
            TrainingError: The folder cannot be written.
        """
        self.check_same_run(config)
        if jax.process_index() != 0:
            return
        try:
            if not in_bucket(self.path):
                remove_halves(self.path)
            if max(saved_steps(self.checkpoints), default=0) < config.schedule.total_steps:
                # The run had ended and gets more steps: its dial and report belong to other parameters.
                for name in (DIAL, REPORT):
                    (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None
        self._write(CONFIG, to_dict(config))

    def config(self) -> ExperimentConfig:
        """Reads the run's configuration, with all sizes resolved.

        Raises:
            CheckpointError: The folder holds no run, or its configuration is damaged or of another version.
        """
        if not (self.path / CONFIG).exists():
            raise CheckpointError(f"'{self.path}' holds no run ({CONFIG} is missing)")
        return self._build(ExperimentConfig, CONFIG, settings_of_today)

    def dial(self) -> SpeedDial:
        """Reads the run's speed dial.

        Raises:
            CheckpointError: The run has none because its trim-tuning has not ended, or the file is damaged.
        """
        if not (self.path / DIAL).exists():
            raise CheckpointError(
                f"'{self.path}' holds no speed dial ({DIAL} is missing): its trim-tuning has not ended; {RENEW}"
            )
        return self._build(SpeedDial, DIAL)

    def write_language(self, language: Language) -> None:
        """Saves tokenizer and answers, so that the run can be served without its data.

        Args:
            language: Tokenizer and names of the answers.

        Raises:
            TrainingError: The folder cannot be written.
        """
        if jax.process_index() == 0:
            try:
                write_language(self.path, language)
                record_digests(self.path, [TOKENIZER, ANSWERS])
            except OSError as error:
                raise self._unwritable(error) from None

    def write_dial(self, dial: SpeedDial) -> None:
        """Saves the speed dial.

        Args:
            dial: Speed dial measured after training.

        Raises:
            TrainingError: The folder cannot be written.
        """
        self._write(DIAL, to_dict(dial))

    def write_report(self, report: dict[str, Any]) -> None:
        """Saves the final report.

        Args:
            report: JSON-ready report; see `evaluation.report.build_report`.

        Raises:
            TrainingError: The folder cannot be written.
        """
        self._write(REPORT, report)

    def _known_config(self) -> ExperimentConfig | None:
        """Configuration of the folder's run, from its last checkpoint if `config.json` is missing or damaged."""
        try:
            return self.config()
        except CheckpointError as error:
            try:
                settings = metadata(self.checkpoints)["config"]
            except (CheckpointError, KeyError, TypeError):
                _log.warning("%s; it is written anew, and not compared with this run's", error)
                return None
            try:
                known = build(ExperimentConfig, settings_of_today(settings))
            except (ConfigError, AttributeError, TypeError):
                # The checkpoint's configuration is not understood either, so another version wrote it.
                raise error from None
            _log.warning("%s; that of the last checkpoint is taken", error)
            return known

    def _build(self, cls: type[T], name: str, of_today: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> T:
        settings = of_today(read_json(self.path / name, RENEW))
        try:
            return build(cls, settings, name.removesuffix(".json"))
        except ConfigError as error:
            raise CheckpointError(
                f"'{self.path / name}' is damaged or of another version of this library ({error}); {RENEW}, or use "
                "the version that wrote it"
            ) from None

    def _check_more_steps(self, key: str, old: int, new: int, done: int) -> None:
        """Checks a changed number of steps. Steps may be added; schedules then follow the new length from here on.

        Raises:
            ConfigError: Steps were taken away, or a phase that has passed is to grow.
        """
        if new < old:
            raise ConfigError(
                f"'{self.path}' holds a run with config.{key} = {old}, not {new}; steps can be added, not taken "
                f"away: ask for {old} or more, or choose another --workdir"
            )
        if key == "schedule.full_steps" and done > old:
            raise ConfigError(
                f"'{self.path}' holds a run that has begun to trim after config.{key} = {old} steps, so there can be "
                f"no {new}; add to schedule.trim_steps instead, or choose another --workdir"
            )
        _log.warning(
            "config.%s is %d, no longer %d: schedules follow the new length from step %d", key, new, old, done
        )

    def _another_run(self, key: str, old: Any, new: Any) -> ConfigError:
        return ConfigError(
            f"'{self.path}' holds a run with config.{key} = {old!r}, not {new!r}; "
            "choose another --workdir, or the same configuration to go on"
        )

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if jax.process_index() != 0:
            return
        try:
            write_json(self.path / name, content)
            record_digests(self.path, [name])
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> TrainingError:
        reason = error.strerror or error
        return TrainingError(f"cannot write to workdir '{self.path}': {reason}; choose a writable --workdir")


def _is_free(key: str) -> bool:
    return any(key == free or key.startswith(f"{free}.") for free in FREE)


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def describe(config: ExperimentConfig) -> dict[str, Any]:
    """Describes a run for its checkpoints: the resolved configuration and the versions that wrote it.

    Args:
        config: Run configuration, all sizes resolved.

    Returns:
        JSON-ready dict with `config` and `versions`.
    """
    return {"config": to_dict(config), "versions": {"smarttrim_jax": __version__, "jax": jax.__version__}}
