"""``mqar-bench perf``: check the engines, then time them against their references and against fla.

One file a case (``address``, ``memory``, ``decode``, ``step``, ``sparse_delta``, ``generate``), each with
``check(bench)``, which raises ``PerfError`` at what is wrong, and ``measure(bench)``. Nothing heavy is imported here,
so that the command line's help comes at once.
"""

#: The cases in the order they run; each is the module of that name in this package.
CASES = ("address", "memory", "decode", "step", "sparse_delta", "generate")


class PerfError(RuntimeError):
    """A check that failed, or an engine of ours that could not run: the command ends with exit code 1."""
