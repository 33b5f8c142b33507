"""Types that the sections of the parameters share."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from deepdepixelate.files import user_path
from deepdepixelate.locations import location

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1)]
Quality = Annotated[int, Field(ge=1, le=100)]

Device = Annotated[str, Field(description="auto, cpu, cuda, cuda:1 or mps; auto: a GPU if any.")]

Number = TypeVar("Number", int, float)


def _in_order(ends: tuple[Number, Number]) -> tuple[Number, Number]:
    if ends[0] > ends[1]:
        raise ValueError(f"the lower end of a range comes first, not [{ends[0]}, {ends[1]}]")
    return ends


Range = Annotated[tuple[Number, Number], AfterValidator(_in_order)]
"""Both ends of a range, the lower one first."""


def _number_as_text(value: Any) -> Any:
    """``--params name=2024`` is parsed as a number; it means the folder of that name."""
    return str(value) if type(value) is int else value


UserPath = Annotated[Path, BeforeValidator(_number_as_text), AfterValidator(user_path)]
"""A path as a user writes it, see ``user_path``."""


UserLocation = Annotated[
    str,
    BeforeValidator(_number_as_text),
    AfterValidator(lambda written: str(location(written))),
    Field(json_schema_extra={"format": "path"}),
]
"""A path or a URL as a user writes it, see ``location``."""


class Section(BaseModel):
    """Parameters that belong together. The string below a field describes it, in the docs as well.

    Unknown names are refused, and values cannot be changed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
