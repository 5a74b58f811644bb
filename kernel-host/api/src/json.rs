//! JSON bodies, and errors that say where.
//!
//! Does:      reads a body as one type; on failure names the line, the column, and the field that
//!            was probably meant.
//! Start at:  `read`.

use crate::schema::Schema;
use protocol::{Code, Problem, limits, nearest};
use serde::de::DeserializeOwned;

/// The body as a `T`, which `schema` describes.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8], schema: Schema) -> Result<T, Problem> {
    // Serde would also take an array of the fields in order, which nobody means.
    if !body.trim_ascii_start().starts_with(b"{") {
        let (detail, fields) = ("The body is not a JSON object", listed(&schema.fields()));
        let advice = format!("Send one JSON object with the fields {fields}");
        return Err(Problem::new(Code::BadJson, detail, advice));
    }
    serde_json::from_slice(body).map_err(|error| told(&error, &schema.fields()))
}

fn told(error: &serde_json::Error, fields: &[&str]) -> Problem {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let place = format!("line {}, column {}", error.line(), error.column());
    let said = limits::shortened(said, 300);
    let all = fields
        .iter()
        .map(|field| format!("`{field}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(wrong) = between(&said, "unknown field `", "`") {
        let advice = match nearest(wrong, fields.iter().copied()) {
            Some(field) => format!("Did you mean `{field}`? The fields are {all}"),
            None => format!("The fields are {all}"),
        };
        return Problem::new(
            Code::BadJson,
            format!("Unknown field `{wrong}` at {place}"),
            advice,
        );
    }
    if let Some(missing) = between(&said, "missing field `", "`") {
        let detail = format!("The field `{missing}` is missing");
        return Problem::new(
            Code::BadJson,
            detail,
            format!("Add it; the fields are {all}"),
        );
    }
    let code = if error.is_data() {
        Code::BadValue
    } else {
        Code::BadJson
    };
    let advice = if error.is_data() {
        "Change this value; GET /v1/openapi.json describes each field".to_owned()
    } else {
        format!("Send one JSON object with the fields {all}")
    };
    Problem::new(code, format!("{said} ({place})"), advice)
}

fn listed(fields: &[&str]) -> String {
    fields
        .iter()
        .map(|field| format!("`{field}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(found, _)| found)
}
