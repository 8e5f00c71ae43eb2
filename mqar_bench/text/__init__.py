"""Plain text as a task: a corpus with its tokenizer, windows of it as examples, and the tokens that recall can tell."""

from mqar_bench.text.corpus import Corpus, default_sources, prepare, read_corpus
from mqar_bench.text.task import Text

__all__ = ["Corpus", "Text", "default_sources", "prepare", "read_corpus"]
