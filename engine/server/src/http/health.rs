//! What supervisors and monitors ask.
use crate::error::Result;
use crate::shared::Shared;
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// OpenMetrics' own.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the process answers at all.
pub(crate) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// Whether questions are taken: not while the model is loaded, nor while the server ends.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Result<Json<Value>> {
    shared.model()?;
    Ok(Json(json!({ "status": "ready" })))
}

/// What the server has counted.
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], shared.metrics.page(&shared)).into_response()
}
