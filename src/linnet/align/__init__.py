"""Alignment: a model that writes rather what was preferred, or what a check rewards.

In reading order: ``losses`` (of log-probabilities), ``objectives`` (of batches).
"""
