"""The one error type a user should ever see."""

from __future__ import annotations


class CarseqError(Exception):
    """An expected failure, with what the reader needs to correct it.

    Parameters
    ----------
    message
        What went wrong, in one line.
    cause
        Why, with the offending value or place.
    remedy
        What to do about it.
    """

    def __init__(self, message: str, cause: str = "", remedy: str = "") -> None:
        self.message = message
        self.cause = cause
        self.remedy = remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [self.message]
        if self.cause:
            lines.append(f"  why:        {self.cause}")
        if self.remedy:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[CarseqError], tuple[str, str, str]]:
        return type(self), (self.message, self.cause, self.remedy)
