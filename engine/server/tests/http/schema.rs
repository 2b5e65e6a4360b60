//! Every JSON that a test gets is what the OpenAPI document says.
use crate::client::Reply;
use jsonschema::Validator;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Checks one reply.
pub fn check(document: &Value, method: &str, path: &str, reply: &Reply) {
    let path = path.split('?').next().unwrap();
    let templates = document["paths"].as_object().unwrap();
    let Some(known) = templates.get_key_value(path).or_else(|| templates.iter().find(|(one, _)| fits(one, path)))
    else {
        return assert_eq!(reply.status, 404, "{path} is in no document");
    };
    let operation = &known.1[method.to_ascii_lowercase()];
    if operation.is_null() {
        return assert_eq!(reply.status, 405, "{method} {path} is in no document");
    }
    let responses = &operation["responses"];
    let class = format!("{}XX", reply.status / 100);
    let response = [reply.status.to_string(), class].into_iter().find_map(|status| responses.get(status));
    let response = response.unwrap_or_else(|| panic!("{method} {path} may not reply {}", reply.status));
    let kind = reply.header("content-type").unwrap().split(';').next().unwrap();
    let content = response["content"].get(kind).unwrap_or_else(|| panic!("{method} {path} may not reply {kind}"));
    match kind {
        "application/json" => fulfil(document, &content["schema"], &reply.json()),
        "text/event-stream" => {
            for event in reply.events().iter().filter(|event| *event != "[DONE]") {
                let part: Value = serde_json::from_str(event).unwrap();
                let error = json!({ "$ref": "#/components/schemas/Error" });
                let schema = if part.get("error").is_some() { &error } else { &content["itemSchema"] };
                fulfil(document, schema, &part);
            }
        }
        _ => {}
    }
}

/// Whether a path is an instance of a template such as `/v1/files/{id}`.
fn fits(template: &str, path: &str) -> bool {
    let [template, path] = [template, path].map(|text| text.split('/').collect::<Vec<_>>());
    template.len() == path.len() && template.iter().zip(&path).all(|(one, other)| one.starts_with('{') || one == other)
}

fn fulfil(document: &Value, schema: &Value, found: &Value) {
    static VALIDATORS: Mutex<Option<HashMap<String, Validator>>> = Mutex::new(None);
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let reference = schema["$ref"].as_str().expect("a schema with a name").to_owned();
    let make = || {
        let whole = json!({ "$ref": reference, "components": document["components"] });
        jsonschema::draft202012::new(&whole).unwrap()
    };
    let validator = validators.get_or_insert_default().entry(reference.clone()).or_insert_with(make);
    if let Err(error) = validator.validate(found) {
        panic!("{reference}: {error} at {} of {found}", error.instance_path());
    }
}

#[test]
fn the_document_names_what_it_refers_to() {
    let rig = crate::rig::Rig::start();
    let document = rig.get("/openapi.json").json();
    let text = document.to_string();
    let named = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in named {
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    for path in document["paths"].as_object().unwrap().keys() {
        let path = path.replace("{id}", "file-0").replace("{name}", "none");
        for (method, operation) in document["paths"].get(&path).and_then(Value::as_object).into_iter().flatten() {
            if operation.get("responses").is_some() && method == "get" {
                assert_eq!(rig.get(&path).status, 200, "{path}");
            }
        }
    }
}
