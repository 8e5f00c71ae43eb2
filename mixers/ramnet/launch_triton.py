"""Operators that launch Triton kernels, registered with torch so that its compiler sees them as single calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch.library import CustomOpDef


def operator(name: str, mutates_args: Sequence[str] = ()) -> Callable[[Callable[..., Any]], CustomOpDef]:
    """``torch.library.custom_op`` with the device of the first argument, a tensor, as the current one.

    Triton launches on the current device, which need not be that of the tensors.
    """

    def register(function: Callable[..., Any]) -> CustomOpDef:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with torch.cuda.device_of(args[0]):
                return function(*args, **kwargs)

        schema = torch.library.infer_schema(function, mutates_args=mutates_args)
        return torch.library.custom_op(name, run, mutates_args=mutates_args, schema=schema)

    return register
