"""Readers and writers of files, matrices, BAMs, sequences and addresses. Knows no room."""
