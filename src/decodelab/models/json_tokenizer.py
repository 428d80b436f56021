"""`JsonTokenizer`: a tokenizer from its tokenizer.json, without transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Tokenizer

from decodelab.models.ingredients import files_of
from decodelab.models.known_fields import is_bool, is_text, list_of, one_of, optional, understood, within

_ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens by their role, in the order in which transformers lists them."""

_EXTRA = ("extra_special_tokens", "additional_special_tokens")
"""The field of other special tokens, and its old name."""

_KNOWN = {
    "tokenizer_class": one_of("TokenizersBackend", "PreTrainedTokenizerFast"),
    "backend": one_of("tokenizers"),
    **{role: optional(is_text) for role in _ROLES},
    **{field: list_of(is_text) for field in _EXTRA},
    "chat_template": is_text,
    # Without effect on what is asked of it here: tokenizer.json has its own template of BOS and EOS, texts are neither
    # padded nor cut nor cleaned up.
    "add_bos_token": is_bool,
    "add_eos_token": is_bool,
    "clean_up_tokenization_spaces": is_bool,
    "is_local": is_bool,
    "local_files_only": is_bool,
    "model_max_length": within(0),
    "padding_side": one_of("left", "right"),
}
"""What tokenizer_config.json may say."""

_FILES = frozenset({
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja",
})  # fmt: skip
"""The files, weights apart, that are read here; another that counts may add tokens or templates."""

_MOST = 100_000
"""Tokens of the largest vocabulary that is read here: transformers mends some larger ones."""


class JsonTokenizer:
    """A tokenizer of the tokenizers library with the methods of transformers' tokenizers that models here use.

    Args:
        backend: the tokenizer, which neither pads nor cuts texts.
        special_tokens: special tokens by their role, such as `bos_token`.
        extra: other special tokens.
        chat_template: the model's chat template, if it has one.
    """

    split_special_tokens = False

    def __init__(
        self, backend: Tokenizer, special_tokens: Mapping[str, str], extra: Sequence[str], chat_template: str | None
    ) -> None:
        self.backend_tokenizer: Any = backend
        self.special_tokens_map = {role: special_tokens[role] for role in _ROLES if role in special_tokens}
        self.all_special_tokens = list(dict.fromkeys([*self.special_tokens_map.values(), *extra]))
        self.all_special_ids: list[int] = [self.backend_tokenizer.token_to_id(name) for name in self.all_special_tokens]
        self.chat_template = chat_template

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins a text, if any."""
        return self._id("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a text, if any."""
        return self._id("eos_token")

    @property
    def unk_token_id(self) -> int | None:
        """The token for what it does not know, if any."""
        return self._id("unk_token")

    def _id(self, role: str) -> int | None:
        name = self.special_tokens_map.get(role)
        return None if name is None else self.backend_tokenizer.token_to_id(name)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The tokens that were added to the vocabulary, special ones and others, by id."""
        return self.backend_tokenizer.get_added_tokens_decoder()

    def __len__(self) -> int:
        """How many tokens it has, added ones included."""
        return self.backend_tokenizer.get_vocab_size(with_added_tokens=True)

    def get_vocab(self) -> dict[str, int]:
        """Its tokens and their ids."""
        return self.backend_tokenizer.get_vocab(with_added_tokens=True)

    def convert_ids_to_tokens(self, token: int) -> str | None:
        """A token as it is written in the vocabulary."""
        return self.backend_tokenizer.id_to_token(token)

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False, verbose: bool = False
    ) -> dict[str, list[int]]:
        """The token ids of a text, as `input_ids`.

        Args:
            text: what to encode.
            add_special_tokens: whether to frame it with special tokens.
            split_special_tokens: whether names of special tokens are text like any other.
            verbose: without effect.
        """
        self.backend_tokenizer.encode_special_tokens = split_special_tokens
        return {"input_ids": self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}

    def decode(
        self,
        tokens: Sequence[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: Literal[False] = False,
    ) -> str:
        """The text of tokens."""
        return self.backend_tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
        tokenize: Literal[False] = False,
        **variables: Any,
    ) -> str:
        """What its chat template writes, given these variables too, see `decodelab.models.chat_template`."""
        from decodelab.models.chat_template import render_chat_template  # jinja2 is loaded for chats only

        assert self.chat_template is not None
        return render_chat_template(
            self.chat_template,
            messages,
            tools,
            {**self.special_tokens_map, **variables},
            add_generation_prompt=add_generation_prompt,
        )


def json_tokenizer(directory: Path) -> JsonTokenizer | None:
    """The tokenizer of a model's directory; None when it may be another than transformers would make of these files."""
    if any(name not in _FILES and not name.endswith(".safetensors") for name, _ in files_of(directory)):
        return None
    try:
        config = _object(directory / "tokenizer_config.json")
        roles = _object(directory / "special_tokens_map.json")
        if "tokenizer_class" not in config or not understood(config, _KNOWN):
            return None
        if not understood(roles, dict.fromkeys(_ROLES, is_text)) or all(field in config for field in _EXTRA):
            return None
        backend = Tokenizer.from_file(str(directory / "tokenizer.json"))
        template = directory / "chat_template.jinja"
        chat = template.read_text(encoding="utf-8") if template.is_file() else config.get("chat_template")
        named = {role: name for role in _ROLES if (name := roles.get(role, config.get(role))) is not None}
        extra = next((config[field] for field in _EXTRA if field in config), [])
        special = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
        if (
            backend.padding is not None
            or backend.truncation is not None
            or backend.get_vocab_size() > _MOST
            or not special.issuperset([*named.values(), *extra])
        ):
            return None
        found = JsonTokenizer(backend, named, extra, chat)
        found.decode(found("a")["input_ids"])
    except Exception:  # the tokenizers library raises bare Exception; transformers tells what is wrong
        return None
    return found


def _object(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty when there is no such file."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if not isinstance(found, dict):
        raise TypeError(f"{file.name} holds no object")
    return found
