"""One language of constraints for every engine.

In reading order: ``patterns`` (the grammar); what is compiled to it: ``regex``, ``substring``, and
``json_schema`` (with ``schema``, ``validation``, ``separation``, ``json_values``, ``numerals``);
``automata`` (what holds together); ``gbnf`` and ``lark`` (how it is written for llama.cpp and
llguidance), ``cost`` (what llama.cpp would follow too slowly), ``compiler``.
"""
