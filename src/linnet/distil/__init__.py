"""Distillation: a smaller model learns what a larger one expects next.

In reading order: ``divergence`` (between what both expect), ``teachers`` (a model beside, or its
``saved_logits``), ``students`` (fresh ones, or those that exist), ``data`` and ``own_samples``
(what they read), ``loop`` (that of training, for pruned models as well), ``distil`` (all of it).
``written_texts``: for students of another vocabulary.
"""
