"""Whether answers are right, whether a confidence tells, and what can be promised of it.

``matching`` compares an answer with the expected one; ``calibration`` judges a confidence by what
came of it, and ``plots`` shows that; ``bounds`` says what a count of mistakes proves.
"""
