"""Anthropic's interface: ``reading`` makes a conversation of a body, ``shape`` says how it is
answered. The endpoints are ``linnet.serve.endpoints.messages``.

Reference: https://docs.anthropic.com/en/api/messages
"""
