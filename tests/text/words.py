"""Made-up text."""

import random
from pathlib import Path


def write_text(path: Path, seed: int = 0, words: int = 3000) -> Path:
    """Words of a small vocabulary, so that pairs of tokens come back."""
    rng = random.Random(seed)
    known = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 7))) for _ in range(60)]
    path.write_text(" ".join(rng.choices(known, k=words)))
    return path
