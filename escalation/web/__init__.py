"""The pages: they show and hand on, every rule is in the layer below."""
