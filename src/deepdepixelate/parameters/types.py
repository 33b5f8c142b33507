"""What the sections of the parameters are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Parameters that belong together: no other names, and no change once they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
