"""What all settings are made of."""

from __future__ import annotations

from collections.abc import Iterator
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

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """In ``repr``, which would be endless with all that is as by default."""
        given = {path.partition(".")[0] for path, _ in self.changes()}
        return ((name, getattr(self, name)) for name in type(self).model_fields if name in given)

    def changes(self) -> Iterator[tuple[str, Any]]:
        """Dotted paths of the settings that are not as by default, with their values; a list is one value."""
        for name, field in type(self).model_fields.items():
            value, default = getattr(self, name), field.get_default(call_default_factory=True)
            if isinstance(value, Frozen) and type(value) is type(default):
                yield from ((f"{name}.{path}", below) for path, below in value.changes())
            elif value != default:
                yield name, value
