"""The files of the page for reviewing examples; what it shares with the chat page lies there."""
