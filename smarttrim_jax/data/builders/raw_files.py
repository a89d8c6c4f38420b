"""The raw files of a data set by their path below its root, from a folder or from .tar.gz archives."""

import pathlib
import re
import tarfile
import zlib
from collections.abc import Callable

from smarttrim_jax.errors import DataError

Reader = Callable[[str], bytes | None]


def open_source(source: str, root_folders: tuple[str, ...]) -> Reader:
    """Opens a source.

    Args:
        source: a folder that holds one of `root_folders`; a .tar.gz archive that does, at any depth; or a
            folder of such archives. Archives are read into memory.
        root_folders: names of the folders at the data set's root.

    Returns:
        A function from a path such as `dev/dev.json` to the file's bytes, None if there is no such file.

    Raises:
        DataError: the source does not exist, holds none of the folders, or is a damaged archive.
    """
    path = pathlib.Path(source).expanduser()
    if any((path / folder).is_dir() for folder in root_folders):
        return lambda name: (path / name).read_bytes() if (path / name).is_file() else None
    archives = [path] if path.is_file() else sorted(path.glob("*.tar.gz"))
    below_root = re.compile(rf"(?:.*?/)??((?:{'|'.join(root_folders)})/.+)")
    files: dict[str, bytes] = {}
    for archive in archives:
        files |= _read_archive(archive, below_root)
    if not files:
        folders = ", ".join(root_folders)
        raise DataError(f"no data at '{source}'; it must be a folder or .tar.gz that holds {folders}")
    return files.get


def _read_archive(path: pathlib.Path, below_root: re.Pattern[str]) -> dict[str, bytes]:
    files = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name, content = below_root.fullmatch(member.name), archive.extractfile(member)
                if name and content:
                    files[name[1]] = content.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"cannot read the archive '{path}': {error}; fetch it again") from error
    return files
