"""Tools of MCP servers: called by whoever answers, for whom its owner lets them be."""

import asyncio
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from linnet import respond
from linnet.errors import ConfigError, MissingExtraError
from linnet.respond import (
    Context,
    ContextFullError,
    Decision,
    Failure,
    Finish,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    conversation,
)
from linnet.respond.responder import Abilities
from linnet.respond.tool_rounds import MOST_ROUNDS, ToolServersResponder
from linnet.respond.tool_servers import (
    ServerTool,
    ToolServer,
    ToolServerError,
    ToolServers,
    read_tool_servers,
)

SERVER = """
import sys, time
from mcp.server import MCPServer
app = MCPServer("made")
@app.tool()
def add(a: int, b: int) -> str:
    "Adds two numbers."
    return f"it is {a + b}"
@app.tool()
def long() -> str:
    return "x" * 100_000
@app.tool()
def slow() -> str:
    time.sleep(60)
    return "late"
@app.tool()
def wrong() -> str:
    raise ValueError("no such thing")
app.run()
"""
ASKED = [{"role": "user", "content": "What is 2 + 3?"}]


def called(name: str, **arguments: Any) -> list[respond.Piece]:
    return [
        respond.Text("I look. "), ToolCall("c1", name, json.dumps(arguments)),
        Usage(10, 2, 3), Finish("tool_calls"),
    ]  # fmt: skip


def said(text: str) -> list[respond.Piece]:
    return [respond.Text(text), Usage(20, 5, 4), Finish("stop")]


class Scripted:
    """Answers each round with the next of these."""

    abilities = Abilities("scripted", 4000)

    def __init__(self, *rounds: Any) -> None:
        self.rounds = list(rounds)
        self.asked: list[respond.Conversation] = []

    async def respond(self, asked: Any, context: Any) -> Any:
        self.asked.append(asked)
        found = self.rounds[min(len(self.asked), len(self.rounds)) - 1]
        if isinstance(found, Exception):
            raise found
        yield found


