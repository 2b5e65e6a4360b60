//! Where a request says which scan it is about.
use crate::ask::Source;
use crate::error::{ApiError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

/// The scan of a part of a message: `file`, `image_url` or `volume_url`.
pub(crate) fn of_part(kind: &str, part: &Map<String, Value>, at: &str) -> Result<Source> {
    let Some(Value::Object(inner)) = part.get(kind) else {
        return Err(ApiError::field(at, format!("a part of type {kind} holds an object {kind}")));
    };
    let text = |name: &str| inner.get(name).and_then(Value::as_str);
    if kind != "file" {
        let url = text("url").ok_or_else(|| ApiError::field(at, format!("{kind} has no url; give a data URL")))?;
        return data_url(url, at);
    }
    match (text("file_id"), text("file_data")) {
        (Some(id), None) => Ok(Source::File(id.to_owned())),
        (None, Some(data)) if data.starts_with("data:") => data_url(data, at),
        (None, Some(data)) => decoded(data, at),
        _ => Err(ApiError::field(at, "a file has either file_id or file_data; give one of them")),
    }
}

/// The bytes in a data URL. Nothing else is a URL here: the server fetches nothing.
fn data_url(url: &str, at: &str) -> Result<Source> {
    let Some(rest) = url.strip_prefix("data:") else {
        return Err(ApiError::field(at, "nothing is fetched from a URL; upload the scan with POST /v1/files"));
    };
    match rest.split_once(',') {
        Some((kind, data)) if kind.ends_with(";base64") => decoded(data, at),
        _ => Err(ApiError::field(at, "a data URL is data:application/octet-stream;base64, and the scan's bytes")),
    }
}

fn decoded(data: &str, at: &str) -> Result<Source> {
    let bytes = STANDARD.decode(data.as_bytes());
    let bytes = bytes.map_err(|_| ApiError::field(at, "the scan's bytes are no base64; encode them again"))?;
    Ok(Source::Inline(Bytes::from(bytes)))
}

/// The one scan among those that a request names; one that is named again is the same one.
pub(crate) fn one(found: Vec<Source>, named: Option<String>) -> Result<Source> {
    let mut all = found.into_iter().chain(named.map(Source::File));
    let message = "the request names no scan; upload one with POST /v1/files and give its id as volume, or as a part \
         of type file";
    let first = all.next().ok_or_else(|| ApiError::field("volume", message))?;
    if all.any(|other| other != first) {
        return Err(ApiError::field("volume", "the request names several scans; ask about one at a time"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn part(kind: &str, inner: Value) -> Result<Source> {
        let Value::Object(part) = json!({ kind: inner }) else { unreachable!() };
        of_part(kind, &part, "messages[0]")
    }

    #[test]
    fn a_scan_is_an_id_or_bytes_and_never_an_address() {
        assert_eq!(part("file", json!({ "file_id": "file-1" })).unwrap(), Source::File("file-1".into()));
        let bytes = Source::Inline(Bytes::from_static(b"scan"));
        assert_eq!(part("file", json!({ "file_data": "c2Nhbg==" })).unwrap(), bytes);
        assert_eq!(part("image_url", json!({ "url": "data:application/dicom;base64,c2Nhbg==" })).unwrap(), bytes);
        let bad = ["http://a/b", "file:///etc/passwd", "data:,scan", "data:a;base64", "data:a;base64,c2N", ""];
        for url in bad {
            assert_eq!(part("volume_url", json!({ "url": url })).unwrap_err().status.as_u16(), 400, "{url}");
        }
        assert!(part("file", json!({ "file_id": "a", "file_data": "c2Nhbg==" })).is_err());
        assert!(part("file", json!("a")).is_err());
    }

    #[test]
    fn a_request_is_about_one_scan() {
        let file = || Source::File("a".into());
        assert_eq!(one(vec![file(), file()], Some("a".into())).unwrap(), file());
        assert!(one(vec![], None).is_err() && one(vec![file()], Some("b".into())).is_err());
    }
}
