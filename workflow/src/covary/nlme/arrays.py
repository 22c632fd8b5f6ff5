"""Arrays of NumPy or of JAX, since both go through the same code, and classes that hold some of them."""

import dataclasses
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    # The two have no protocol in common that a static checker knows. Tests check kinds and shapes.
    Array = Any
else:
    Array = jax.Array | np.ndarray

Class = TypeVar("Class")
STATIC = {"static": True}  # metadata of a field of a `pytree`


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def pytree(cls: type[Class]) -> type[Class]:
    """Class decorator: a frozen dataclass that JAX takes apart into its fields.

    Fields with the metadata `STATIC` are part of the structure. `equinox.Module` does the same, but
    makes an object of every method that is asked for, which took a quarter of the time of fits.
    """
    made: Any = dataclasses.dataclass(frozen=True, eq=False)(cls)
    static = tuple(f.name for f in dataclasses.fields(made) if f.metadata.get("static"))
    parts = tuple(f.name for f in dataclasses.fields(made) if f.name not in static)

    def flatten(one):
        return tuple(getattr(one, name) for name in parts), tuple(getattr(one, name) for name in static)

    def unflatten(settings, branches):
        one = object.__new__(made)  # JAX also puts other things than arrays where the arrays were
        for name, value in (*zip(parts, branches, strict=True), *zip(static, settings, strict=True)):
            object.__setattr__(one, name, value)
        return one

    jax.tree_util.register_pytree_node(made, flatten, unflatten)
    return made


def namespace(values: Array) -> ModuleType:
    """The library that works on `values`: NumPy for its own arrays, which compiles nothing, else JAX."""
    return np if isinstance(values, np.ndarray) else jnp
