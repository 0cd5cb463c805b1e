"""What a check notes."""

from __future__ import annotations


class Note(str):
    """Something that is not a fault but that the user should know."""
