"""Runs the Jinja templates of strangers: they see plain data and nothing else, and they end.

A chat template comes with a model that anyone may have published. It is rendered by
Jinja's immutable sandbox with the settings and additions of ``transformers``
(``transformers.utils.chat_template_utils``): blocks trimmed, loop controls, ``tojson`` without
escapes, ``raise_exception``, ``strftime_now`` and ``{% generation %}``. On top of it:

* only the filters, methods and globals listed here are offered; no template can include another;
* no value grows beyond what a conversation can need, and this is looked at *before* a string is
  repeated, joined, replaced in or padded;
* loops (and their filters), calls, comparisons, slices and everything that is written count as
  work, which is bounded, as is the time; a value of a kind that is not understood is refused.

The bound grows with the conversation, so that a long one is never refused for its length.

Counting cannot see what C code does within one call, so this runs in a process that is ended at
its deadline: :func:`answer` is what :mod:`linnet.tokenizer.confined` calls there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, _PassArg, pass_context
from jinja2.visitor import NodeTransformer

from linnet.tokenizer.template_limits import (
    RefusedError,
    TooMuchError,
    budget,
    check_arguments,
    check_filter,
    check_format,
    check_operation,
    check_text,
    current,
    size_of,
)

MOST_NODES = 20_000  # of its syntax tree; the largest published ones have a tenth
MOST_TAGS = 5_000  # looked at before it is parsed
COMPILED = 16  # templates whose compiled form is kept

FILTERS = frozenset(
    """
    abs attr batch capitalize count d default dictsort e escape first float groupby indent int
    items join last length list lower map max min reject rejectattr replace reverse round safe
    select selectattr slice sort string sum title tojson trim truncate unique upper urlencode
    wordcount
    """.split()  # noqa: SIM905 (a list of words reads better)
)
STRING_METHODS = frozenset(
    """
    capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal
    isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join lower lstrip
    partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split
    splitlines startswith strip swapcase title upper
    """.split()  # noqa: SIM905
)
METHODS: dict[type, frozenset[str]] = {
    str: STRING_METHODS,
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("copy", "count", "index")),
    tuple: frozenset(("count", "index")),
    LoopContext: frozenset(
        """
        changed cycle depth depth0 first index index0 last length nextitem previtem revindex
        revindex0
        """.split()  # noqa: SIM905
    ),
}


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja as the module describes it. Rendering happens within :func:`budget`."""

    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self) -> None:
        # Without the optimizer: it would compute constants while compiling, unbounded.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[GenerationTag, loopcontrols],
            finalize=_finalize,
        )
        offered: dict[str, Callable[..., Any]] = {name: self.filters[name] for name in FILTERS}
        offered["tojson"] = _to_json
        self.filters = {name: _guarded(name, function) for name, function in offered.items()}
        self.filters.update(_step=_step, _value=_value, _concat=_concat)
        self.filters.update(_compared=_look_through, _slice=_slice)
        tests: dict[str, Any] = self.tests  # type: ignore[assignment]
        self.tests = {name: _guarded(name, function) for name, function in tests.items()}
        self.globals = {
            "range": self.globals["range"],
            "dict": TemplateDict(),
            "namespace": TemplateNamespace,
            "raise_exception": _raise_exception,
            "strftime_now": _strftime_now,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if source.count("{{") + source.count("{%") > MOST_TAGS:
            raise jinja2.TemplateSyntaxError(f"it has more than {MOST_TAGS:,} tags", 1)
        parsed = Parser(self, source, name, filename).parse()
        if sum(1 for _ in parsed.find_all(nodes.Node)) > MOST_NODES:
            raise jinja2.TemplateSyntaxError(f"it has more than {MOST_NODES:,} parts", 1)
        for node in parsed.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
            raise jinja2.TemplateSyntaxError("a chat template cannot include others", node.lineno)
        counted = _Counting().visit(parsed)
        counted.set_environment(self)
        return counted  # type: ignore[no-any-return]

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value):
            return False
        if isinstance(obj, Namespace):
            return True
        return any(attr in known for kind, known in METHODS.items() if isinstance(obj, kind))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None
        if value.__name__ != "format":
            raise SecurityError("str.format_map is not offered to chat templates")

        def format_within(*args: Any, **kwargs: Any) -> str:
            check_format(value.__self__, "{", (args, kwargs))
            return wrapped(*args, **kwargs)

        return format_within

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operation(operator, left, right)
        return current().keep(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str):
            args = check_text(name, owner, args)
        return current().keep(super().call(__context, __obj, *args, **kwargs))


