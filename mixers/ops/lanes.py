"""Vectors of ``LANES`` numbers as values of compiled code, for what a compiler does not vectorise by itself.

A loop over the numbers of a slot is short, and its compiler must suspect that slots overlap: most of its time goes
to checks. These operations are plain LLVM vectors, which become whatever registers the machine has. Arrays are
addressed by a flat index from their first element, unchecked; they must be contiguous.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from mixers.ops.rows import ORDERED

LANES = 16
#: Where arrays begin, for arguments: of a number that is written out, numba makes a type and the function anew.
START = np.intp(0)
#: How kernels are compiled, in which every sum has its order.
COMPILED: dict[str, Any] = {
    "nogil": True, "cache": True, "error_model": "numpy", "fastmath": ORDERED, "no_cfunc_wrapper": True,
}  # fmt: skip
#: And functions that only they call.
INLINED = COMPILED | {"no_cpython_wrapper": True, "no_rewrites": True}


class Lanes(types.Type):
    """``LANES`` numbers of a numba dtype."""

    def __init__(self, dtype):
        super().__init__(name=f"Lanes({dtype})")
        self.dtype = dtype


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), LANES))


def compiled(function: Callable) -> Any:
    """An intrinsic, which takes neither the first argument nor the types that ``function`` says."""
    return intrinsic(function)


def _address(context, builder, array_type, array, index, vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


def _size(array_type):
    return array_type.dtype.bitwidth // 8


@compiled
def load(typingctx, array, index):
    """The ``LANES`` elements of an array from flat index ``index`` on."""
    kind = Lanes(array.dtype)

    def code(context, builder, signature, args):
        pointer = _address(context, builder, array, args[0], args[1], context.get_value_type(kind))
        return builder.load(pointer, align=_size(array))

    return kind(array, types.intp), code


@compiled
def store(typingctx, array, index, value):
    """Put ``LANES`` numbers where ``load`` would read them."""

    def code(context, builder, signature, args):
        pointer = _address(context, builder, array, args[0], args[1], args[2].type)
        builder.store(args[2], pointer, align=_size(array))
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


@compiled
def get(typingctx, array, index):
    """The element at flat index ``index``, which is not asked whether it counts from the end."""

    def code(context, builder, signature, args):
        return builder.load(builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]]))

    return array.dtype(array, types.intp), code


@compiled
def put(typingctx, array, index, value):
    """Put a number where ``get`` would find it."""

    def code(context, builder, signature, args):
        pointer = builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])
        builder.store(args[2], pointer)
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), code


@compiled
def spread(typingctx, number):
    """The same number in all lanes."""
    kind = Lanes(number)

    def code(context, builder, signature, args):
        vector = context.get_value_type(kind)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

    return kind(number), code


def _operator(symbol, floating: str, integer: str) -> None:
    """Give vectors an operator from the names of LLVM's instructions."""

    @infer_global(symbol)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            return signature(args[0], *args) if isinstance(args[0], Lanes) and args[0] == args[1] else None

    @lower_builtin(symbol, Lanes, Lanes)
    def code(context, builder, signature, args):
        return getattr(builder, floating if isinstance(signature.return_type.dtype, types.Float) else integer)(*args)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", "sdiv")


@compiled
def madd(typingctx, a, b, c):
    """``a * b + c``, in one rounding where the machine can."""

    def code(context, builder, signature, args):
        vector = args[0].type
        name = f"llvm.fmuladd.v{LANES}{'f32' if a.dtype is types.float32 else 'f64'}"
        function = builder.module.declare_intrinsic(name, fnty=ir.FunctionType(vector, [vector] * 3))
        return builder.call(function, args)

    return (a(a, b, c), code) if a == b == c else None


@compiled
def total(typingctx, a):
    """The sum of the lanes, halves added to halves."""

    def code(context, builder, signature, args):
        value, width = args[0], LANES
        undefined = ir.Constant(ir.VectorType(value.type.element, width), ir.Undefined)
        while width > 1:
            width //= 2
            low, high = (
                builder.shuffle_vector(value, undefined, ir.Constant(ir.VectorType(ir.IntType(32), width), indices))
                for indices in (list(range(width)), list(range(width, 2 * width)))
            )
            value = builder.fadd(low, high)
            undefined = ir.Constant(value.type, ir.Undefined)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return a.dtype(a), code


@compiled
def where_equal(typingctx, a, b, value):
    """``value`` in the lanes where integers a and b are equal, 0 elsewhere."""

    def code(context, builder, signature, args):
        same = builder.icmp_signed("==", args[0], args[1])
        return builder.select(same, args[2], ir.Constant(args[2].type, [0.0] * LANES))

    return (value(a, b, value), code) if a == b else None


