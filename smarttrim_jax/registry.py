"""Implementations of a contract by name: those of this library, and those of a user's own code.

A name is either registered (`easy_vqa`) or tells where the implementation is (`package.module:Name`). Names also come
from files: a run's configuration, a saved model. Nothing that a file names is ever imported, so `find` only looks at
modules that are already imported. Code that acts for the user (a command's flags, or a configuration file that the
user wrote) calls `import_implementation` first.
"""

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from smarttrim_jax.errors import ConfigError, quoted, reason

T = TypeVar("T")


class Registry(Generic[T]):
    """The implementations of one contract by name.

    Args:
        contract: Name of an implementation in errors, for example "data set".
        implementations: The library's implementations by name.
    """

    def __init__(self, contract: str, implementations: Mapping[str, T] | None = None):
        self._contract = contract
        self._implementations: dict[str, T] = dict(implementations or {})

    def __iter__(self) -> Iterator[str]:
        return iter(self._implementations)

    def register(self, name: str, implementation: T) -> None:
        """Registers an implementation by name.

        Args:
            name: Its name, without a colon.
            implementation: The object that `find` returns for the name.

        Raises:
            ConfigError: Another implementation has the name, or the name contains a colon.
        """
        if ":" in name:
            raise ConfigError(f"{self._contract} {quoted(name)} cannot be registered: a name has no colon")
        if self._implementations.setdefault(name, implementation) is not implementation:
            raise ConfigError(f"there is a {self._contract} {quoted(name)} already; choose another name")

    def find(self, name: str) -> T:
        """Finds the implementation of a name; nothing is imported.

        Args:
            name: A registered name, or `package.module:Name` of a module that is already imported.

        Returns:
            The implementation.

        Raises:
            ConfigError: No implementation has the name, or its module is not imported.
        """
        if ":" in name:
            return self._find_imported(name)
        if name not in self._implementations:
            known = ", ".join(map(repr, self._implementations))
            raise ConfigError(
                f"there is no {self._contract} {quoted(name)}; known are {known}, and your own as "
                "'package.module:Name' or registered by a module that --plugins names"
            )
        return self._implementations[name]

    def _find_imported(self, name: str) -> T:
        """Finds an attribute of a module that is already imported."""
        module_name, _, attribute = name.partition(":")
        module = sys.modules.get(module_name)
        if module is None:
            raise ConfigError(
                f"the {self._contract} {quoted(name)} is not imported, and no name in a file is a reason to import "
                f"it; pass --plugins={module_name}, or import the module first"
            )
        if not hasattr(module, attribute):
            raise ConfigError(f"module {quoted(module_name)} has no {self._contract} {quoted(attribute)}")
        implementation: T = getattr(module, attribute)
        return implementation


def import_implementation(name: str) -> None:
    """Imports the module of a `package.module:Name` that the user wrote; other names need no import.

    Args:
        name: Name of an implementation of any contract.

    Raises:
        ConfigError: The module cannot be imported.
    """
    module_name, colon, _ = name.partition(":")
    if colon:
        import_plugin(module_name)


def import_plugin(module_name: str) -> None:
    """Imports a module of the user's, which may register implementations.

    Args:
        module_name: Its dotted name, importable from the working folder or an installed package.

    Raises:
        ConfigError: The module cannot be imported.
    """
    try:
        importlib.import_module(module_name)
    except Exception as error:  # the module's own code may raise anything
        raise ConfigError(
            f"cannot import {quoted(module_name)} ({type(error).__name__}: {reason(error)}); give a module that "
            "Python finds from here, or fix it"
        ) from error
