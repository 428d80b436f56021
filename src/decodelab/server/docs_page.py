"""A page of the routes and their parameters, which loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from decodelab.server.parameters import Route, refused

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The content policy of the page: it has a style of its own and nothing else."""

_PATHS: dict[Route, str] = {
    "completions": "/v1/completions",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "llama": "/completion",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>decodelab serve</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8883; }
code { font-family: ui-monospace, monospace; font-size: .92em; }
.kind { opacity: .7; white-space: nowrap; }
</style></head><body>
<h1>decodelab serve</h1>
<p>Models: {% for name in models %}<code>{{ name }}</code>{{ ", " if not loop.last }}{% endfor %}.
The document for programs is <code>/openapi.json</code>. Every parameter is honoured exactly or refused by name; an
error says which, and what would be right.</p>
{% for route in routes %}
<h2><code>{{ route.method }} {{ route.path }}</code></h2>
<p>{{ route.what }}</p>
{% if route.parameters %}<table><tr><th>Parameter</th><th>Type</th><th>What it does</th></tr>
{% for name, kind, doc in route.parameters %}<tr><td><code>{{ name }}</code></td><td class="kind">{{ kind }}</td>
<td>{{ doc }}</td></tr>
{% endfor %}</table>{% endif %}
{% if route.refused %}<p>Refused: {% for one in route.refused %}<code>{{ one.name }}</code> ({{ one.why }})
{{- "; " if not loop.last else "." }}{% endfor %}</p>{% endif %}
{% endfor %}
</body></html>
"""


def docs_page(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document."""
    schemas = document["components"]["schemas"]
    routes: list[dict[str, Any]] = []
    models: list[str] = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            schema: Mapping[str, Any] = {}
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                schema = schemas[reference.rsplit("/", 1)[1]]
                models = schema["properties"]["model"]["enum"]
            routes.append(
                {
                    "path": path,
                    "method": method.upper(),
                    "what": operation.get("summary", ""),
                    "parameters": [
                        (name, kind(property), property.get("description", ""))
                        for name, property in schema.get("properties", {}).items()
                    ],
                    "refused": [one for route, own in _PATHS.items() if own == path for one in refused(route).values()],
                }
            )
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    return page.render(routes=routes, models=models)


def kind(schema: Mapping[str, Any]) -> str:
    """The types of a property of a JSON schema, in a word each."""
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "anyOf" in schema:
        kinds = [kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("type") or schema.get("$ref", "any").rsplit("/", 1)[-1])
