"""Seeds: what is one, and which of them the segments of a data set get."""

from __future__ import annotations

import operator

import numpy as np

MAX_SEED = 2**32  # seeds lie in [0, MAX_SEED): what numpy's legacy generator, hence Zoology, takes


def segment_seeds(seed: int, num_train: int, num_test: int) -> tuple[list[int], list[int]]:
    """The seeds that Zoology's ``prepare_data`` gives to the segments of a data set.

    Train seeds lie in [0, 2**31), test seeds in [2**31, 2**32), so train and test never share one. Both come
    from one stream: the test seeds depend on the number of train segments.

    Args:
        seed: the data seed (Zoology's ``DataConfig.seed``), in [0, 2**32).
        num_train: number of train segments.
        num_test: number of test segments.

    Raises:
        ValueError: the seed is out of range, or a count negative.
        TypeError: the seed is not an integer.
    """
    if min(num_train, num_test) < 0:
        raise ValueError(f"numbers of segments must be at least 0, got {num_train} and {num_test}")
    stream = np.random.RandomState(check_seed("seed", seed))
    train = stream.randint(0, MAX_SEED // 2, size=num_train, dtype=np.int64)
    test = stream.randint(MAX_SEED // 2, MAX_SEED, size=num_test, dtype=np.int64)
    return train.tolist(), test.tolist()


def check_seed(what: str, seed: int) -> int:
    """``seed`` as a plain integer; ``what`` is its name.

    Raises:
        ValueError: it is out of range.
        TypeError: it is not an integer.
    """
    seed = operator.index(seed)
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"{what} must be in [0, 2**32), got {seed}")
    return seed
