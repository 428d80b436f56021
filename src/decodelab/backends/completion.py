"""What servers send: chat completions in the forms that servers write them, and refusals of several kinds."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

LARGEST_COUNT = 10**9
_TRANSIENT = frozenset((408, 409, 425, 429))
"""Statuses below 500 at which it helps to ask again."""
_FATAL = frozenset((401, 403, 404, 405, 407, 410))
"""Statuses of a wrong key, address or model: they will be the same for every conversation."""
_FATAL_CODES = frozenset(("invalid_api_key", "model_not_found", "invalid_model"))
"""What an error is called that some servers give another status."""
_ACCOUNT_CODES = frozenset(
    (
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached",
        "billing_not_active", "billing_error", "account_deactivated", "exceeded_current_quota_error",
        "insufficient_user_quota", "insufficient_balance", "insufficient_credits", "arrearage",
    )
)  # fmt: skip
"""What an error of an account is called that can ask nothing, often under a status at which it helps to ask again."""
_CUT = frozenset(("length", "max_tokens", "model_length"))
_FILTERED = frozenset(
    ("content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii", "sensitive", "refusal")
)
_BROKEN = frozenset(("error", "abort", "aborted", "cancelled"))
_TOO_LONG = re.compile(
    r"context_length_exceeded|string_above_max_length|exceed_context_size|max_model_len|context (the )?overflow"
    r"|(context|input|prompt|sequence|model)[ _](length|window|size|limit)"
    r"|maximum (input|prompt|sequence|number of tokens)"
    r"|(prompt|input|request|message|conversation|text|sequence|content|body|entity|payload)s? "
    r"((is|are|was|were) )?too (long|large)|too many (input |prompt )?tokens|input[ _]token[ _]count"
    r"|exceed\w* (the )?(limit|max|available|model|context)|(length|tokens?) exceed|reduce the length"
    r"|(longer|larger) than the (model|max)|must have less than \d+ tokens|tokens.{0,80} must be <=|tokens? limit",
    re.IGNORECASE | re.DOTALL,
)
"""How servers say that a conversation is too long."""
_WHAT = r"(prompt|input|context|messages?|conversation|sequence|text|tokens)\b"
_MORE = r"(exceed|too (long|large|many)|(longer|larger|greater|more) than|maximum (is|of))"
_PERHAPS = re.compile(rf"\b{_WHAT}.{{0,80}}{_MORE}|{_MORE}.{{0,80}}\b{_WHAT}", re.IGNORECASE | re.DOTALL)
"""How else they may, where it is no rate that is exceeded: where the request is at fault."""
_SETTING = re.compile(r"max_\w*tokens", re.IGNORECASE)

Kind = Literal["transient", "too long", "alone", "fatal", "account"]
"""Whether to ask again, to go on without this conversation (and why), or to ask nothing any more (and why)."""


@dataclass(frozen=True)
class Said:
    """A completion as a server sent it."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None


class Refused(Exception):
    """What came is no reply.

    Attributes:
        kind: what to do about it.
        status: of the response; 0 where that is not what was wrong.
        said: what the server says about it, which may be anything.
        after: seconds after which a server says to ask again.
    """

    def __init__(self, kind: Kind, what: str, said: str = "", after: float | None = None, *, status: int = 0) -> None:
        super().__init__(what)
        self.kind: Kind = kind
        self.status = status
        self.said = said
        self.after = after


