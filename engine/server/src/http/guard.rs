//! What every request goes through: who asks, from where, and what is logged of it.
use crate::error::{ApiError, Refused};
use crate::keys::{Caller, Owner};
use crate::shared::{Shared, random_id};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a request that is taken from a client.
const ID_CHARS_MAX: usize = 128;

/// Checks a request, runs it, and notes how it went.
pub(crate) async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "-".into());
    let trace = trace_of(request.headers());
    let admitted = admit(&shared, &request, &route);
    let key = admitted.as_ref().map_or("-", |&owner| shared.config.keys.name(owner)).to_owned();
    let span = tracing::info_span!("request", id, key, trace);
    let mut response = match admitted {
        Ok(owner) => {
            request.extensions_mut().insert(Caller { owner, request: id.clone() });
            plain_refusals(next.run(request).instrument(span.clone()).await)
        }
        Err(error) => error.into_response(),
    };
    let status = response.status().as_u16();
    let code = response.extensions().get::<Refused>().map(|refused| refused.0);
    shared.metrics.reply(status, code);
    let milliseconds = started.elapsed().as_secs_f64() * 1e3;
    tracing::info!(parent: &span, %method, route, status, code, milliseconds, "replied");
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whose request it is.
fn admit(shared: &Shared, request: &Request, route: &str) -> Result<Owner, ApiError> {
    let headers = request.headers();
    let keys = &shared.config.keys;
    if keys.is_empty() {
        check_host(headers, &shared.config.hosts)?;
    }
    check_origin(headers)?;
    let is_page = ["/", "/app.js", "/style.css", "/openapi.json", "/metrics"].contains(&route);
    let is_open = is_page || route.starts_with("/health") || route.starts_with("/v2/health");
    if keys.is_empty() || is_open {
        return Ok(Owner(0));
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = given.and_then(|given| given.split_once(' '));
    let key = key.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    key.and_then(|key| keys.owner(key)).ok_or_else(|| {
        let message = "the request has no key that is known here; send one as Authorization: Bearer";
        ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
    })
}

/// A page of another site may have its own name lead to this machine; it cannot choose the name that its requests say.
fn check_host(headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_here = name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if is_here || hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    let message = "the server is not called by that name; use localhost, or start it with --allow-host";
    Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message))
}

/// Browsers say which site a request comes from; only our own may ask.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let of = |scheme: &str| origin.as_bytes().strip_prefix(scheme.as_bytes()).is_some_and(|site| site == host);
    if of("http://") || of("https://") {
        return Ok(());
    }
    let message = "the request comes from a page of another site; only this server's own pages may ask";
    Err(ApiError::new(StatusCode::FORBIDDEN, "wrong_origin", message))
}

/// The client's own, if a log can hold it.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| {
        (1..=ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_plain);
    given.map_or_else(|| random_id("req-").unwrap_or_else(|_| "req-0".into()), str::to_owned)
}

/// The trace that a request is a part of: the second field of W3C's `traceparent`.
fn trace_of(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("traceparent")?.to_str().ok()?;
    let trace = given.split('-').nth(1)?;
    (trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| trace.to_owned())
}

/// Refusals of the router's own have no JSON; here they get it.
fn plain_refusals(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) || response.extensions().get::<Refused>().is_some() {
        return response;
    }
    ApiError::new(status, "malformed_request", "the request's address or head is malformed; correct it").into_response()
}
