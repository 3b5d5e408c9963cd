"""Ollama's interface: ``reading`` makes a conversation of a body, ``shape`` says how it is
answered, ``models`` how models are described. The endpoints are ``linnet.serve.endpoints.ollama``.

Reference: https://github.com/ollama/ollama/blob/main/docs/api.md
"""
