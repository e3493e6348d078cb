"""Class descriptions from a language model: prompts, the endpoint, and a run that can be stopped and goes on."""
