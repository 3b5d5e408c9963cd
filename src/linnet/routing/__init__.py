"""Which model answers: within a policy, within a budget, and with the reason said.

In reading order: ``settings`` (``routing.toml``, one file with everything that the owner decides),
``models`` (those beyond this machine, and what they ask), ``policy`` (what may leave, decided
before anything is written out for sending), ``budgets`` (what may be spent), ``ledger``
(what was), ``router`` (which model a question goes to), ``responder`` (all of it as one responder).
"""
