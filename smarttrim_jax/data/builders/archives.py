"""Archives (.tar.gz) of unknown origin, unpacked with limits into one temporary file and read from there."""

import gzip
import os
import pathlib
import re
import tarfile
import tempfile
import weakref
from typing import BinaryIO

from smarttrim_jax.errors import DataError, quoted, reason

MOST_MEMBERS = 2**20
MOST_MEMBER_BYTES = 2**31
MOST_HEADER_BYTES = 2**20
COPIED_AT_ONCE = 2**20
LONGEST_NAME = 4096
# Images hardly compress, and text about tenfold. An archive that grows much more is meant to fill disks.
MOST_GROWTH = 100
UNSUSPICIOUS_BYTES = 2**28


class Archives:
    """The files that archives hold below a root.

    Nothing is written under a name that an archive gives: contents are stored end to end in one unnamed temporary
    file, which is deleted with this object.

    Args:
        workspace: Folder of the temporary file, created if missing; None for the system's folder for temporary files.
        below_root: Pattern that matches names of members; its first group is the path below the root.
    """

    def __init__(self, workspace: str | None, below_root: re.Pattern[str]) -> None:
        if workspace is not None:
            pathlib.Path(workspace).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workspace) as file:
            self._content = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._content)
        self._below_root = below_root
        # Start and size of each file in the temporary file; None for links and other special members.
        self._places: dict[str, tuple[int, int] | None] = {}

    def __len__(self) -> int:
        return len(self._places)

    def read(self, name: str, most_bytes: int = MOST_MEMBER_BYTES) -> bytes | None:
        """Reads a file.

        Args:
            name: Path of the file below the root.
            most_bytes: Maximum size of the file.

        Returns:
            Its content; None if there is no such file.

        Raises:
            DataError: The member is larger, or is not a regular file.
        """
        if name not in self._places:
            return None
        place = self._places[name]
        if place is None:
            raise DataError(
                f"'{name}' is a link or no whole file in its archive; "
                "pack it anew with: tar --dereference --hard-dereference"
            )
        start, size = place
        if size > most_bytes:
            raise DataError(f"'{name}' has {size:,} bytes; at most {most_bytes:,} are read")
        return os.pread(self._content, size, start)

    def add(self, archive: BinaryIO, name: str) -> None:
        """Unpacks an archive.

        Args:
            archive: Seekable file with the archive's bytes.
            name: Name of the archive in error messages.

        Raises:
            DataError: The archive is damaged, or exceeds the limits of size and number.
        """
        try:
            size = archive.seek(0, os.SEEK_END)
            archive.seek(0)
            with _Unpacked(fileobj=archive) as stream, tarfile.TarFile(fileobj=stream) as members:
                most_bytes = UNSUSPICIOUS_BYTES + MOST_GROWTH * size
                self._add_all(members, stream, most_bytes)
                # Reads to the end of the stream, where gzip compares the checksum over all of it.
                stream.allow(most_bytes)
                while stream.read(COPIED_AT_ONCE):
                    pass
        except Exception as error:  # tarfile and zlib raise many types on damaged headers.
            raise DataError(f"cannot read the archive {quoted(name)}: {reason(error)}; fetch it again") from error

    def _add_all(self, members: tarfile.TarFile, stream: "_Unpacked", most_bytes: int) -> None:
        for _ in range(MOST_MEMBERS):
            stream.allow(MOST_HEADER_BYTES)
            member = members.next()
            if member is None:
                return
            members.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all members in memory.
            _check(member)
            if members.offset > most_bytes:
                raise DataError(f"it unpacks to more than {MOST_GROWTH} times its size")
            below_root = self._below_root.fullmatch(member.name)
            if below_root and not member.isdir():
                self._places[below_root[1]] = self._copied(member, stream)
        raise DataError(f"it has more than {MOST_MEMBERS:,} members")

    def _copied(self, member: tarfile.TarInfo, stream: "_Unpacked") -> tuple[int, int] | None:
        if not member.isreg() or member.issparse():
            return None
        start = os.lseek(self._content, 0, os.SEEK_END)
        stream.seek(member.offset_data)
        stream.allow(member.size)
        left = member.size
        while left:
            part = stream.read(min(left, COPIED_AT_ONCE))
            if not part:
                raise DataError("it ends too early")
            with memoryview(part) as rest:
                written = 0
                while written < len(rest):
                    written += os.write(self._content, rest[written:])
            left -= len(part)
        return start, member.size


class _Unpacked(gzip.GzipFile):
    """Decompressed stream that tarfile reads, with bounded reads: a forged size could ask for all memory."""

    _allowed = MOST_HEADER_BYTES

    def allow(self, size: int) -> None:
        """Sets how many bytes the next reads may take together.

        Args:
            size: Number of bytes.
        """
        self._allowed = size

    def read(self, size: int | None = -1) -> bytes:
        """Reads bytes; refuses to read more than allowed.

        Args:
            size: Number of bytes; None and negative numbers are refused.

        Returns:
            The bytes.

        Raises:
            DataError: More bytes are asked for than `allow` permits.
        """
        if size is None or not 0 <= size <= self._allowed:
            raise DataError("a header in it is too large")
        self._allowed -= size
        return super().read(size)


def _check(member: tarfile.TarInfo) -> None:
    name = member.name
    if len(name) > LONGEST_NAME:
        raise DataError(f"the name of its member {quoted(name)} is longer than {LONGEST_NAME:,} characters")
    if name.startswith("/") or ".." in name.split("/"):
        raise DataError(f"its member {quoted(name)} lies outside it")
    if member.size > MOST_MEMBER_BYTES:
        raise DataError(
            f"its member {quoted(name)} has {member.size:,} bytes; at most {MOST_MEMBER_BYTES:,} are read"
        )
