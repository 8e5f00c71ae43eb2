"""The words of the task ``story_qa``, by their tokens: grammar, then people, places, objects, then filler."""

from __future__ import annotations

GRAMMAR = ("where", "?", "goes", "runs", "walks", "hurries", "takes", "lifts", "drops", "leaves")
WHERE, MARK = 0, 1
#: Tokens of the verbs of each kind, which mean the same.
MOVE, TAKE, DROP = range(2, 6), range(6, 8), range(8, 10)
FIRST_NAME = len(GRAMMAR)

PEOPLE = (
    "ada", "bo", "ben", "cleo", "dan", "eva", "finn", "greta",
    "hugo", "ida", "jon", "kira", "leo", "mia", "nils", "ona",
)  # fmt: skip
PLACES = (
    "attic", "barn", "cabin", "cave", "cellar", "dock", "forge", "harbour",
    "library", "market", "meadow", "mill", "orchard", "shed", "tower", "well",
)  # fmt: skip
OBJECTS = (
    "axe", "lamp", "bell", "book", "bucket", "coin", "drum", "flute",
    "hat", "kettle", "ladder", "map", "net", "rope", "scarf", "spade",
)  # fmt: skip
#: Names of a kind that there are.
MOST = 16
