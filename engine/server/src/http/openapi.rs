//! `GET /openapi.json`: the routes, and what goes in and comes out.
//!
//! The bodies of questions are described by the tables that check them, so the document cannot say anything else than
//! the program does; that is why it is put together here and not derived from types, of which questions have none.
use super::fields::{CHAT_FIELDS, COMPLETION_FIELDS, Field, SCORE_FIELDS, Treatment};
use axum::Json;
use serde_json::{Map, Value, json};

/// The document.
pub(crate) async fn show() -> Json<Value> {
    Json(document())
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Med-2E3",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Questions about CT volumes, in OpenAI's shapes. For research, not for diagnosis.",
        },
        "security": [{ "key": [] }, {}],
        "paths": paths(),
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn paths() -> Value {
    let form = json!({ "multipart/form-data": { "schema": schema("Upload") } });
    let raw = json!({ "application/octet-stream": {} });
    let body = |name: &str| json!({ "application/json": { "schema": schema(name) } });
    let file = || get("File");
    let one = || json!({ "parameters": [parameter("id")], "get": file(), "delete": get("Deleted") });
    json!({
        "/v1/files": { "post": post(form, "File", "200", false), "get": get("Files") },
        "/v1/files/{id}": one(),
        "/v1/files/{id}/slices": { "parameters": [parameter("id")], "get": bytes("application/octet-stream") },
        "/": { "get": bytes("text/html") },
        "/app.js": { "get": bytes("text/javascript") },
        "/style.css": { "get": bytes("text/css") },
        "/v1/files/{id}/content": { "parameters": [parameter("id")], "get": get("Error") },
        "/v1/volumes": { "post": post(raw, "File", "201", false), "get": get("Files") },
        "/v1/volumes/{id}": one(),
        "/v1/chat/completions": { "post": post(body("ChatRequest"), "Chat", "200", true) },
        "/v1/completions": { "post": post(body("CompletionRequest"), "Completion", "200", true) },
        "/v1/score": { "post": post(body("ScoreRequest"), "Score", "200", false) },
        "/v1/models": { "get": get("Models") },
        "/v1/models/{name}": { "parameters": [parameter("name")], "get": get("Model") },
        "/health": { "get": get("Status") },
        "/health/live": { "get": get("Status") },
        "/health/ready": { "get": get("Status") },
        "/v2/health/live": { "get": get("Status") },
        "/v2/health/ready": { "get": get("Status") },
        "/metrics": { "get": bytes("application/openmetrics-text") },
        "/openapi.json": { "get": get("Document") },
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

/// What comes back: `reply`, or why not.
fn responses(reply: &str, status: &str, may_stream: bool) -> Value {
    let mut content = json!({ "application/json": { "schema": schema(reply) } });
    if may_stream {
        let part = format!("{reply}Part");
        content["text/event-stream"] = json!({ "schema": { "type": "string" }, "itemSchema": schema(&part) });
    }
    let refused = json!({ "description": "Refused", "content": { "application/json": { "schema": schema("Error") } } });
    json!({ status: { "description": "As asked", "content": content }, "4XX": refused, "5XX": refused })
}

fn get(reply: &str) -> Value {
    json!({ "responses": responses(reply, "200", false) })
}

/// What comes back is no JSON, unless it is a refusal.
fn bytes(kind: &str) -> Value {
    let mut responses = responses("Error", "200", false);
    responses["200"]["content"] = json!({ kind: {} });
    json!({ "responses": responses })
}

fn post(content: Value, reply: &str, status: &str, may_stream: bool) -> Value {
    json!({
        "requestBody": { "required": true, "content": content },
        "responses": responses(reply, status, may_stream),
    })
}

/// An object that has all of these; there may be more.
fn object(properties: Value) -> Value {
    let required: Vec<&String> = properties.as_object().into_iter().flat_map(Map::keys).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// A body, by the table that checks it.
fn request(table: &[Field]) -> Value {
    let property = |field: &Field| {
        let mut told = json!({ "description": field.note });
        if let Treatment::Only(values) = field.treatment {
            let values = values.iter().map(|value| serde_json::from_str(value).unwrap_or(Value::Null));
            told["enum"] = values.chain([Value::Null]).collect();
        }
        (field.name.to_owned(), told)
    };
    let properties: Map<String, Value> = table.iter().map(property).collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn schemas() -> Value {
    let mut all = json!({
        "ChatRequest": request(CHAT_FIELDS),
        "CompletionRequest": request(COMPLETION_FIELDS),
        "ScoreRequest": request(SCORE_FIELDS),
    });
    for more in [files(), answers(), others()] {
        super::stream::merge(&mut all, &more);
    }
    all
}

fn files() -> Value {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let ends = json!({ "type": "array", "items": whole, "minItems": 2, "maxItems": 2 });
    let three = json!({ "type": "array", "minItems": 3, "maxItems": 3 });
    json!({
        "Upload": {
            "type": "object",
            "required": ["file", "purpose"],
            "properties": {
                "file": { "type": "string", "format": "binary" },
                "purpose": { "enum": ["user_data", "vision", "assistants"] },
                "expires_after[anchor]": { "const": "created_at" },
                "expires_after[seconds]": { "type": "integer", "minimum": 1, "maximum": 2_592_000 },
                "window": text, "series": text, "index": { "type": "integer", "minimum": 0 },
                "slice_order": { "enum": ["superior-first", "inferior-first"] },
                "allow_gaps": { "type": "boolean" },
            },
        },
        "File": object(json!({
            "id": { "type": "string", "pattern": "^file-[0-9a-f]{32}$" },
            "object": { "const": "file" },
            "bytes": whole, "created_at": whole, "expires_at": whole,
            "filename": text, "purpose": text, "status": { "const": "processed" },
            "format": text,
            "shape": three,
            "spacing_mm": { "type": ["array", "null"] },
            "unit": text,
            "modality": { "type": ["string", "null"] },
            "window": object(json!({ "from": text, "lo": { "type": "number" }, "hi": { "type": "number" } })),
            "crop": three,
            "source_slices": { "type": "array", "items": ends },
            "identity": { "type": "object" },
            "slices": { "type": ["array", "null"] },
            "warnings": { "type": "array", "items": text },
        })),
        "Files": object(json!({
            "object": { "const": "list" },
            "data": { "type": "array", "items": schema("File") },
            "first_id": { "type": ["string", "null"] },
            "last_id": { "type": ["string", "null"] },
            "has_more": { "type": "boolean" },
        })),
        "Deleted": object(json!({ "id": text, "object": { "const": "file" }, "deleted": { "const": true } })),
    })
}

fn answers() -> Value {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer" });
    let scores = json!({ "type": ["array", "null"], "items": { "type": "number" } });
    let details = object(json!({ "cached_tokens": whole, "image_tokens": whole }));
    let usage = object(json!({
        "prompt_tokens": whole, "completion_tokens": whole, "total_tokens": whole, "prompt_tokens_details": details,
    }));
    let reason = json!({ "enum": ["stop", "length"] });
    let some_reason = json!({ "enum": ["stop", "length", null] });
    let logprobs = json!({ "type": ["object", "null"] });
    let answer = |kind: &str, choice: Value| {
        object(json!({
            "id": text, "object": { "const": kind }, "created": whole, "model": text,
            "choices": { "type": "array", "items": choice },
        }))
    };
    let with = |mut answer: Value, more: Value| {
        super::stream::merge(&mut answer["properties"], &more);
        answer
    };
    let message = object(json!({ "role": { "const": "assistant" }, "content": text }));
    let chat = object(json!({ "index": whole, "message": message, "logprobs": logprobs, "finish_reason": reason }));
    let delta = json!({ "type": "object", "properties": { "role": text, "content": text } });
    let part = object(json!({ "index": whole, "delta": delta, "logprobs": logprobs, "finish_reason": some_reason }));
    let choice =
        |reason: &Value| object(json!({ "index": whole, "text": text, "logprobs": logprobs, "finish_reason": reason }));
    let more = json!({ "usage": usage, "slice_scores": scores });
    let some_more = json!({ "usage": { "anyOf": [usage, { "type": "null" }] }, "slice_scores": scores });
    let option = object(json!({
        "text": text, "logprob": { "type": "number" }, "mean_logprob": { "type": "number" },
        "probability": { "type": "number" }, "tokens": whole,
    }));
    json!({
        "Chat": with(answer("chat.completion", chat), more.clone()),
        "ChatPart": with(answer("chat.completion.chunk", part), some_more.clone()),
        "Completion": with(answer("text_completion", choice(&reason)), more),
        "CompletionPart": with(answer("text_completion", choice(&some_reason)), some_more),
        "Score": object(json!({
            "object": { "const": "score" }, "model": text, "best": whole,
            "options": { "type": "array", "items": option }, "slice_scores": scores,
            "usage": object(json!({ "prompt_tokens": whole, "cached_tokens": whole })),
        })),
    })
}

fn others() -> Value {
    let text = json!({ "type": "string" });
    let some_text = json!({ "type": ["string", "null"] });
    json!({
        "Model": object(json!({
            "id": text, "object": { "const": "model" }, "created": { "type": "integer" }, "owned_by": text,
            "img_size": { "type": "array" }, "image_tokens": { "type": "integer" }, "device": text,
        })),
        "Models": object(json!({
            "object": { "const": "list" }, "data": { "type": "array", "items": schema("Model") },
        })),
        "Status": object(json!({ "status": { "enum": ["live", "ready"] } })),
        "Document": object(json!({ "openapi": text, "info": {}, "paths": {}, "components": {} })),
        "Error": object(json!({
            "error": object(json!({ "message": text, "type": text, "param": some_text, "code": text })),
        })),
    })
}
