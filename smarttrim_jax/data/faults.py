"""Collects all faults of a data set for one sentence: every kind with its count and its first places."""

from smarttrim_jax.errors import DataError, quoted

FIRST_PLACES = 3


class Faults:
    """Faults by kind, collected before any of them is reported."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, kind: str, place: str) -> None:
        """Notes a fault.

        Args:
            kind: What is wrong, as a plural: "images that are missing".
            place: Where it is, in a few words.
        """
        places = self._places.setdefault(kind, [])
        if len(places) < FIRST_PLACES:
            places.append(place)
        self._counts[kind] = self._counts.get(kind, 0) + 1

    def refuse(self, name: str, source: str) -> None:
        """Raises an error if there are faults.

        Args:
            name: Name of the data set.
            source: Where its raw files are; "" if that is not known.

        Raises:
            DataError: There are faults; the message lists every kind with its count and its first places.
        """
        if self._counts:
            where = f" in {quoted(source)}" if source else ""
            listed = "; ".join(self._listed(kind) for kind in self._counts)
            raise DataError(f"the data of {name}{where} cannot be used: {listed}; mend them and start again")

    def _listed(self, kind: str) -> str:
        more = ", ..." if self._counts[kind] > FIRST_PLACES else ""
        return f"{kind}: {self._counts[kind]:,} ({', '.join(self._places[kind])}{more})"
