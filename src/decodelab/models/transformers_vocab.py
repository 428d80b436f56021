"""The vocabulary of a pretrained model: its tokenizer, its special tokens and its chat template."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from decodelab.core.errors import NoChatTemplate, RequestError, UnknownToken, quoted
from decodelab.core.values import Chat, Tokens
from decodelab.io.text import is_unicode
from decodelab.models.chat_contents import ChatContents
from decodelab.models.checkpoint import one_line

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_OBJECT_OPENS = re.compile(r"""\s?\{\s?["']?\Z""")


class TransformersVocab:
    """Ids and text of a tokenizer of transformers.

    Args:
        tokenizer: any `PreTrainedTokenizerBase`, or a `JsonTokenizer`.
        size: how many ids the logits range over; it may exceed the tokenizer's (padded embeddings), and ids without
            a token decode to nothing.
        eos_ids: the ids that end a sequence.
        bos_id: the id that begins a sequence, or None.
    """

    def __init__(self, tokenizer: Any, size: int, eos_ids: Sequence[int], bos_id: int | None):
        self.tokenizer = tokenizer
        self.size = size
        self.eos_ids = tuple(eos_ids)
        self.bos_id = bos_id

    @cached_property
    def _prefix(self) -> Tokens:
        """What the tokenizer puts before a text; what it would put after one (an EOS) has no place in a prompt."""
        framed = self.tokenizer("a", add_special_tokens=True, verbose=False)["input_ids"]
        plain = self.tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
        for start in range(len(framed) - len(plain) + 1):
            if framed[start : start + len(plain)] == plain:
                return tuple(framed[:start])
        return ()

    def _plain(self, text: str) -> Tokens:
        return self._ids(text, special=False)

    def _ids(self, text: str, *, special: bool = False) -> Tokens:
        """Token ids of a text, with or without the special tokens that the tokenizer puts around it."""
        return self._encoded(text, lambda: self.tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])

    def _encoded(self, text: str, encode: Callable[[], Sequence[int]]) -> Tokens:
        """The token ids that a way to encode a text gives, which must be in the vocabulary."""
        if not is_unicode(text):
            at = next(i for i, character in enumerate(text) if not is_unicode(character))
            raise UnknownToken(
                f"text {quoted(text)} has a lone surrogate, {text[at]!r}, at character {at + 1}, which no tokenizer "
                "can encode; write the whole character"
            )
        try:
            tokens = tuple(encode())
        except RequestError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception, for want of an unknown token too
            raise UnknownToken(
                f"text {quoted(text)} cannot be encoded by the model's tokenizer ({one_line(error)}); use other words"
            ) from error
        if tokens and max(tokens) >= self.size:
            raise UnknownToken(
                f"prompt: token id {max(tokens)} of the tokenizer is outside the model's vocabulary of {self.size}; "
                "the tokenizer does not belong to this model"
            )
        return tokens

    def encode(self, text: str) -> Tokens:
        """Token ids of a prompt's text, with the BOS the model expects; an empty text is just BOS, if there is one."""
        tokens = self._prefix + self._plain(text)
        if not tokens and self.bos_id is not None:
            return (self.bos_id,)
        return tokens

    def encode_literal(self, text: str) -> Tokens:
        """As `encode`, but the name of a special token is text like any other."""
        plain = self.encode_text(text)
        return self._prefix + plain if plain else self.encode("")

    def encode_text(self, text: str) -> Tokens:
        """Token ids of a text by itself, without a BOS; the name of a special token is text like any other."""
        return self._encoded(text, lambda: self._contents.literal(text))

    @property
    def unknown_id(self) -> int | None:
        """The token for characters that the tokenizer does not have; None where it has them all, as bytes."""
        unknown = self.tokenizer.unk_token_id
        return None if unknown in (self.bos_id, *self.eos_ids) else unknown

    @cached_property
    def special_tokens(self) -> Mapping[str, int]:
        """The ids of the tokens that are left out of texts, by name."""
        added = {str(token): i for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return {name: token for token, name in self._specials.items()} | added

    def encode_completion(self, prompt: Tokens, text: str) -> Tokens:
        """Token ids of text that follows a prompt: no BOS, and no space that the tokenizer puts before every text.

        The ids are those that prompt and text get together where that leaves the prompt's own ids as they are.
        """
        prompt = tuple(prompt)
        before = self.decode(prompt)
        for candidate in (self._prefix + self._plain(before + text), self._plain(self._raw(prompt) + text)):
            if candidate[: len(prompt)] == prompt:
                return candidate[len(prompt) :]
        alone = self._plain(text)
        anchors = ((self._plain(anchor), anchor) for anchor in ("\n", "a", "."))
        following = (self._plain(anchor + text)[len(ids) :] for ids, anchor in anchors)
        for candidate in (alone, *following):
            if self.decode_completion(prompt, candidate) == text:
                return candidate
        return alone

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of a whole sequence, special tokens left out."""
        tokens = list(tokens)
        split = self._open_bytes(tokens)
        text = self._text(tokens[:split])
        return text + _REPLACEMENT if split < len(tokens) else text

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _raw(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    @cached_property
    def _bytes(self) -> dict[int, int]:
        """Ids of byte-fallback pieces such as <0xE2>, and their bytes."""
        return {
            token: int(match[1], 16)
            for piece, token in self.tokenizer.get_vocab().items()
            if (match := _BYTE_PIECE.fullmatch(piece))
        }

    def _open_bytes(self, tokens: Sequence[int]) -> int:
        """Where the bytes of an unfinished character begin at the end of `tokens`; their number if none is open.

        Byte-fallback decoders turn a whole run of byte pieces into U+FFFD when its last character is unfinished.
        """
        known = self._bytes
        if not known or not tokens or tokens[-1] not in known:
            return len(tokens)
        for back in range(1, min(4, len(tokens) + 1)):
            byte = known.get(tokens[-back])
            if byte is None:
                break
            if byte >= 0xC0:
                needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                return len(tokens) - back if back < needed else len(tokens)
            if byte < 0x80:
                break
        return len(tokens)

    def decode_completion(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        """Text that `tokens` add after `prompt`; an unfinished character at the end shows as U+FFFD.

        Costs time in proportion to `tokens`, however long the prompt.
        """
        tail = self._tail(prompt)
        before = self.decode(tail)
        whole = self.decode([*tail, *tokens])
        # U+FFFD at the end of the prompt is its own text, or a character that these tokens complete.
        while not whole.startswith(before) and before.endswith(_REPLACEMENT):
            before = before[:-1]
        if whole.startswith(before):
            return whole[len(before) :]
        return self.decode(tokens)

    def _tail(self, prompt: Sequence[int]) -> list[int]:
        """The last tokens of a prompt that decide how what follows is decoded: some text, whole characters."""
        count = 8
        while count < len(prompt):
            tail = list(prompt[-count:])
            if tail[0] not in self._bytes and self._text(tail).strip(_REPLACEMENT):
                return tail
            count += 8
        return list(prompt)

    @cached_property
    def _specials(self) -> dict[int, str]:
        return dict(zip(self.tokenizer.all_special_ids, self.tokenizer.all_special_tokens, strict=True))

    @cached_property
    def _special_names(self) -> dict[int, str]:
        """The names of the tokens that are left out of texts, those that have no role included."""
        return {token: name for name, token in self.special_tokens.items()}

    @cached_property
    def _anchor(self) -> tuple[list[int], str]:
        """A token of plain letters, after which any token decodes to all of its text."""
        for token in range(len(self.tokenizer)):
            text = self._text([token])
            if text.isascii() and text.isalnum():
                return [token], text
        return [], ""

    @cached_property
    def _byte_letters(self) -> dict[str, int]:
        """The characters by which byte-level BPE (GPT-2) writes bytes."""
        printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
        others = (byte for byte in range(0x100) if byte not in printed)
        return {chr(byte): byte for byte in printed} | {chr(0x100 + at): byte for at, byte in enumerate(others)}

    def token_text(self, token: int) -> str:
        """One token as readable text: spaces kept, special tokens by name, parts of a character as bytes."""
        if token in self._special_names:
            return self._special_names[token]
        ids, before = self._anchor
        text = self._text([*ids, token])
        text = text[len(before) :] if text.startswith(before) else self._text([token])
        if _REPLACEMENT not in text:
            return text
        piece = self.tokenizer.convert_ids_to_tokens(token) or ""
        if match := _BYTE_PIECE.fullmatch(piece):
            return f"\\x{match[1].lower()}"
        table = self._byte_letters
        if all(character in table for character in piece):
            return "".join(f"\\x{table[character]:02x}" for character in piece)
        return text

    @cached_property
    def _spelt_as_bytes(self) -> bool:
        """Whether pieces are written in the byte letters of byte-level BPE."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return backend is not None and '"ByteLevel"' in json.dumps(json.loads(backend.to_str()).get("decoder"))

    @cached_property
    def _strips_first_space(self) -> bool:
        """Whether the space that a token begins with elsewhere is dropped where the token begins the text."""
        for token in range(len(self.tokenizer)):
            if token not in self._added and token not in self._bytes:
                text = self.token_text(token)
                if text.startswith(" ") and not text.startswith("  "):
                    return not self._text([token]).startswith(" ")
        return False

    def token_bytes(self, token: int, first: bool = False) -> bytes:
        """The bytes a token adds to a text, or with nothing before it; none for special and added tokens."""
        if token >= len(self.tokenizer) or token in self._added:
            return b""
        if token in self._bytes:
            found = bytes([self._bytes[token]])
        elif self._spelt_as_bytes:
            table = self._byte_letters
            found = bytes(table[c] for c in self.tokenizer.convert_ids_to_tokens(token) or "" if c in table)
        else:
            text = self._text([token]) if first else self.token_text(token)
            return b"" if _REPLACEMENT in text else text.encode()
        return found[1:] if first and self._strips_first_space and found[:1] == b" " else found

    @cached_property
    def _added(self) -> frozenset[int]:
        """Special tokens and those added to the tokenizer, which are no text of its own making."""
        return frozenset([*self.tokenizer.added_tokens_decoder, *self.tokenizer.all_special_ids])

    def render_chat(self, chat: Chat) -> tuple[str, Tokens]:
        """The chat template applied, ready for the assistant's turn: its text and its tokens.

        Names of special tokens are special where the template writes them, and text where messages and tools do.

        Raises:
            NoChatTemplate: when the model has no chat template.
            RequestError: when the template refuses the messages, does not read a variable that it is given, or does
                not show where the message to continue ends; or when a tool must be called and the template does not
                tell how a call begins.
        """
        if not self.tokenizer.chat_template:
            raise NoChatTemplate("chat: this model has no chat template; give the prompt as text, or load a chat model")
        contents = self._contents
        self._check_variables(chat)
        marked = contents.marked(chat)
        if chat.continue_final_message:
            written = self._to_continue(marked)
        else:
            written = self._templated(marked, marked.messages, add_generation_prompt=chat.add_generation_prompt)
        if chat.tool_choice is not None:
            written += self._call_opening(marked, written)
        text = contents.plain(written)
        if text == written:
            return text, self._plain(text)
        return text, self._encoded(text, lambda: contents.tokens(written))

    def encode_turns(self, chat: Chat) -> Tokens:
        """Token ids of messages as the chat template writes them, with no turn after them; their contents are text.

        Raises:
            RequestError: when the template refuses the messages.
        """
        contents = self._contents
        marked = contents.marked(chat)
        written = self._templated(marked, marked.messages, add_generation_prompt=False)
        text = contents.plain(written)
        return self._encoded(text, lambda: self._ids(text) if text == written else contents.tokens(written))

    @cached_property
    def _contents(self) -> ChatContents:
        return ChatContents(self.tokenizer)

    def _templated(self, chat: Chat, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
        """Messages as the template writes them, with the tools of a chat."""
        try:
            return self.tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=[dict(tool) for tool in chat.tools] or None,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
                **chat.chat_template_kwargs,
            )
        except Exception as error:  # a template is a program: it may divide by zero, or call itself without end
            raise RequestError(
                f"chat: the model's chat template refuses these messages ({self._contents.plain(one_line(error))}); "
                "correct the messages, or the template in chat_template.jinja"
            ) from error

    def _check_variables(self, chat: Chat) -> None:
        """Refuse variables that the template does not read, and those that are not a chat's to set."""
        if not chat.chat_template_kwargs:
            return
        from decodelab.models.chat_template import own_variables  # jinja2 is loaded for chats only

        template = self.tokenizer.chat_template
        sources = template.values() if isinstance(template, Mapping) else [template]
        roles = self.tokenizer.special_tokens_map
        known = sorted({name for source in sources for name in own_variables(source)} - set(roles))
        for name in chat.chat_template_kwargs:
            if name not in known:
                allowed = f"it reads {', '.join(known)}" if known else "it reads none; leave them out"
                raise RequestError(
                    f"chat: chat_template_kwargs: the model's chat template reads no variable {quoted(name)}; {allowed}"
                )

    def _to_continue(self, chat: Chat) -> str:
        """Messages as the template writes them, up to the end of the last one's text.

        As transformers does it: where the template strips texts, white space at the end of this one goes as well.
        """
        last = chat.messages[-1] if chat.messages else {}
        if chat.tool_choice is not None or not isinstance(last.get("content"), str):
            what = "a call that must be made" if chat.tool_choice is not None else "a last message without text"
            raise RequestError(f"chat: continue_final_message cannot continue {what}; begin a new turn")
        mark = f"\ue004{secrets.randbits(64)}\ue005"
        messages = (*chat.messages[:-1], {**last, "content": f"{last['content']}{mark} "})
        written = self._templated(chat, messages, add_generation_prompt=False)
        end = written.rfind(mark)
        if end < 0:
            raise RequestError(
                "chat: the model's chat template does not show where the text of the last message ends; "
                "begin a new turn, or give the prompt as text"
            )
        kept = written[:end]
        return kept if written.startswith(f"{mark} ", end) else kept.rstrip()

    def _call_opening(self, chat: Chat, before: str) -> str:
        """How the template begins a call of the chosen tool: what two calls have in common before the arguments."""
        name = chat.tool_choice
        known = [tool.get("function", tool).get("name") for tool in chat.tools]
        if name not in known:
            name, *known = (self._contents.plain(str(one)) for one in (name, *known))
            raise RequestError(
                f"chat: tool_choice must be one of the tools ({', '.join(map(str, known))}), got {quoted(name)}"
            )
        written = []
        for arguments in ({"a": 1}, {"b": 2}):
            # Some templates want an id of nine letters or digits.
            call = {"id": "call00000", "type": "function", "function": {"name": name, "arguments": arguments}}
            turn = {"role": "assistant", "content": "", "tool_calls": [call]}
            written.append(self._templated(chat, [*chat.messages, turn], add_generation_prompt=False))
        # A JSON object opens with the model's own tokens, of which one may hold a space, the brace and a quote.
        common = next((i for i, (x, y) in enumerate(zip(*written, strict=False)) if x != y), 0)
        opening = _OBJECT_OPENS.sub("", written[0][:common])
        if not opening.startswith(before) or str(name) not in opening[len(before) :]:
            raise RequestError(
                f"chat: the model's chat template does not show how a call of {name} begins; let the model choose"
            )
        return opening[len(before) :]
