"""GGUF, llama.cpp's file format: what each part of a model is called there, both ways."""
