"""Nouns that travel between rooms. Frozen; a change means ``dataclasses.replace``."""
