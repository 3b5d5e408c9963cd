"""One language of constraints for every engine.

In reading order: ``patterns`` (the grammar), ``regex`` and ``json_schema`` (what is compiled to it;
with ``json_values``, ``numerals`` and ``automata``), ``gbnf`` and ``lark`` (how it is written for
llama.cpp and llguidance), ``cost`` (what llama.cpp would follow too slowly), ``compiler``.
"""
