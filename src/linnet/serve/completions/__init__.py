"""Completions of plain text: ``reading`` (from a body to requests) and ``shape`` (the answer)."""
