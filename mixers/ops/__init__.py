"""Recurrences shared by mixers."""