class GenerationTag(Extension):
    """``{% generation %}``: what the assistant wrote, between the budget's marks."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_enclose"), [], [], body)
        return block.set_lineno(line)

    def _enclose(self, caller: Callable[[], str]) -> str:
        start, end = current().marks
        return f"{start}{caller()}{end}"


class TemplateDict:
    """``dict(...)`` in a template: makes one, and has none of the class's attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class TemplateNamespace(Namespace):
    """``namespace(...)`` in a template, without names that begin with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # Named like Jinja's, so that ``namespace(self=...)`` works.
        itself, *rest = args
        content = dict(*rest, **kwargs)
        for name in content:
            _check_name(name)
        Namespace.__init__(itself, content)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        Namespace.__setitem__(self, name, value)


class _Counting(NodeTransformer):
    """Puts the counting into a parsed template."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        super().generic_visit(node, *args, **kwargs)
        if isinstance(node, nodes.For) and node.test is not None:
            node.test = nodes.And(_filter(nodes.Const(0), "_step"), node.test, lineno=node.lineno)
        body = getattr(node, "body", None)
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block):
            texts = (text for child in body or () for text in child.find_all(nodes.TemplateData))
            cost = nodes.Const(sum(len(text.data) for text in texts))
            body[:0] = [nodes.ExprStmt(_filter(cost, "_step"), lineno=node.lineno)]  # type: ignore[index]
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_concat")

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_value")

    visit_Dict = visit_List

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _compared(node.expr)
        for operand in node.ops:
            operand.expr = _compared(operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_slice") if isinstance(node.arg, nodes.Slice) else node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, "_value") if node.ctx == "load" else node


def _filter(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _compared(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filter(node, "_compared")


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test that asks for room first and counts what it made."""
    passed = _PassArg.from_obj(function)

    @pass_context
    def guarded(context: Context, value: Any = None, *args: Any, **kwargs: Any) -> Any:
        allowed = current()
        if name in FILTERS:
            check_arguments(name, [*args, *kwargs.values()])
        value, args = check_filter(name, value, args, kwargs)
        first: list[Any] = []
        if passed is _PassArg.context:
            first = [context]
        elif passed is _PassArg.eval_context:
            first = [context.eval_ctx]
        elif passed is _PassArg.environment:
            first = [context.environment]
        return allowed.keep(function(*first, value, *args, **kwargs))

    return guarded


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no names like {name}")


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    return current().keep(value)


@pass_context
def _step(context: Context, cost: Any) -> bool:
    current().spend(cost if isinstance(cost, int) else 1)
    return True


@pass_context
def _look_through(context: Context, value: Any) -> Any:
    """What is compared, or looked for or in: all of it may be read."""
    allowed = current()
    allowed.spend(size_of(value, allowed.limit))
    return value


@pass_context
def _slice(context: Context, value: Any) -> Any:
    """A part of a string or list was copied, however deep what it holds."""
    current().spend(len(value) if isinstance(value, str | list | tuple) else 1)
    return value


@pass_context
def _value(context: Context, value: Any) -> Any:
    return current().keep(value)


@pass_context
def _concat(context: Context, parts: list[Any]) -> str:
    allowed = current()
    allowed.check_size(size_of(parts, allowed.limit))
    return str(allowed.keep("".join(map(str, parts))))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    allowed = current()
    allowed.check_size(size_of(value, allowed.limit))
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    if indent is None and separators is None:
        return encoder.encode(value)
    pieces, size = [], 0
    for piece in encoder.iterencode(value):
        size += len(piece)
        allowed.check_size(size)
        pieces.append(piece)
    return "".join(pieces)


def _raise_exception(message: Any = "") -> None:
    raise RefusedError(str(message))


def _strftime_now(pattern: str) -> str:
    current().check_size(64 * len(pattern))
    return datetime.now().astimezone().strftime(pattern)


def answer(request: Any, seconds: float) -> list[str]:
    """For :mod:`linnet.tokenizer.confined`: a template, its variables and marks, rendered."""
    source, content, marks = request
    return list(render(source, content, marks=tuple(marks), seconds=seconds))


def render(
    source: str, content: Mapping[str, Any], *, marks: tuple[str, str] = ("", ""), seconds: float
) -> tuple[str, str]:
    """Render within the limits of this module, but in this process.

    Gives what came of it and the text: ``done``, or why not: ``refused`` (by the template),
    ``stopped``, ``uncompiled`` or ``failed``.
    """
    try:
        template = _compile(source)
    except jinja2.TemplateSyntaxError as error:
        return "uncompiled", f", line {error.lineno}: {_line(error)}"
    except Exception as error:  # Python's compiler refuses what nests too deeply
        return "uncompiled", f" ({type(error).__name__}: {_line(error)})"
    try:
        with budget(content, marks=marks, seconds=seconds):
            return "done", template.render(content)
    except RefusedError as error:
        return "refused", _line(error)
    except TooMuchError as error:
        return "stopped", _line(error)
    except (RecursionError, MemoryError):
        return "stopped", "it nests without end"
    except Exception as error:  # a template can fail in every way that Python can
        return "failed", f"{type(error).__name__}: {_line(error)}"


@lru_cache(COMPILED)
def _compile(source: str) -> jinja2.Template:
    return BoundedEnvironment().from_string(source)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
