//! Uploads on their way to the spool.
use crate::error::{ApiError, Result};
use crate::http::params::{query_flag, query_whole};
use crate::reader::ReadOptions;
use crate::shared::Shared;
use crate::spool::SpoolFile;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use med2e3::loaders::sentence::escaped;
use med2e3::volume::WindowChoice;
use multer::{Field, Multipart};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a file is for, as OpenAI has it; those of fine-tuning, batches and evaluations are for other models.
const PURPOSES: [&str; 3] = ["user_data", "vision", "assistants"];
/// The form's fields beside the file.
const FIELDS: [&str; 8] = [
    "purpose",
    "expires_after[anchor]",
    "expires_after[seconds]",
    "window",
    "series",
    "index",
    "slice_order",
    "allow_gaps",
];
/// The longest life of a file, OpenAI's: 30 days.
const LIFETIME_MAX: u64 = 2_592_000;
/// The most bytes of one field beside the file.
const FIELD_BYTES_MAX: usize = 4096;
/// The most fields of a form.
const FIELDS_MAX: usize = 16;
/// Bytes that a form may hold besides the file, and that may wait for the end of a part's head.
const OVERHEAD: u64 = 32 << 20;
/// The longest name that is kept, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;

/// A file that was sent whole, not yet decoded.
pub(crate) struct Upload {
    pub file: SpoolFile,
    pub name: String,
    pub purpose: &'static str,
    /// Seconds that it is kept.
    pub lifetime: u64,
    pub options: ReadOptions,
}

/// Why a stream of bytes ended early.
#[derive(Debug)]
enum Cut {
    TooLarge,
    Head,
    Idle,
    Gone,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Cut {}

/// A multipart form with the file and what is said about it.
pub(crate) async fn multipart(shared: &Shared, request: Request) -> Result<Upload> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(content_type.unwrap_or_default())
        .map_err(|_| ApiError::invalid("the request is no multipart form; send the scan as the form's field file"))?;
    check_encoding(request.headers())?;
    let yielded = Arc::new(AtomicU64::new(0));
    let limit = shared.config.limits.upload.saturating_add(OVERHEAD);
    let mut form = Multipart::new(bounded(request, limit, yielded.clone()), boundary);
    let mut said: HashMap<String, String> = HashMap::new();
    let mut file = None;
    let mut count = 0;
    while let Some(field) = form.next_field().await.map_err(|error| cut(shared, &error))? {
        count += 1;
        if count > FIELDS_MAX {
            return Err(ApiError::invalid(format!(
                "the form has more than {FIELDS_MAX} fields; send one file in each"
            )));
        }
        match field.name() {
            Some("file") if file.is_none() => {
                let name = name_of(field.file_name().unwrap_or_default());
                let chunks = field.map(|chunk| chunk.map_err(|error| cut(shared, &error)));
                file = Some((name, receive(shared, chunks, &yielded).await?));
            }
            Some(name) if FIELDS.contains(&name) && !said.contains_key(name) => {
                let name = name.to_owned();
                said.insert(name, text_of(shared, field, &yielded).await?);
            }
            _ => {
                let shown = name_of(field.name().unwrap_or_default());
                let message = "is no field of this form, or is given twice; the fields are file, purpose, \
                     expires_after, window, series, index, slice_order and allow_gaps";
                return Err(ApiError::field(shown, message));
            }
        }
    }
    let (name, file) = file.ok_or_else(|| ApiError::field("file", "the form has no file; send the scan as file"))?;
    if !said.contains_key("purpose") {
        return Err(ApiError::field("purpose", "the form has no purpose; give user_data"));
    }
    finish(shared, file, name, &said)
}

/// A body that is the file itself; what is said about it stands in the address.
pub(crate) async fn raw(shared: &Shared, request: Request, queries: HashMap<String, String>) -> Result<Upload> {
    check_encoding(request.headers())?;
    if let Some(name) = queries.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        let message = "is no parameter of an upload; these are purpose, expires_after[seconds], window, series, \
             index, slice_order and allow_gaps";
        return Err(ApiError::field(name_of(name), message));
    }
    let name = request.headers().get("x-filename").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let yielded = Arc::new(AtomicU64::new(0));
    let limit = shared.config.limits.upload;
    let chunks = bounded(request, limit, yielded.clone()).map(|chunk| chunk.map_err(|error| why(shared, &error)));
    let file = receive(shared, chunks, &yielded).await?;
    finish(shared, file, name_of(&name.unwrap_or_default()), &queries)
}

/// A compressed body would have a size that nobody has said.
pub(crate) fn check_encoding(headers: &HeaderMap) -> Result<()> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let message = "the body has a Content-Encoding; send it as it is";
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", message))
        }
        _ => Ok(()),
    }
}

/// The body's bytes, at most `limit`, and at most [`OVERHEAD`] more than were `yielded`.
fn bounded(
    request: Request,
    limit: u64,
    yielded: Arc<AtomicU64>,
) -> impl Stream<Item = Result<Bytes, Cut>> + Send + Unpin + 'static {
    let mut total = 0u64;
    request.into_body().into_data_stream().map(move |chunk| {
        let chunk = chunk.map_err(|error| if is_timeout(&error) { Cut::Idle } else { Cut::Gone })?;
        total = total.saturating_add(chunk.len() as u64);
        if total > limit {
            return Err(Cut::TooLarge);
        }
        if total - yielded.load(Ordering::Relaxed).min(total) > OVERHEAD {
            return Err(Cut::Head);
        }
        Ok(chunk)
    })
}

