"""How fast a model writes here, and how good it stays, on each engine and in each number format.

In reading order: ``candidates`` (what can compute it), ``worker`` (one measurement, in a process
of its own), ``comparison`` (all of them, and the choice).
"""

from linnet.bench.comparison import BenchConfig, Comparison, compare

__all__ = ["BenchConfig", "Comparison", "compare"]
