//! The OpenAPI 3.1 document, made from `ROUTES` and the schemas.
//!
//! Does:      writes each route, parameter, body, answer and refusal the way generators read it.
//! Does not:  hold a fact of its own: what is wrong here is wrong in the tables.
//! Bounds:    as long as the tables.
//! Trusts:    the tables.
//! Start at:  `document`.

use crate::{
    route::{Answers, Body, Param, ParamKind, ROUTES, Route},
    schema::Schema,
};
use protocol::{Code, limits, problem};
use serde_json::{Map, Value, json};
use std::sync::OnceLock;

/// Refusals that any request can meet.
const ALWAYS: [Code; 3] = [Code::BadRequest, Code::Busy, Code::Internal];

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.pattern).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    let schemas: Map<String, Value> = Schema::ALL
        .iter()
        .map(|schema| (schema.name(), schema.json()))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "LUC OS",
            "version": "1",
            "summary": "A node of a cloud without a centre.",
            "description": "Errors are problem documents (RFC 9457) with advice. Lists are paged \
                with `limit` and `after`. Requests that change something may carry an \
                `Idempotency-Key`; the same request with the same key is done once.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

/// The document as text, made once.
pub fn document_text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{:#}\n", document()))
}

fn operation(route: &Route) -> Value {
    let mut parameters: Vec<Value> = path_parameters(route.pattern).collect();
    parameters.extend(route.query.iter().map(query_parameter));
    if route.changes_something() {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "A random name of this request; a retry with it is done once",
            "schema": { "type": "string", "maxLength": limits::RETRY_KEY_CHARS_MAX },
        }));
    }
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": parameters,
        "responses": responses(route),
    });
    match route.body {
        Body::None => {}
        Body::Json { schema, optional } => {
            operation["requestBody"] = json!({
                "required": !optional,
                "content": { "application/json": { "schema": schema.reference() } },
            });
        }
        Body::Bytes => {
            operation["requestBody"] = json!({
                "required": true,
                "description": format!("At most {} bytes", limits::CHUNK_BYTES_MAX),
                "content": { "application/octet-stream": {} },
            });
        }
    }
    operation
}

fn path_parameters(pattern: &'static str) -> impl Iterator<Item = Value> {
    pattern.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?;
        let summary = match name {
            "vm" => "Name, `name~site`, id, or a start of the id that fits only one VM",
            "node" => "Name, id, or a start of the id that fits only one node",
            "sha256" => "Content address",
            _ => "Name",
        };
        Some(json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": summary,
            "schema": { "type": "string" },
        }))
    })
}

fn query_parameter(param: &Param) -> Value {
    let schema = match param.schema {
        ParamKind::Count { least, most } => {
            json!({ "type": "integer", "minimum": least, "maximum": most })
        }
        ParamKind::Selector => json!({ "type": "string", "maxLength": 2 * limits::NAME_CHARS_MAX }),
        ParamKind::After => json!({ "type": "string", "maxLength": 2 * limits::NAME_CHARS_MAX }),
        ParamKind::Name => json!({ "type": "string", "maxLength": limits::NAME_CHARS_MAX }),
        ParamKind::Flag => json!({ "type": "boolean" }),
    };
    json!({
        "name": param.name,
        "in": "query",
        "required": param.required,
        "description": param.summary,
        "schema": schema,
    })
}

fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    let done = match route.answers {
        Answers::Json(schema) => json!({
            "description": "Done or accepted",
            "content": { "application/json": { "schema": schema.reference() } },
        }),
        Answers::Document => json!({
            "description": "An OpenAPI document",
            "content": { "application/json": { "schema": { "type": "object" } } },
        }),
        Answers::Text => json!({
            "description": "Text",
            "content": { "text/plain": { "schema": { "type": "string" } } },
        }),
        Answers::WebSocket => {
            json!({ "description": "WebSocket; binary frames are console bytes" })
        }
    };
    responses.insert(route.status.to_string(), done);
    let schema = Schema::Problem.reference();
    for code in ALWAYS.iter().chain(route.refusals) {
        let said = responses
            .entry(code.status().to_string())
            .or_insert_with(|| {
                json!({
                    "description": "",
                    "content": { (problem::MEDIA_TYPE): { "schema": schema } },
                })
            });
        let before = said["description"].as_str().unwrap_or("");
        let joined = if before.is_empty() {
            String::new()
        } else {
            format!("{before}; ")
        };
        said["description"] = format!("{joined}{code}: {}", code.title()).into();
    }
    Value::Object(responses)
}
