"""Sequences: k-mers and alignment. Knows no room."""
