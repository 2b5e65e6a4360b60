//! Scans that clients have sent: uploaded once, asked about by their id.
mod store;
mod upload;

use crate::error::{ApiError, Result};
use crate::http::params::query_whole;
use crate::keys::{Caller, Owner};
use crate::shared::{Shared, hex, now};
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use med2e3::volume::WindowChoice;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
pub(crate) use store::{Store, Stored};
pub(crate) use upload::{check_encoding, inline, is_timeout, unsaid};

/// By which routers keep questions about a volume together.
pub(crate) const VOLUME_ID: HeaderName = HeaderName::from_static("x-volume-id");
/// The most files of one page of a list.
const PAGE_MAX: u64 = 10_000;

type Queries = Query<HashMap<String, String>>;

/// `POST /v1/files`.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    request: Request,
) -> Result<Response> {
    shared.model()?;
    let _receiving = Receiving::begin(&shared);
    let upload = upload::multipart(&shared, request);
    keep(&shared, owner, within(&shared, upload).await?, StatusCode::OK).await
}

/// `POST /v1/volumes`.
pub(crate) async fn create_raw(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Query(queries): Queries,
    request: Request,
) -> Result<Response> {
    shared.model()?;
    let _receiving = Receiving::begin(&shared);
    let upload = upload::raw(&shared, request, queries);
    keep(&shared, owner, within(&shared, upload).await?, StatusCode::CREATED).await
}

/// An upload in the making, for which a server that ends waits.
struct Receiving<'a>(&'a Shared);

impl<'a> Receiving<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.uploads.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn within<T>(shared: &Shared, upload: impl Future<Output = Result<T>>) -> Result<T> {
    let limit = shared.config.limits.upload_time;
    let late = |_| {
        let message = format!("the upload was not complete within {} seconds; send it faster", limit.as_secs());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    };
    tokio::time::timeout(limit, upload).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}

/// Decodes what was sent and, if it is a scan, keeps it.
async fn keep(shared: &Shared, owner: Owner, upload: upload::Upload, status: StatusCode) -> Result<Response> {
    let size = shared.engine_even_if_draining()?.img_size();
    let stored = Stored::new(shared, owner, upload, size).await?;
    let mut response = (status, Json(stored.object())).into_response();
    mark(&mut response, &stored.hash());
    shared.store.insert(stored)?;
    Ok(response)
}

/// Says which volume a reply is about.
pub(crate) fn mark(response: &mut Response, hash: &[u8; 32]) {
    if let Ok(value) = HeaderValue::from_str(&hex(hash)) {
        response.headers_mut().insert(VOLUME_ID, value);
    }
}

/// `GET /v1/files`.
pub(crate) async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Query(queries): Queries,
) -> Result<Json<Value>> {
    if let Some(name) = queries.keys().find(|name| !["limit", "after", "order", "purpose"].contains(&name.as_str())) {
        return Err(ApiError::field(name, "is no parameter of a list of files; use limit, after, order or purpose"));
    }
    let limit = query_whole(&queries, "limit", 1, PAGE_MAX)?.unwrap_or(PAGE_MAX) as usize;
    let mut files = shared.store.list(owner, now());
    match queries.get("order").map(String::as_str) {
        None | Some("desc") => files.reverse(),
        Some("asc") => {}
        Some(_) => return Err(ApiError::field("order", "order is asc or desc")),
    }
    if let Some(purpose) = queries.get("purpose") {
        files.retain(|file| file.purpose == purpose);
    }
    if let Some(after) = queries.get("after") {
        let at = files.iter().position(|file| file.id == *after).ok_or_else(|| ApiError::no_file(after).at("after"))?;
        files.drain(..=at);
    }
    let has_more = files.len() > limit;
    files.truncate(limit);
    let ends = [files.first(), files.last()].map(|file| file.map(|file| file.id.clone()));
    let data: Vec<Value> = files.iter().map(|file| file.object()).collect();
    let [first_id, last_id] = ends;
    Ok(Json(json!({
        "object": "list", "data": data, "first_id": first_id, "last_id": last_id, "has_more": has_more,
    })))
}

/// `GET /v1/files/{id}`.
pub(crate) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response> {
    let stored = shared.store.get(&id, owner, now())?;
    let mut response = Json(stored.object()).into_response();
    mark(&mut response, &stored.hash());
    Ok(response)
}

/// `DELETE /v1/files/{id}`.
pub(crate) async fn delete(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>> {
    shared.store.remove(&id, owner, now())?;
    Ok(Json(json!({ "id": id, "object": "file", "deleted": true })))
}

/// `GET /v1/files/{id}/slices`: the volume as the model sees it, a byte a voxel, for a viewer.
pub(crate) async fn slices(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Path(id): Path<String>,
    Query(queries): Queries,
) -> Result<Response> {
    if let Some(name) = queries.keys().find(|name| *name != "window") {
        return Err(ApiError::field(name, "is no parameter of slices; use window"));
    }
    let stored = shared.store.get(&id, owner, now())?;
    let mut options = stored.options.clone();
    if let Some(text) = queries.get("window") {
        let window: WindowChoice = text.parse().map_err(|wanted: String| ApiError::field("window", wanted))?;
        options.window = window.to_string();
    }
    let size = shared.model()?.engine.img_size();
    let scan = stored.scan(&shared, &options, size).await?;
    let voxels = scan.voxels()?;
    // Within 0..1, so that a byte holds what is left.
    let bytes: Vec<u8> = voxels.iter().map(|voxel| (voxel * 255.0).round() as u8).collect();
    let [slices, rows, columns] = size;
    let shape = [(HeaderName::from_static("x-shape"), format!("{slices},{rows},{columns}"))];
    let mut response = (shape, bytes).into_response();
    mark(&mut response, &scan.hash);
    Ok(response)
}

/// `GET /v1/files/{id}/content`.
pub(crate) async fn content(
    State(shared): State<Arc<Shared>>,
    Extension(Caller { owner, .. }): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response<Body>> {
    shared.store.get(&id, owner, now())?;
    Err(ApiError::new(StatusCode::FORBIDDEN, "not_handed_out", "scans are not handed out again; keep your own copy"))
}
