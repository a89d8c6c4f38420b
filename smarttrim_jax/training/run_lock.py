"""A lock on a run's folder, so that two trainings never share one.

The lock is a file, `run.lock`, that names its holder: host, process and start time. The holder renews it every half
minute. A lock is stale, and is taken over, where

- its process no longer runs on this very machine, for example after a kill: at once;
- it has not been renewed for three minutes, for example by a machine that was taken away.

A recently renewed lock of another machine is watched until it is renewed again, which shows that its holder is alive,
or becomes stale. So a start does not fail merely because its predecessor was lost a moment ago.
"""

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import jax
from etils import epath

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import ConfigError, TrainingError
from smarttrim_jax.processes import by_first
from smarttrim_jax.small_files import in_bucket, read_whole, write_json

_log = logging.getLogger(__name__)

FILE_NAME = "run.lock"
RENEWED_EVERY = 30.0
STALE_AFTER = 180.0
# A file that is not JSON was left by a process that was killed while it wrote its first lock.
_HALF_WRITTEN_STALE_AFTER = 5.0
_LOOK_EVERY = 1.0
# If two processes take over a stale lock at once, the later writer has it, which the other sees after this time.
_SETTLED_AFTER = 0.5
_SETTLED_IN_BUCKET_AFTER = 2.0


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        host: Name of the machine.
        machine: Identifies the machine's boot and the container; "" where the system does not tell.
        process: Process id.
        process_start: Start time of the process, as the system counts it; "" where the system does not tell.
        since: Time at which the lock was taken, for people.
        lock: Random identifier of this lock.
        renewed: Time of the last renewal, in seconds since 1970.
    """

    host: str
    machine: str
    process: int
    process_start: str
    since: str
    lock: str
    renewed: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"

    @property
    def is_here(self) -> bool:
        """Whether the holder belongs to this machine since its last boot, and to the same container."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    @property
    def is_running(self) -> bool:
        """Whether the holder, a process of this machine, still runs; its id may have been given to another one."""
        return _process_start(self.process) == self.process_start


class RunLock:
    """Holds the lock of a folder while entered as a context.

    Args:
        folder: Existing folder of a run, on a disk or in a bucket.

    Raises:
        TrainingError: On entering: another training holds the lock, or the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._path = epath.Path(folder) / FILE_NAME
        self._holder = _this_process()
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew_until_ended, daemon=True)

    def __enter__(self) -> "RunLock":
        try:
            self._acquire()
        except OSError as error:
            raise TrainingError(
                f"cannot write '{self._path}': {error.strerror or error}; choose a writable --workdir"
            ) from None
        self._renewing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._renewing.join()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Checks that no other process has taken over the lock.

        Raises:
            TrainingError: Another process has: this one had not renewed the lock for so long that it looked lost.
        """
        # A folder that cannot be read is reported by the next write to it.
        with contextlib.suppress(OSError):
            if not self._is_mine():
                raise TrainingError(
                    f"'{self._path}' is no longer held by this training, which had not renewed it for "
                    f"{STALE_AFTER:.0f} s; nothing more is saved; if no other training goes on there, run the same "
                    "command again"
                )

    def _acquire(self) -> None:
        """Takes the lock as soon as it is free or stale."""
        watched: _Lock | None = None
        while True:
            lock = _read(self._path)
            if lock is None:
                if self._create():
                    return
                continue
            if watched is None:
                watched = lock
            renewed = lock.content != watched.content
            if lock.is_stale or (not renewed and watched.is_stale):
                if self._take_over(lock):
                    _log.warning("'%s' was left by %s, and is taken over", self._path, lock)
                    return
                watched = None
                continue
            if renewed or lock.is_surely_held:
                raise TrainingError(
                    f"'{self._path.parent}' is in use: {lock} trains there; wait until it ends, stop it, or choose "
                    "another --workdir"
                )
            if lock is watched:
                _log.warning(
                    "'%s' is of %s; waiting for %.0f s at most, until it is renewed or stale",
                    self._path,
                    lock,
                    lock.stale_after,
                )
            time.sleep(_LOOK_EVERY)

    def _create(self) -> bool:
        """Writes the lock where there is none; returns False where another process was faster."""
        if in_bucket(self._path):
            return self._write_and_settle()
        try:
            with open(self._path, "x", encoding="utf-8") as file:
                json.dump(self._content(), file)
        except FileExistsError:
            return False
        return True

    def _take_over(self, stale: "_Lock") -> bool:
        """Writes the lock over a stale one; returns False where another process was faster."""
        lock = _read(self._path)
        return (lock is None or lock.content == stale.content) and self._write_and_settle()

    def _write_and_settle(self) -> bool:
        write_json(self._path, self._content())
        time.sleep(_SETTLED_IN_BUCKET_AFTER if in_bucket(self._path) else _SETTLED_AFTER)
        return self._is_mine()

    def _content(self) -> dict[str, Any]:
        return to_dict(dataclasses.replace(self._holder, renewed=time.time()))

    def _is_mine(self) -> bool:
        lock = _read(self._path)
        return lock is not None and lock.holder is not None and lock.holder.lock == self._holder.lock

    def _renew_until_ended(self) -> None:
        while not self._ended.wait(RENEWED_EVERY):
            # A full disk may be temporary and does not end training; `check` notices a lost lock.
            with contextlib.suppress(OSError):
                if self._is_mine():
                    write_json(self._path, self._content())


