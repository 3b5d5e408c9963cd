"""The page with the figures of all answers: static files beside those of the chat page."""
