"""The report as one page that opens from disk: figures to hover over, tables that sort, and every run's record."""

from plots.page.libraries import find_missing
from plots.page.write import write_page

__all__ = ["find_missing", "write_page"]
