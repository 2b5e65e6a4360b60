//! `GET /v1/models`.
use crate::error::{ApiError, Result};
use crate::shared::Shared;
use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use std::sync::Arc;

/// The one model, in a list.
pub(crate) async fn list(State(shared): State<Arc<Shared>>) -> Result<Json<Value>> {
    Ok(Json(json!({ "object": "list", "data": [model(&shared)?] })))
}

/// The model, by its name.
pub(crate) async fn show(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json<Value>> {
    if name != shared.config.model {
        let message = "no model of that name is served here; GET /v1/models lists what is";
        return Err(ApiError::new(axum::http::StatusCode::NOT_FOUND, "model_not_found", message).at("model"));
    }
    model(&shared).map(Json)
}

fn model(shared: &Shared) -> Result<Value> {
    let engine = &shared.model()?.engine;
    Ok(json!({
        "id": shared.config.model,
        "object": "model",
        "created": shared.started,
        "owned_by": "med2e3",
        "img_size": engine.img_size(),
        "image_tokens": engine.image_tokens(),
        "device": engine.device().describe(),
    }))
}