class Local:
    """Tools without a server."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[str, str]] = []

    async def tools(self) -> Any:
        tools = [ServerTool(Tool(name), "here", name) for name in self.answers if name != "failed"]
        return tools, self.answers.get("failed", [])

    async def call(self, tool: ServerTool, arguments: str) -> str:
        self.calls.append((tool.own_name, arguments))
        answer = self.answers[tool.own_name]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)


def answered(inner: Scripted, servers: Any, *, allowed: bool = True, **asked: Any) -> Any:
    context = Context(server_tools=allowed)
    tools = asked.pop("tools", ())
    pieces = list(
        respond.stream(
            ToolServersResponder(inner, servers), conversation(ASKED, tools, **asked), context
        )
    )
    return pieces, context


def test_a_tool_is_called_and_its_result_goes_to_the_model() -> None:
    inner, servers = Scripted(called("add", a=2, b=3), said("It is 5.")), Local(add="5")
    pieces, context = answered(inner, servers)
    assert servers.calls == [("add", '{"a": 2, "b": 3}')]
    assert [p.text for p in pieces if isinstance(p, respond.Text)] == ["I look. ", "It is 5."]
    assert not [p for p in pieces if isinstance(p, ToolCall)]
    assert pieces[-2:] == [Usage(30, 7, 7), Finish("stop")]
    assert [m.role for m in inner.asked[1].messages] == ["user", "assistant", "tool"]
    assert inner.asked[1].messages[2].parts[0].text == "5"  # type: ignore[union-attr]
    (noted,) = context.record.noted
    assert (noted.subject, noted.outcome, noted.origin.kind) == ("tool", "add", "tool")
    # Not where the call may not, or asks for no tools, or only for some of its own.
    for more in ({"allowed": False}, {"tool_choice": "none"}, {"choices": 2}):
        inner = Scripted(said("No."))
        answered(inner, servers, **more)
        assert inner.asked[0].tools == ()
    assert len(servers.calls) == 1


def test_calls_of_the_clients_own_tools_are_the_clients() -> None:
    own = {"type": "function", "function": {"name": "add"}}
    inner = Scripted([*called("add", a=1)])
    pieces, _ = answered(inner, Local(add="5", other="x"), tools=[own])
    assert [tool.name for tool in inner.asked[0].tools] == ["add", "other"]
    assert [p.name for p in pieces if isinstance(p, ToolCall)] == ["add"]
    assert pieces[-1] == Finish("tool_calls")
    mixed = [ToolCall("c0", "other", "{}"), *called("add")]
    pieces, _ = answered(Scripted(mixed), Local(other="x"), tools=[own])
    assert [p.name for p in pieces if isinstance(p, ToolCall)] == ["add"]
    assert [p.outcome for p in pieces if isinstance(p, Decision)] == ["not called"]


def test_what_fails_is_told_and_the_answer_goes_on() -> None:
    inner = Scripted(called("bad"), said("It failed."))
    servers = Local(bad=ToolServerError("no such thing"), failed=["the tool server 'x' failed"])
    pieces, context = answered(inner, servers)
    assert [(p.code, p.text) for p in pieces if isinstance(p, Failure)] == [
        ("tool_server", "the tool server 'x' failed"), ("tool", "bad: no such thing"),
    ]  # fmt: skip
    assert len(context.record.noted) == 2
    (result,) = inner.asked[1].messages[-1].parts
    assert isinstance(result, ToolResult)
    assert result.text == "error: no such thing"
    assert pieces[-1] == Finish("stop")


def test_rounds_and_results_are_bounded() -> None:
    inner, servers = Scripted(called("add")), Local(add="y" * 100_000)
    pieces, _ = answered(inner, servers)
    assert (len(inner.asked), len(servers.calls)) == (MOST_ROUNDS + 1, MOST_ROUNDS)
    assert inner.asked[-1].tool_choice == "none"
    assert pieces[-1] == Finish("stop")
    result = inner.asked[1].messages[-1].parts[0].text  # type: ignore[union-attr]
    assert result.startswith("y" * 8000 + "\n[cut: the first 8,000 of 100,000")
    full = ContextFullError(9, 8, part="messages")
    inner = Scripted(called("add"), full, said("Too much."))
    pieces, _ = answered(inner, Local(add="y"))
    assert [p.code for p in pieces if isinstance(p, Failure)] == ["tool_result"]
    assert inner.asked[-1].messages[-1].parts[0].text == "the result is too long"  # type: ignore[union-attr]
    with pytest.raises(ContextFullError):
        answered(Scripted(full), Local(add="y"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "expected"), ({"mcpServers": {}}, "expected"), ({"mcpServers": {"a": 3}}, "an object"),
        ({"mcpServers": {"a": {}}}, "a command or a url"),
        ({"mcpServers": {"a": {"command": "x", "url": "http://y"}}}, "one of the two"),
        ({"mcpServers": {"a": {"url": "ftp://y"}}}, "http"),
        ({"mcpServers": {"a": {"command": "x", "args": [1]}}}, "must have texts"),
        ({"mcpServers": {"a": {"command": "x", "cmd": 1}}}, "unknown key 'cmd'"),
        ({"mcpServers": {"a": {"command": "x", "timeout": -1}}}, "timeout"),
        ({"mcpServers": {"a": {"command": "x", "type": "sse"}}}, "stdio or http"),
    ],
)  # fmt: skip
def test_a_file_of_servers_that_is_none(tmp_path: Path, given: Any, told: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps(given))
    with pytest.raises(ConfigError, match=told):
        read_tool_servers(file)


def test_without_the_sdk_what_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtraError, match="pip install mcp"):
        ToolServers([])


def test_a_server_made_with_the_sdk(tmp_path: Path) -> None:
    pytest.importorskip("mcp")
    (tmp_path / "server.py").write_text(SERVER)
    own = {"command": sys.executable, "args": [str(tmp_path / "server.py")], "timeout": 600}
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {
        "made": own, "gone": {"command": str(tmp_path / "nothing")}, "off": {"disabled": True},
    }}))  # fmt: skip
    servers = ToolServers(read_tool_servers(file))

    async def use() -> None:
        tools, failed = await servers.tools()
        by_name = {tool.tool.name: tool for tool in tools}
        assert list(by_name) == ["add", "long", "slow", "wrong"]
        add = by_name["add"].tool
        assert (add.description, sorted(add.parameters["properties"])) == (  # type: ignore[index]
            "Adds two numbers.", ["a", "b"],
        )  # fmt: skip
        assert [text.startswith("the tool server 'gone' failed") for text in failed] == [True]
        assert await servers.call(by_name["add"], '{"a": 2, "b": 3}') == "it is 5"
        assert len(await servers.call(by_name["long"], "{}")) == 100_000
        for name, arguments, told in (
            ("wrong", "{}", "executing tool wrong"), ("add", "[]", "not a JSON object"),
            ("add", '{"a": "x"}', "b"), ("slow", "{}", r"longer than 0\.2 seconds"),
        ):  # fmt: skip
            if name == "slow":
                made = servers._connections["made"]
                made.server = dataclasses.replace(made.server, timeout=0.2)
            with pytest.raises(ToolServerError, match=told):
                await servers.call(by_name[name], arguments)

    try:
        asyncio.run(use())
    finally:
        servers.close()
    assert ToolServer("a", command="x").timeout == 30
