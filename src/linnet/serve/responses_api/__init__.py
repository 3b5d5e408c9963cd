"""OpenAI's Responses: ``items`` (what inputs and outputs consist of), ``reading`` (from a body to
a conversation), ``shape`` (from pieces to items and events)."""
