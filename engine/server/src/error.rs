//! Why a request is refused, in OpenAI's shape.
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use med2e3::loaders::sentence::sentence;
use serde_json::{Value, json};

/// What a handler returns.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

/// Seconds after which a client that was refused for lack of room should try again.
const RETRY_SECONDS: u64 = 1;

/// A refusal: one sentence, and what clients decide by.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    kind: &'static str,
    /// What metrics count it as.
    pub code: &'static str,
    param: Option<String>,
    message: String,
    retry: bool,
}

/// Marks a response whose body is an [`ApiError`] already.
#[derive(Clone, Copy)]
pub(crate) struct Refused(pub &'static str);

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match status.as_u16() {
            401 => "authentication_error",
            403 | 421 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        Self { status, kind, code, param: None, message: sentence(&message.into()), retry: false }
    }

    /// The request's own fault.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// The fault of one field.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(message).at(param)
    }

    /// There is nothing of that name, or it is another key's.
    pub fn no_file(id: &str) -> Self {
        let shown: String = id.chars().take(64).collect();
        let message = format!("no file {shown:?} is known here; upload it with POST /v1/files");
        Self::new(StatusCode::NOT_FOUND, "file_not_found", message)
    }

    /// All places are taken; the client should come back.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message) }
    }

    /// The server takes no questions now.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { retry: true, ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }

    /// Ours.
    pub fn internal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// Names the field concerned.
    pub fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// As the body of a reply, or an event of a stream.
    pub fn body(&self) -> Value {
        let Self { kind, code, param, message, .. } = self;
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
    }
}

impl From<med2e3::Error> for ApiError {
    fn from(error: med2e3::Error) -> Self {
        use med2e3::Error;
        let message = error.to_string();
        match error {
            Error::Request(_) | Error::Foreign => Self::invalid(message),
            Error::Busy { .. } => Self::busy(message),
            Error::Deadline => Self::new(StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded", message),
            Error::NonFinite { .. } => Self::internal("non_finite", message),
            Error::Stopped => Self::unavailable("shutting_down", "the server is being stopped; ask another"),
            _ => Self::internal("engine_failed", message),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Refused(self.code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.retry {
            headers.insert(header::RETRY_AFTER, RETRY_SECONDS.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_engine_error_has_its_status() {
        let status = |error: med2e3::Error| ApiError::from(error).status.as_u16();
        assert_eq!(status(med2e3::Error::Request("a".into())), 400);
        assert_eq!(status(med2e3::Error::Busy { waiting: 3 }), 429);
        assert_eq!(status(med2e3::Error::Deadline), 504);
        assert_eq!(status(med2e3::Error::NonFinite { stage: med2e3::Stage::Vision3d }), 500);
        assert_eq!(status(med2e3::Error::Failed("a".into())), 500);
        assert_eq!(status(med2e3::Error::Stopped), 503);
    }

    #[test]
    fn a_refusal_is_short_and_on_one_line() {
        let error = ApiError::field("stop", format!("a\nb{}", "x".repeat(10_000)));
        let body = error.body();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("a\\nb") && message.chars().count() <= 700);
        assert_eq!(
            (body["error"]["param"].as_str(), body["error"]["type"].as_str()),
            (Some("stop"), Some("invalid_request_error"))
        );
    }
}
