"""openai-agents with its defaults (the Responses interface) against a running server.

python -m venv agents && agents/bin/pip install openai-agents
linnet serve MODEL --name NAME
agents/bin/python scripts/clients/openai_agents.py http://127.0.0.1:8080 NAME
"""

import asyncio
import os
import sys

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    Runner,
    function_tool,
    set_default_openai_client,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

called: list[str] = []


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    called.append(city)
    return f"It is sunny in {city}."


class Fruit(BaseModel):
    name: str
    price: float


async def main(url: str, model: str) -> None:
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="-", max_retries=0)
    set_default_openai_client(client, use_for_tracing=False)
    short = ModelSettings(max_tokens=200, temperature=0)

    plain = Agent(name="plain", instructions="Answer briefly.", model=model, model_settings=short)
    first = await Runner.run(plain, "Say hello.")
    said = [*first.to_input_list(), {"role": "user", "content": "Again, please."}]
    second = await Runner.run(plain, said)
    third = await Runner.run(plain, "More.", previous_response_id=second.last_response_id)
    assert all(isinstance(run.final_output, str) for run in (first, second, third))
    print("answers:", first.final_output, "|", second.final_output, "|", third.final_output)

    session = OpenAIConversationsSession()
    await Runner.run(plain, "My name is Ada.", session=session)
    await Runner.run(plain, "What is my name?", session=session)
    assert len(await session.get_items()) == 4
    await session.clear_session()

    demanded = ModelSettings(max_tokens=200, temperature=0, tool_choice="required")
    tool = Agent(name="tool", model=model, tools=[weather], model_settings=demanded)
    run = await Runner.run(tool, "What is the weather in Rome?")
    assert called, "the tool was not called"
    print("tool:", called, "|", run.final_output)
    streamed = Runner.run_streamed(tool, "What is the weather in Paris?")
    kinds = [event.type async for event in streamed.stream_events()]
    assert "run_item_stream_event" in kinds
    assert len(called) > 1

    typed = Agent(
        name="typed", instructions="Answer as JSON.", model=model, output_type=Fruit,
        model_settings=short,
    )  # fmt: skip
    run = await Runner.run(typed, "An apple costs 2.")
    assert isinstance(run.final_output, Fruit)
    both = Agent(
        name="both", instructions="Answer as JSON.", model=model, output_type=Fruit,
        tools=[weather], model_settings=short,
    )  # fmt: skip
    run = await Runner.run(both, "An apple costs 2.")
    assert isinstance(run.final_output, Fruit)
    print("types:", run.final_output)


asyncio.run(main(*sys.argv[1:]))
