//! Bodies of JSON, of bounded size.
use crate::error::{ApiError, Result};
use crate::files::{check_encoding, is_timeout};
use crate::shared::{SMALL_BODY_BYTES, Shared};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde_json::Value;
use std::time::Duration;

/// How long a whole body of JSON may take.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The JSON that a request holds.
pub(crate) async fn json(shared: &Shared, request: Request) -> Result<Value> {
    check_encoding(request.headers())?;
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    // A web page may send other types to any server without asking it first.
    let is_json = content_type.is_some_and(|found| {
        found.split(';').next().is_some_and(|found| found.trim().eq_ignore_ascii_case("application/json"))
    });
    if !is_json {
        let message = "the Content-Type is not application/json; send JSON";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message));
    }
    let read = read(shared, request);
    tokio::time::timeout(BODY_TIME, read).await.unwrap_or_else(|_| Err(late()))
}

async fn read(shared: &Shared, request: Request) -> Result<Value> {
    let limit = shared.config.limits.body;
    let mut chunks = request.into_body().into_data_stream();
    let mut bytes = BytesMut::new();
    let mut turn = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            if is_timeout(&error) { late() } else { ApiError::invalid("the body is cut short; send it again") }
        })?;
        if chunk.len() > limit - bytes.len() {
            let message = format!(
                "the body has more than {limit} bytes, the most that --max-body allows; upload the scan with \
                 POST /v1/files and name its id"
            );
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        if turn.is_none() && bytes.len() + chunk.len() > SMALL_BODY_BYTES {
            turn = shared.large_bodies.acquire().await.ok();
        }
        bytes.extend_from_slice(&chunk);
    }
    // The parser's own words name a line and a column, and may quote a key, but no value.
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::invalid(format!("the body is no JSON: {error}; correct it")))
}

fn late() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time; send it again")
}
