"""Finding passages: lexical search so far."""
