"""What all settings are made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

#: The types of fields that hold a number, of which pydantic takes true for 1 and false for 0.
_NUMBERS = (int, float, int | None, float | None)


class Frozen(BaseModel):
    """Immutable settings; an unknown field is an error, and so is a truth value for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in _NUMBERS:
            raise ValueError("Input should be a number")
        return value