@contextlib.contextmanager
def locked(folder: str | os.PathLike[str]) -> Iterator[Callable[[], None]]:
    """Context that holds the lock of a run's folder for all its processes; an error reaches all of them.

    Args:
        folder: Folder of the run.

    Yields:
        A function that raises TrainingError if another training has taken over the lock.

    Raises:
        TrainingError: Another training holds the lock, or the folder cannot be written.
    """
    lock = RunLock(folder)
    with contextlib.ExitStack() as held:
        by_first(lambda: held.enter_context(lock))
        yield lock.check if jax.process_index() == 0 else lambda: None


class _Lock:
    """A lock as it was read from its file.

    Attributes:
        content: Bytes of the file.
        holder: Holder that the file names; None where it names none that can be understood.
        stale_after: Seconds after reading at which the lock is stale if it has not changed by then.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._read_at = time.monotonic()
        self.holder: Holder | None = None
        self.stale_after = STALE_AFTER
        try:
            settings = json.loads(content)
        except (ValueError, RecursionError):
            self.stale_after = _HALF_WRITTEN_STALE_AFTER
            return
        # A lock written by another version is watched like one of another machine.
        with contextlib.suppress(ConfigError):
            self.holder = build(Holder, settings if isinstance(settings, dict) else {}, "lock")
            age = time.time() - self.holder.renewed
            # Clocks of machines differ, so a negative age tells nothing.
            if age >= 0:
                self.stale_after = max(STALE_AFTER - age, 0.0)

    def __str__(self) -> str:
        return str(self.holder or "another process")

    @property
    def is_surely_held(self) -> bool:
        """Whether the holder's process runs on this machine."""
        return self.holder is not None and self.holder.is_here and self.holder.is_running

    @property
    def is_stale(self) -> bool:
        """Whether the holder's process is gone, or the lock, if unchanged, has not been renewed for too long."""
        if self.holder is not None and self.holder.is_here:
            return not self.holder.is_running
        return time.monotonic() - self._read_at >= self.stale_after


def _read(path: epath.Path) -> _Lock | None:
    try:
        return _Lock(read_whole(path))
    except FileNotFoundError:
        return None


def _this_process() -> Holder:
    return Holder(
        host=socket.gethostname(),
        machine=_machine(),
        process=os.getpid(),
        process_start=_process_start(os.getpid()) or "",
        since=datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds"),
        lock=uuid.uuid4().hex,
        renewed=time.time(),
    )


def _machine() -> str:
    """Identifies this machine's boot and the container this process runs in; "" where the system does not tell."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_start(process: int) -> str | None:
    """Start time of a process of this machine, as the system counts it.

    Returns:
        The time; "" where the system does not tell; None where there is no such process.
    """
    if not os.path.exists("/proc/self/stat"):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return ""
    try:
        # The process name, in parentheses, may contain spaces and parentheses.
        state, *fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else fields[18]