def read_completion(data: bytes) -> Said:
    r"""The reply in a chat completion; bytes that are no UTF-8 and half surrogate pairs become U+FFFD.

    Counts that are none are left out, whatever they are. Of content in parts, the text counts, and beside content no
    reasoning does.

    Raises:
        Refused: for what is no completion, an error in its place, and a reply that was cut off, filtered or is empty.

    >>> read_completion(b'{"choices": [{"message": {"content": "YES"}}], "usage": {"prompt_tokens": "7"}}')
    Said(text='YES', prompt_tokens=7, completion_tokens=None)
    """
    body = body_of(data, "chat completion")
    choices = field(body, "choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = field(choice, "message")
    if not isinstance(message, Mapping):
        where = "choices" if choice is None else "choices.0.message"
        raise Refused("transient", f"sent an invalid response: no chat completion ({where})")
    text = plain_text(message.get("content"))
    if text is None:
        raise Refused("transient", "sent an invalid response: no chat completion (choices.0.message.content)")
    _check_end(str(field(choice, "finish_reason") or ""), text, plain_text(message.get("refusal")) or "")
    usage = field(body, "usage")
    return Said(text, count(field(usage, "prompt_tokens")), count(field(usage, "completion_tokens")))


def body_of(data: bytes, what: str) -> Any:
    """The JSON of a response.

    Raises:
        Refused: for what is no JSON, and for an error in its place.
    """
    body = parsed(data)
    if body is None:
        raise Refused("transient", f"sent an invalid response: no {what} (not JSON)")
    if isinstance(body, Mapping) and (body.get("error") or body.get("object") == "error"):
        raise refusal(number(field(error_in(body), "code")) or 0, data)
    return body


def refusal(status: int, data: bytes, after: float | None = None) -> Refused:
    """What a response with a status other than success, or with an error in place of a completion, means.

    Args:
        status: of the response, or of the error in it; 0 where there is none.
        data: the body.
        after: seconds after which to ask again.
    """
    error = error_in(parsed(data))
    said = _message(error) or data.decode(errors="replace")
    what = f"answered {status}" if status else "sent an error"
    return Refused(_kind(status, said[:10_000], error), what, said, after, status=status)


def error_in(body: Any) -> Any:
    """The error in a body; some servers send a list of one, some the error alone."""
    body = body[0] if isinstance(body, list) and body else body
    found = field(body, "error")
    return found if found and isinstance(found, str | list | Mapping) else body


def _kind(status: int, said: str, error: Any) -> Kind:
    """What to do about a refusal; names of errors count before what they say, which may quote the conversation."""
    named = {str(field(error, name)).lower() for name in ("code", "type", "status")}
    about_content = any("content_filter" in name or "content_policy" in name for name in named)
    if about_content or "flagged_input" in str(field(error, "metadata")):
        return "alone"
    if status == 402 or named & _ACCOUNT_CODES:
        return "account"
    if status in _FATAL or named & _FATAL_CODES or 300 <= status < 400:
        return "fatal"
    if status == 413 or "context_length_exceeded" in named or (status == 422 and not said.strip()):
        return "too long"
    if status == 429:  # limits of tokens are those of a minute here, unless one request alone exceeds them
        return "too long" if said.lower().startswith("request too large") else "transient"
    passes = status in _TRANSIENT or status >= 500 or status < 100
    if _TOO_LONG.search(said) or (not passes and not _SETTING.search(said) and _PERHAPS.search(said)):
        return "too long"
    return "transient" if passes else "alone"


def was_cut(finish: str, refused: str = "") -> bool:
    """Whether a text was cut off at the limit of tokens, by its finish_reason.

    Raises:
        Refused: where it was filtered, or broke off.
    """
    finish = finish.lower()
    if finish in _FILTERED:
        raise Refused("alone", f"withheld its reply (finish_reason {finish})", refused)
    if finish in _BROKEN:
        raise Refused("transient", f"broke its reply off (finish_reason {finish})")
    return finish in _CUT


def _check_end(finish: str, text: str, refused: str) -> None:
    """Refuse a reply that is none: one that was cut off or filtered says something else than the whole would."""
    if was_cut(finish, refused):
        raise Refused("alone", "cut its reply off at the limit of tokens (finish_reason length); allow more tokens")
    if not text.strip():
        raise Refused("alone", "refused to reply" if refused else "sent an empty reply", refused)


def parsed(data: bytes) -> Any:
    """JSON with the faults that servers make; None for what is no JSON."""
    try:
        return json.loads(data.removeprefix(codecs.BOM_UTF8).decode(errors="replace"), parse_int=_small)
    except (ValueError, RecursionError):
        return None


def _small(digits: str) -> int | float:
    """A number; Python refuses to read one of thousands of digits."""
    return int(digits) if len(digits) <= 20 else float(digits)


def field(value: Any, name: str) -> Any:
    """A field of an object; None where there is none, or no object."""
    return value.get(name) if isinstance(value, Mapping) else None


def plain_text(content: Any) -> str | None:
    """The text of a message's content, which may come in parts; None where it is nothing of the kind."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(content, Mapping):
        content = [content]
    if not isinstance(content, list):
        return None
    parts = [part if isinstance(part, str) else _part(part) for part in content]
    return None if None in parts else "".join(plain_text(part) or "" for part in parts)


def _part(part: Any) -> str | None:
    """The text of a part; none of a thought or a picture."""
    if not isinstance(part, Mapping):
        return None
    said = part.get("text") if part.get("type", "text") in ("text", "output_text") else ""
    return said if isinstance(said, str) else None


def count(value: Any) -> int | None:
    """A number of tokens; None for what is none."""
    found = number(value)
    return found if found is not None and 0 <= found <= LARGEST_COUNT else None


def number(value: Any) -> int | None:
    """A whole number, perhaps written as text or as a float."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,10}(\.0*)?", value.strip(), re.ASCII):
        value = float(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _message(error: Any, deep: int = 4) -> str:
    """What an error says, in the forms that servers write it, which may lie a few levels deep."""
    if isinstance(error, str):
        return error
    if isinstance(error, list) and deep:
        return "; ".join(filter(None, (_message(one, deep - 1) for one in error[:3])))
    for name in ("message", "msg", "detail", "error", "errors", "error_msg", "reason"):
        found = field(error, name)
        if deep and found and (said := _message(found, deep - 1)):
            return said
    return ""
