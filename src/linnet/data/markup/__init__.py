"""Markup to plain text: one function per format, from text to text."""