@compiled
def larger(typingctx, a, b):
    """The larger number in each lane, ``a`` if one is NaN."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[1], args[0]), args[1], args[0])

    return (a(a, b), code) if a == b else None


@compiled
def exchange(typingctx, keys, values, i, j):
    """Put the larger key to flat index i and the other to j, in each lane; of equals, the lower value to i.

    The values follow their keys. NaN stays where it is.
    """

    def code(context, builder, signature, args):
        places = [
            [_address(context, builder, array, arg, at, context.get_value_type(Lanes(array.dtype))) for at in args[2:]]
            for array, arg in ((keys, args[0]), (values, args[1]))
        ]
        (key_i, key_j), (value_i, value_j) = (
            [builder.load(place, align=_size(array)) for place in pair]
            for pair, array in zip(places, (keys, values), strict=True)
        )
        tie = builder.and_(builder.fcmp_ordered("==", key_i, key_j), builder.icmp_signed("<", value_j, value_i))
        swap = builder.or_(builder.fcmp_ordered(">", key_j, key_i), tie)
        for pair, i, j, array in zip(places, (key_i, value_i), (key_j, value_j), (keys, values), strict=True):
            builder.store(builder.select(swap, j, i), pair[0], align=_size(array))
            builder.store(builder.select(swap, i, j), pair[1], align=_size(array))
        return context.get_dummy_value()

    return types.void(keys, values, types.intp, types.intp), code


@compiled
def exponential(typingctx, x):
    """``exp`` of numbers up to 80, in float32 within two units in the last place.

    It relies on the order of its operations: call it from code without the fast-math flag ``reassoc``.
    """

    def code(context, builder, signature, args):
        vector, lanes = args[0].type, range(LANES)

        def call(name, *arguments):
            kind = f"v{LANES}{'f32' if x.dtype is types.float32 else 'f64'}"
            function = ir.FunctionType(vector, [vector] * len(arguments))
            return builder.call(builder.module.declare_intrinsic(f"llvm.{name}.{kind}", fnty=function), arguments)

        if x.dtype is not types.float32:
            return call("exp", args[0])

        def number(value):
            return ir.Constant(vector, [value] * LANES)

        integer = ir.VectorType(ir.IntType(32), LANES)
        bias, half, mantissa = (ir.Constant(integer, [value for _ in lanes]) for value in (127, 1, 23))
        small = builder.fcmp_ordered("<", args[0], number(-110.0))  # far below what exp makes 0
        value = builder.select(small, number(-110.0), args[0])
        # exp(x) = 2^n exp(rest): adding 1.5 * 2^23 rounds to an integer and leaves it in the last bits
        round_to = number(12582912.0)
        shifted = call("fma", value, number(1.4426950408889634), round_to)
        n = builder.fsub(shifted, round_to)
        rest = call("fma", n, number(-0.693359375), value)  # log 2 in two parts, the first with few bits
        rest = call("fma", n, number(2.12194440054690583e-4), rest)
        result = number(1 / 5040)
        for factorial in (720, 120, 24, 6, 2, 1, 1):
            result = call("fma", result, rest, number(1 / factorial))
        n = builder.sub(builder.bitcast(shifted, integer), builder.bitcast(round_to, integer))
        first = builder.ashr(n, half)  # in two steps, the second of which may round below the normal numbers
        for power in (first, builder.sub(n, first)):
            result = builder.fmul(result, builder.bitcast(builder.shl(builder.add(power, bias), mantissa), vector))
        return result

    return x(x), code


@numba.njit(**INLINED)
def lines(count, width, like):
    """``count * width`` zeros that begin where a cache line does: no vector then lies in two of them."""
    room = np.zeros(count * width + 64, like.dtype)
    skip = np.intp(-room.ctypes.data % 64) // room.itemsize
    return room[skip : skip + count * width]


@numba.njit(**INLINED)
def lay_out(x, n, size, width, out, line):
    """Line n of x ``[., size]`` as a line of ``out`` ``[., width]``, before zeros."""
    source, target = n * size, line * width
    whole = size // LANES * LANES
    for c in range(0, whole, LANES):
        store(out, target + c, load(x, source + c))
    if whole < width:
        store(out, target + whole, spread(out.dtype.type(0)))
        for c in range(whole, size):
            put(out, target + c, get(x, source + c))


@numba.njit(**INLINED)
def put_back(out, line, size, width, x, n):
    """The other way."""
    source, target = line * width, n * size
    whole = size // LANES * LANES
    for c in range(0, whole, LANES):
        store(x, target + c, load(out, source + c))
    for c in range(whole, size):
        put(x, target + c, get(out, source + c))
