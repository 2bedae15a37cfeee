"""A recipe: for each layer its pattern and sparsity, in a JSON file that `sparsify` and trainers read."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesparse.errors import InputError
from edgesparse.patterns import parse_pattern
from edgesparse.workspace import workspace


class LayerRecipe(BaseModel):
    """``sparsity`` is the share of the pattern's units that are zero, in [0, 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    pattern: str
    sparsity: float = Field(ge=0, lt=1)


class Recipe(BaseModel):
    """``layers`` by the name of the node (for a node without name: of its weight); those not listed stay dense.

    ``note`` says where it came from, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = Field(default=1, ge=1, le=1)
    note: str = ""
    layers: dict[str, LayerRecipe]


def read_recipe(path: Path) -> Recipe:
    """The recipe in the JSON file ``path``.

    Raises:
        InputError: no such file, not a recipe, or a pattern that is not known.
    """
    hint = "`edgesparse whatif model.onnx --recipe recipe.json` writes one"
    try:
        recipe = Recipe.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {(error.strerror or str(error)).lower()}", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(
            f"not a recipe: {place + ': ' if place else ''}{first['msg']}", where=str(path), hint=hint
        ) from error
    for name, layer in recipe.layers.items():
        try:
            parse_pattern(layer.pattern)
        except InputError as error:
            raise InputError(f"layer '{name}': {error.what}", where=str(path), hint=error.hint) from error
    return recipe


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Write ``recipe``, whole or not at all. Raises OSError where the disk refuses."""
    with workspace(path.absolute().parent) as scratch:
        fresh = scratch / "recipe.json"
        fresh.write_text(recipe.model_dump_json(indent=2) + "\n")
        fresh.replace(path)
