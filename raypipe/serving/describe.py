"""What a model takes and gives: metadata, an OpenAPI description, and a page for people that needs no network."""

import html
import json
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from raypipe.serving.engine import Engine
from raypipe.serving.page import PAGE

Node: TypeAlias = dict[str, object]


class Description:
    """Everything about one model version that can be asked for, written once when it is loaded.

    Args:
        engine: the version.

    Attributes:
        metadata: name, version, digest, fields with types, an example request.
        openapi: OpenAPI 3.1 as JSON.
        html: the page.
    """

    def __init__(self, engine: Engine) -> None:
        self._model, self._parser = engine.model, engine.parser
        self._example, self._answer = engine.example(), engine.answers.schema
        self.metadata = self._metadata()
        self.openapi = msgspec.json.encode(self._openapi())
        self.html = self._page().encode()

    def _metadata(self) -> Node:
        model, card = self._model, self._model.card
        return {
            "name": model.pipeline.name,
            "version": model.served.version,
            "digest": model.served.digest,
            "algorithm": card.algorithm,
            "task": card.target.task,
            "threshold": card.threshold,
            "metrics": card.metrics,
            "fields": [
                {"name": field.name, "required": field.required} | field.json_schema for field in self._parser.fields
            ],
            "features": list(model.pipeline.feature_names),
            "example": self._example,
        }

    def _openapi(self) -> Node:
        name, version = self._model.pipeline.name, self._model.served.version
        about = {"request_id": {"type": "string"}, "model": {"const": name}, "version": {"type": "integer"}}
        as_of = {"type": "string", "format": "date-time"}
        how = {"version": {"type": "integer"}, "arm": {"type": "string"}, "features_as_of": as_of}
        prediction = self._answer | how
        why = _object(
            {
                "method": {"enum": ["tree-shap", "sampled-shapley"]},
                "base": {"type": "number"},
                "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
            }
        )
        explained = prediction | {"explanation": {"anyOf": [why, {"type": "null"}]}}
        always = list(prediction)
        row = _object(
            {f.name: f.json_schema for f in self._parser.fields}, [f.name for f in self._parser.fields if f.required]
        )
        rows = {"type": "array", "items": _ref("Row"), "minItems": 1, "maxItems": self._parser.max_rows}
        schemas: Node = {
            "Row": row | {"example": self._example},
            "Rows": _object({"rows": rows}, ["rows"]),
            "Answer": _object(about | explained, list(about | prediction)),
            "Answers": _object(about | {"predictions": {"type": "array", "items": _object(explained, always)}}),
            "Error": _object(
                {
                    "error": _object(
                        {"field": {"type": "string"}, "message": {"type": "string"}, "cure": {"type": "string"}},
                        ["field", "message"],
                    ),
                    "request_id": {"type": "string"},
                }
            ),
        }
        predict: Node = {
            "summary": "Predict for one row, or for many",
            "operationId": "predict",
            "parameters": [
                {
                    "name": "explain",
                    "in": "query",
                    "description": "Say what each feature adds to the log odds",
                    "schema": {"type": "boolean", "default": False},
                }
            ],
            "requestBody": {"required": True, "content": _json({"oneOf": [_ref("Row"), _ref("Rows")]})},
            "responses": {
                "200": {"description": "Predictions", "content": _json({"oneOf": [_ref("Answer"), _ref("Answers")]})},
                **{status: {"description": what, "content": _json(_ref("Error"))} for status, what in _ERRORS.items()},
            },
        }
        pages = {"": "What answers here", "/health": "Whether a checked model is loaded"}
        return {
            "openapi": "3.1.0",
            "info": {"title": name, "version": str(version)},
            "paths": {
                f"/{name}/predict": {"post": predict},
                **{f"/{name}{path}": {"get": _page_operation(what)} for path, what in pages.items()},
            },
            "components": {"schemas": schemas},
        }

    def _page(self) -> str:
        model = self._model
        rows = "".join(
            f"<tr><td><code>{html.escape(f.name)}</code><td>{html.escape(str(f.json_schema['type']))}"
            f"<td>{f.json_schema.get('format', '')}<td>{'yes' if f.required else 'no'}"
            for f in self._parser.fields
        )
        return PAGE.format(
            name=html.escape(model.pipeline.name),
            version=model.served.version,
            algorithm=html.escape(model.card.algorithm),
            threshold=f"{model.card.threshold:g}",
            digest=model.served.digest[:12],
            rows=rows,
            example=html.escape(json.dumps(self._example, indent=2, ensure_ascii=False)),
        )


_ERRORS = {
    "400": "Not JSON",
    "401": "No good key; only where keys are asked for",
    "403": "A key that does not allow this",
    "408": "The body came too slowly",
    "413": "Too long",
    "415": "Not application/json",
    "422": "A field is missing, unknown or of a wrong type",
    "429": "A key that asks too often; try again after the seconds in Retry-After",
    "503": "Overloaded; try again after the seconds in Retry-After",
}


def _object(properties: Mapping[str, object], required: list[str] | None = None) -> Node:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _ref(name: str) -> Node:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: Node) -> Node:
    return {"application/json": {"schema": schema}}


def _page_operation(summary: str) -> Node:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": _json({"type": "object"})}}}
