"""What the parts of a report are made of: frozen models, texts that can be read anywhere, how things ended."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def readable(text: object) -> object:
    """Drop colours; spell out control characters, lone surrogates and bidi overrides."""
    if not isinstance(text, str):
        return text
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    text = _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
    return text.encode("utf-8", "backslashreplace").decode()


Text = Annotated[str, BeforeValidator(readable)]


class Outcome(StrEnum):
    """How one test ended; a test has one outcome, the worst of its phases and attempts."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"


class Verdict(StrEnum):
    """What the run as a whole says."""

    PASSED = "passed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    NOTHING = "nothing proved"


class Part(BaseModel):
    """A piece of the report."""

    model_config = ConfigDict(frozen=True)
