"""The live server: an OpenAI-compatible API over a model that can be corrected while it serves, and its console."""
