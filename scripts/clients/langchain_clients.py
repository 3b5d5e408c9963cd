"""LangChain's clients for Ollama and Anthropic with their defaults, against a running server.

python -m venv chains && chains/bin/pip install langchain-ollama langchain-anthropic
linnet serve MODEL --name NAME
chains/bin/python scripts/clients/langchain_clients.py http://127.0.0.1:8080 NAME
"""

import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaLLM
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"Rain in {city}."


url, name = sys.argv[1:]
short = {"temperature": 0.0, "max_tokens": 100}
by_ollama = ChatOllama(
    model=name, base_url=url, validate_model_on_init=True, temperature=0, num_predict=100
)
by_anthropic = ChatAnthropic(model=name, base_url=url, api_key="-", **short)
for chat in (by_ollama, by_anthropic):
    whole = chat.invoke("Say hello.")
    assert whole.usage_metadata["output_tokens"] > 0
    assert "".join(str(chunk.text) for chunk in chat.stream("Say hello.")) is not None
    chat.bind_tools([weather]).invoke("Is it raining in Ulm?")
    called = by_anthropic.bind_tools([weather], tool_choice="any").invoke("Is it raining in Ulm?")
    turns = [HumanMessage("Is it raining in Ulm?"), called]
    turns += [
        ToolMessage(weather.invoke(c["args"]), tool_call_id=c["id"]) for c in called.tool_calls
    ]
    print(type(chat).__name__, "says", repr(chat.bind_tools([weather]).invoke(turns).text))
found = by_ollama.with_structured_output(City).invoke("Which city is it? Answer with a short name.")
assert isinstance(found, City)
print("structured:", found)
print("text:", repr(OllamaLLM(model=name, base_url=url, num_predict=20).invoke("Say hello.")))
