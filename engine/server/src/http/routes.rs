//! Which address is whose.
use super::{chat, completions, guard, health, models, openapi, page, score};
use crate::error::ApiError;
use crate::files;
use crate::shared::Shared;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::any::Any;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// All routes, and what every request goes through.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let routes = Router::new()
        .route("/v1/files", post(files::create).get(files::list))
        .route("/v1/files/{id}", get(files::show).delete(files::delete))
        .route("/", get(page::index))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/v1/files/{id}/slices", get(files::slices))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/volumes", post(files::create_raw).get(files::list))
        .route("/v1/volumes/{id}", get(files::show).delete(files::delete))
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/score", post(score::answer))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{name}", get(models::show))
        .route("/health", get(health::ready))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::show))
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        // Bodies are read, and counted, by the handlers.
        .layer(DefaultBodyLimit::disable());
    guarded(routes.with_state(shared.clone()), shared)
}

/// What every request goes through.
pub(super) fn guarded(routes: Router, shared: &Arc<Shared>) -> Router {
    routes.layer(CatchPanicLayer::custom(panicked)).layer(from_fn_with_state(shared.clone(), guard::guard))
}

async fn no_route() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this address; see docs/http.md")
}

async fn wrong_method() -> ApiError {
    let message = "this address does not take this method; see docs/http.md";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// A fault of ours: what it says may quote a request, so that nobody is told.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal("internal_error", "the server stumbled over the request; report it with the request id")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Keys, Limits, ReaderProgram};
    use axum::body::Body;
    use axum::http::Request;
    use futures_util::StreamExt;
    use tower::ServiceExt;

    fn shared() -> Arc<Shared> {
        let config = Config {
            model: "none".into(),
            keys: Keys::default(),
            hosts: Vec::new(),
            spool: std::env::temp_dir(),
            reader: ReaderProgram { program: "none".into(), arguments: Vec::new() },
            window: Default::default(),
            model_window: None,
            official_tokens: false,
            metrics_prefix: "med2e3".into(),
            tls: None,
            audit: None,
            limits: Limits::default(),
        };
        Arc::new(Shared::new(config).unwrap())
    }

    #[tokio::test]
    async fn a_fault_of_ours_is_a_reply_that_quotes_nothing() {
        let shared = shared();
        async fn stumble() {
            panic!("ZEBRA^TEST");
        }
        let app = guarded(Router::new().route("/stumble", get(stumble)).route("/well", get(health::live)), &shared);
        let ask = |path: &str| {
            let request = Request::get(path).header("host", "localhost").header("x-request-id", "r-1");
            app.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        let reply = ask("/stumble").await.unwrap();
        assert_eq!((reply.status().as_u16(), &reply.headers()["x-request-id"]), (500, &"r-1".parse().unwrap()));
        let mut body = reply.into_body().into_data_stream();
        let body = body.next().await.unwrap().unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("internal_error") && !text.contains("ZEBRA"), "{text}");
        assert_eq!(ask("/well").await.unwrap().status().as_u16(), 200);
        assert!(shared.metrics.page(&shared).contains("requests_rejected_total{reason=\"internal_error\"} 1"));
    }
}
