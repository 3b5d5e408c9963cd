"""Compression: the smallest model that loses less than so much on its owner's own questions.

In reading order: ``quality`` (what gold answers cost, question by question), ``choice`` (whether a
candidate is as good as the model, as far as the questions can tell), ``importance`` (which inputs
of a matrix matter), ``mixing`` (number formats for each tensor, within a size), ``gptq`` and
``blockwise`` (numbers of a format chosen together, block by block), ``candidates`` (files that are
made and measured), ``compress`` (all of it, with the table and the choice). ``sparsity`` has
references only.
"""
