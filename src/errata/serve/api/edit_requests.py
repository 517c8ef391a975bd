"""The body of POST /v1/edits: edits, the method, and what is to become of them. Knows shapes; makes no edit."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from errata.edits import Goal
from errata.serve.api.openai import Strict
from errata.serve.api.prompts import PromptAsked, RawPromptAsked, Text, Wording, wrong
from errata.serve.settings import DEFAULT_METHOD

MOST = 256  # edits of one request


class ProbeAsked(PromptAsked):
    """A question, and its answer where there is a right one."""

    answer: Text | None = None
    kind: Text | None = Field(None, description="a word by which figures are told apart")


class EditAsked(RawPromptAsked):
    """When asked `prompt` or `messages`, answer `target`, or what is answered now with some words replaced."""

    target: Text | None = Field(None, description="what it must answer")
    replace: Annotated[dict[Text, Text], Field(min_length=1)] | None = Field(
        None, description="words of the answer that are wrong, with the right ones, instead of a target",
        validate_default=True,
    )  # fmt: skip
    subject: Text | None = Field(None, description="whom it is about, as the prompt has it; some methods need it")
    ground_truth: Text | None = Field(None, description="what the target replaces")
    rephrases: list[Wording] = Field(
        [], max_length=100, description="other ways to ask, which must follow: texts or lists of messages"
    )
    locality: list[ProbeAsked] = Field([], max_length=100, description="questions that must keep their answers")
    portability: list[ProbeAsked] = Field([], max_length=100, description="what follows from the edit")
    id: Text | None = Field(None, max_length=100, description="a name to undo it by; made if left out")
    goal: Goal | None = Field(
        None, description="of a canonical example: what is to become of the target's probability after the prompt"
    )
    rival: Text | None = Field(None, description="the other way to go on, of balance and contrast")

    @field_validator("replace")
    @classmethod
    def _needs_an_answer(cls, replace: Any, info: ValidationInfo) -> Any:
        if replace is None and info.data.get("target", "") is None:
            raise wrong("there is neither a target nor a replace; give one of them")
        if replace is not None and info.data.get("target") is not None:
            raise wrong("there are a target and a replace; give one of them")
        return replace

    def to_json(self) -> dict[str, Any]:
        """Return the edit in the form that `Edit.from_json` reads."""
        return self.model_dump(exclude_none=True)


class EditsAsked(Strict):
    """Edits to make together."""

    edits: list[EditAsked] = Field(min_length=1, max_length=MOST)
    method: str = Field(DEFAULT_METHOD, description="a name of /v1/methods")
    options: dict[str, Any] = Field({}, description="the method's own, by its schema in /v1/methods")
    dry_run: bool = Field(False, description="fit and try, and record nothing")
    gate: str | None = Field(
        None, description="conditions such as locality>=0.99 that the edits must pass, besides the server's own; with "
        "a key of scope admin, instead of them",
    )  # fmt: skip
    stream: bool = Field(
        False, description="tell progress as server-sent events (progress, then result or error), as does the header "
        "Accept: text/event-stream",
    )  # fmt: skip
