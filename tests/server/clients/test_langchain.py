"""LangChain's own tests of chat models, of its OpenAI client with this server (`make clients`)."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from decodelab.core.protocols import LanguageModel

pytest.importorskip("langchain_openai", reason="needs langchain-openai: make clients")
suite: Any = pytest.importorskip("langchain_tests.integration_tests", reason="needs langchain-tests: make clients")


class TestChatModel(suite.ChatModelIntegrationTests):
    """Its integration tests. Quotes are made probable, so that the strings of a model that knows no JSON end."""

    address = ""
    quotes: ClassVar[dict[str, float]] = {}

    @pytest.fixture(autouse=True)
    def _served(self, address: str, nano: LanguageModel) -> None:
        type(self).address = address
        names = map(nano.vocab.token_text, range(nano.vocab.size))
        type(self).quotes = {str(token): 8.0 for token, name in enumerate(names) if name == '"'}

    @property
    def chat_model_class(self) -> Any:
        from langchain_openai import ChatOpenAI  # pyright: ignore[reportMissingImports, reportUnknownVariableType]

        return ChatOpenAI  # pyright: ignore[reportUnknownVariableType]

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "base_url": f"{self.address}/v1",
            "api_key": "none",
            "model": "nano",
            "temperature": 0,
            "max_tokens": 200,
            "logit_bias": self.quotes,
            "max_retries": 0,
            "stream_usage": True,
        }

    @property
    def model_override_value(self) -> str:
        return "nano"

    @property
    def supports_json_mode(self) -> bool:
        return True
