"""The HTTP API: OpenAI's, so that its clients work as they are, and Errata's own beside it."""
