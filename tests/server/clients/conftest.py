"""Which of LangChain's tests ask for what the smallest model, or its template, cannot do."""

import pytest

_SKILL = "the model has not learned to use tools: it calls them in the right form with the wrong arguments"
_LONG = "the model does not know when to end a JSON object"
FAILS = {
    "test_tool_calling": _SKILL,
    "test_tool_calling_async": _SKILL,
    "test_unicode_tool_call_integration": _SKILL,
    "test_bind_runnables_as_tools": _SKILL,
    "test_agent_loop": _SKILL,
    "test_structured_output_optional_param": _LONG,
    "test_json_mode": _LONG,
    "test_double_messages_conversation": "the model's template refuses a second system message",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect what fails to fail."""
    for item in items:
        name = item.name.partition("[")[0]
        if item.path.name == "test_langchain.py" and name in FAILS:
            item.add_marker(pytest.mark.xfail(reason=FAILS[name], strict=False))
