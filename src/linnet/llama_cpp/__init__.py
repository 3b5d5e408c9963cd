"""llama.cpp (through ``xllamacpp``) in a process of its own.

``process`` starts it and talks to it, ``worker`` is that process, and ``client`` asks it what a
GGUF file computes.
"""
