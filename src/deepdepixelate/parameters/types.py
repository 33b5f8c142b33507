"""What the sections of the parameters are made of."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from deepdepixelate.files import user_path

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _named_by_a_number(value: Any) -> Any:
    """``--params name=2024`` gives a number, where a folder of that name is meant."""
    return str(value) if type(value) is int else value


UserPath = Annotated[Path, BeforeValidator(_named_by_a_number), AfterValidator(user_path)]
"""A file or folder of a user's; see ``user_path``."""


class Section(BaseModel):
    """Parameters that belong together: no other names, and no change once they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
