"""Collects all faults of a data set for one sentence: every kind with its count and its first places."""

import pathlib

from smarttrim_jax.errors import DataError, quoted
from smarttrim_jax.small_files import write_whole

FIRST_PLACES = 3
FILE_NAME = "faults.txt"
"""Name of the file that lists the places of all faults, where a sentence cannot."""


class Faults:
    """Faults by kind, collected before any of them is reported."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def add(self, kind: str, place: str) -> None:
        """Notes a fault.

        Args:
            kind: What is wrong, as a plural: "images that are missing".
            place: Where it is, in a few words.
        """
        self._places.setdefault(kind, []).append(place)

    def refuse(self, name: str, source: str, folder: pathlib.Path) -> None:
        """Raises an error if there are faults; where they are many, all of them are listed in a file.

        Args:
            name: Name of the data set.
            source: Where its raw files are; "" if that is not known.
            folder: Folder of the list.

        Raises:
            DataError: There are faults; the message lists every kind with its count and its first places.
        """
        if not self:
            return
        where = f" in {quoted(source)}" if source else ""
        summary = "; ".join(self._summary(kind) for kind in self._places)
        remedy = "mend them and start again"
        if any(len(places) > FIRST_PLACES for places in self._places.values()):
            lines = [f"{kind}: {place}\n" for kind, places in self._places.items() for place in places]
            write_whole(folder / FILE_NAME, "".join(lines))
            remedy += f" (all are listed in {quoted(folder / FILE_NAME)})"
        raise DataError(f"the data of {name}{where} cannot be used: {summary}; {remedy}")

    def _summary(self, kind: str) -> str:
        places = self._places[kind]
        more = ", ..." if len(places) > FIRST_PLACES else ""
        return f"{kind}: {len(places):,} ({', '.join(places[:FIRST_PLACES])}{more})"
