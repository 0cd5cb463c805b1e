"""Schemas: every table and every ``obs`` key carseq writes, declared once. Knows no room."""