/// Whether a body ended because nothing came.
pub(crate) fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<tower_http::timeout::TimeoutError>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Writes what comes to the spool.
async fn receive(
    shared: &Shared,
    mut chunks: impl Stream<Item = Result<Bytes>> + Unpin,
    yielded: &AtomicU64,
) -> Result<SpoolFile> {
    let limit = shared.config.limits.upload;
    let mut file = shared.spool.create(0)?;
    let mut waiting = BytesMut::new();
    let mut total = 0u64;
    loop {
        let chunk = chunks.next().await.transpose()?;
        let is_last = chunk.is_none();
        let chunk = chunk.unwrap_or_default();
        total += chunk.len() as u64;
        yielded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        if total > limit {
            return Err(too_large(limit));
        }
        waiting.extend_from_slice(&chunk);
        if waiting.len() >= WRITE_BYTES || is_last {
            let bytes = waiting.split().freeze();
            let write = move || file.append(&bytes).map(|()| file);
            let written = tokio::task::spawn_blocking(write).await;
            file = written.unwrap_or_else(|_| Err(ApiError::internal("spool_failed", "the file cannot be kept")))?;
        }
        if is_last {
            return Ok(file);
        }
    }
}

async fn text_of(shared: &Shared, mut field: Field<'_>, yielded: &AtomicU64) -> Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| cut(shared, &error))? {
        yielded.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FIELD_BYTES_MAX {
            let name = field.name().unwrap_or_default().to_owned();
            return Err(ApiError::field(name, format!("is longer than {FIELD_BYTES_MAX} bytes; cut it")));
        }
    }
    String::from_utf8(bytes).map_err(|_| ApiError::invalid("a field of the form is not UTF-8; send text"))
}

/// Why a form cannot be read.
fn cut(shared: &Shared, error: &multer::Error) -> ApiError {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(cut) = error.downcast_ref::<Cut>() {
            return why(shared, cut);
        }
        next = error.source();
    }
    ApiError::invalid("the form is cut short or malformed; send it again")
}

fn why(shared: &Shared, cut: &Cut) -> ApiError {
    match cut {
        Cut::TooLarge => too_large(shared.config.limits.upload),
        Cut::Head => ApiError::invalid("a part of the form has a head without end; send a form"),
        Cut::Idle => ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the upload has stopped; send it again"),
        Cut::Gone => ApiError::invalid("the upload is cut short; send it again"),
    }
}

fn too_large(limit: u64) -> ApiError {
    let message =
        format!("the file has more than {limit} bytes, the most that --max-upload allows; send a smaller one");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

/// A name that can be shown: the last part of a path, without what a terminal obeys.
fn name_of(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    escaped(last).chars().take(NAME_CHARS_MAX).collect()
}

fn finish(shared: &Shared, file: SpoolFile, name: String, said: &HashMap<String, String>) -> Result<Upload> {
    let purpose = said.get("purpose").map_or("user_data", String::as_str);
    let known = PURPOSES.into_iter().find(|known| *known == purpose);
    let message = || format!("a scan's purpose is one of {}", PURPOSES.join(", "));
    let purpose = known.ok_or_else(|| ApiError::field("purpose", message()))?;
    if said.get("expires_after[anchor]").is_some_and(|anchor| anchor != "created_at") {
        return Err(ApiError::field("expires_after[anchor]", "a file's life is counted from created_at"));
    }
    let lifetime = query_whole(said, "expires_after[seconds]", 1, LIFETIME_MAX)?;
    let lifetime = lifetime.unwrap_or(shared.config.limits.expire.as_secs());
    Ok(Upload { file, name, purpose, lifetime, options: options(shared, said)? })
}

/// How the file is to be read.
fn options(shared: &Shared, said: &HashMap<String, String>) -> Result<ReadOptions> {
    let inferior_first = match said.get("slice_order").map(String::as_str) {
        None | Some("superior-first") => false,
        Some("inferior-first") => true,
        Some(_) => return Err(ApiError::field("slice_order", "slice_order is superior-first or inferior-first")),
    };
    let window = match said.get("window") {
        Some(text) => text.parse::<WindowChoice>().map_err(|wanted| ApiError::field("window", wanted))?,
        None => shared.config.window,
    };
    Ok(ReadOptions {
        window: window.to_string(),
        series: said.get("series").cloned(),
        index: query_whole(said, "index", 0, u64::from(u32::MAX))?.map(|index| index as usize),
        inferior_first,
        allow_gaps: query_flag(said, "allow_gaps")?,
    })
}

/// As an upload without a word about it.
pub(crate) fn unsaid(shared: &Shared) -> Result<ReadOptions> {
    options(shared, &HashMap::new())
}

/// What stands in a question itself, in the spool.
pub(crate) async fn inline(shared: &Shared, bytes: Bytes) -> Result<SpoolFile> {
    let chunks = futures_util::stream::iter([Ok(bytes)]);
    receive(shared, chunks, &AtomicU64::new(0)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths_and_no_orders() {
        assert_eq!(name_of("../../etc/passwd"), "passwd");
        assert_eq!(name_of("C:\\scans\\a.nii"), "a.nii");
        assert_eq!(name_of("a\n\u{1b}[31m.nii"), "a\\n\\u{1b}[31m.nii");
        assert_eq!(name_of(&"x".repeat(10_000)).len(), NAME_CHARS_MAX);
        assert_eq!(name_of("/"), "");
    }
}
