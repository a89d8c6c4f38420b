"""What jaxtyping's import hook decorates the package with while tests run (see pyproject.toml): checks of shapes."""

import functools
import operator
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray

# JAX rebuilds dataclasses of arrays (`__init__`) with whatever a tree is mapped to: shapes, shardings, None. And what
# a user calls refuses wrong arrays in a sentence of its own, which tests ask for.
_BORDERS = {
    *(f"VisionLanguageModel.{name}" for name in ("__call__", "prefix", "start")),
    *(f"BlipRetrieval.{name}" for name in ("encode_images", "encode_texts", "text_prefix")),
    *(f"{name}.__call__" for name in ("TokenTrimmer", "CrossModalTokenTrimmer", "HeadTrimmer", "PackedExecutor")),
    *(
        "Blip.embed_images",
        "Meter.embed_images",
        "embed_images",
        "TextEmbedding.embed",
        "BlipVqa.decode",
        "write_captions",
        "packed_apply",
        "attend",
        "as_tokens",
    ),
}
# An int is a float wherever one is asked for, as for mypy (PEP 484's numeric tower).
_decorate = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the shapes and dtypes of arguments and results; mypy checks all other types.

    Arrays may be numpy's, as JAX takes them. What mentions no array is free, and so are `Self` and protocols:
    beartype knows the one in whole classes alone, and asking an object whether it follows the other would compute
    its properties (Python 3.11).
    """
    hints = getattr(function, "__annotations__", {})
    if function.__name__ == "__init__" or function.__qualname__ in _BORDERS:
        return function
    for name, hint in hints.items():
        parts = list(_parts(hint))
        is_checked = any(map(_is_array, parts)) and not any(map(_is_free, parts))
        hints[name] = _with_numpy(hint) if is_checked else Any
    return _decorate(function)


def _parts(hint: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield hint
    inner = (hint.__bound__, *hint.__constraints__) if isinstance(hint, typing.TypeVar) else typing.get_args(hint)
    for part in inner:
        yield from _parts(part)


def _is_array(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, AbstractArray)


def _is_free(part: Any) -> bool:
    return part is typing.Self or getattr(part, "_is_protocol", False)


def _with_numpy(hint: Any) -> Any:
    """The type with numpy's arrays wherever it has JAX's."""
    if _is_array(hint):
        return hint.dtype[jax.Array | np.ndarray, hint.dim_str] if hint.array_type is jax.Array else hint
    parts = tuple(map(_with_numpy, typing.get_args(hint)))
    if not parts:
        return hint
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return functools.reduce(operator.or_, parts)
    return typing.get_origin(hint)[parts]
