"""What ends a target early. `targets.main` prints it and turns it into an exit status."""

__all__ = ["StepFailed", "TargetError"]


class TargetError(Exception):
    """A target cannot go on; the message says what is wrong and what would be right."""


class StepFailed(TargetError):
    """A command of a step ended with a status other than 0; the message holds the end of its log."""
