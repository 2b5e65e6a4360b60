//! Fields that several bodies and addresses share.
use super::fields::Fields;
use crate::ask::Reading;
use crate::error::{ApiError, Result};
use crate::shared::Shared;
use med2e3::{Request, STOPS_MAX, Sampling};
use serde_json::Value;
use std::collections::HashMap;

/// OpenAI's limit on `top_logprobs`.
pub(crate) const TOP_LOGPROBS_MAX: i64 = 20;

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sending {
    pub stream: bool,
    /// A last part of the stream tells of the tokens.
    pub usage: bool,
}

/// `stream` and `stream_options`.
pub(crate) fn sending(fields: &mut Fields) -> Result<Sending> {
    let name = "stream_options";
    let stream = fields.flag("stream")?;
    let Some(options) = fields.take(name) else { return Ok(Sending { stream, usage: false }) };
    if !stream {
        return Err(ApiError::field(name, "stream_options are for streams; leave them out, or set stream to true"));
    }
    let Value::Object(options) = options else { return Err(ApiError::field(name, "stream_options is no object")) };
    let mut usage = false;
    for (option, value) in &options {
        match (option.as_str(), value) {
            ("include_usage", Value::Bool(wanted)) => usage = *wanted,
            ("include_usage" | "include_obfuscation", Value::Null) | ("include_obfuscation", Value::Bool(false)) => {}
            _ => return Err(ApiError::field(name, "stream_options takes include_usage, true or false, alone")),
        }
    }
    Ok(Sending { stream, usage })
}

/// The name of the model, where one is given.
pub(crate) fn model(shared: &Shared, fields: &mut Fields) -> Result<()> {
    match fields.text("model")? {
        Some(name) if name != shared.config.model => {
            let shown: String = name.chars().take(64).collect();
            let message =
                format!("no model {shown:?} is served here, but {:?} is; GET /v1/models", shared.config.model);
            Err(ApiError::new(axum::http::StatusCode::NOT_FOUND, "model_not_found", message).at("model"))
        }
        _ => Ok(()),
    }
}

/// Which of a file's volumes, and through which window.
pub(crate) fn reading(fields: &mut Fields) -> Result<Reading> {
    let window = fields.text("window")?.map(|text| text.parse()).transpose();
    let window = window.map_err(|wanted: String| ApiError::field("window", wanted))?;
    let index = fields.whole("index", 0, i64::from(u32::MAX))?.map(|index| index as usize);
    Ok(Reading { window, series: fields.text("series")?, index })
}

/// How tokens are chosen, and where the answer ends. `limits` are the names of the field that bounds it.
pub(crate) fn sampling(fields: &mut Fields, request: &mut Request, limits: &[&str]) -> Result<()> {
    let temperature = fields.number("temperature", 0.0, 2.0)?.unwrap_or(0.0) as f32;
    let top_p = fields.number("top_p", f64::MIN_POSITIVE, 1.0)?.unwrap_or(1.0) as f32;
    let top_k = fields.whole("top_k", -1, i64::from(i32::MAX))?.unwrap_or(0).max(0) as u32;
    // OpenAI's seeds are signed; the bits tell them apart.
    let seed = fields.whole("seed", i64::MIN, i64::MAX)?.unwrap_or(0) as u64;
    request.sampling = Sampling { temperature, top_k, top_p, seed };
    for name in limits {
        let Some(limit) = fields.whole(name, 1, i64::from(i32::MAX))? else { continue };
        let limit = limit as usize;
        if request.max_new_tokens.replace(limit).is_some_and(|other| other != limit) {
            return Err(ApiError::field(*name, format!("{} say different numbers; give one", limits.join(" and "))));
        }
    }
    request.stop = fields.texts("stop", STOPS_MAX)?;
    Ok(())
}

/// A whole number in an address or a form.
pub(crate) fn query_whole(said: &HashMap<String, String>, name: &str, least: u64, most: u64) -> Result<Option<u64>> {
    let Some(text) = said.get(name) else { return Ok(None) };
    let inside = text.parse().ok().filter(|number| (least..=most).contains(number));
    let wanted = || ApiError::field(name, format!("{name} is a whole number from {least} to {most}"));
    inside.map(Some).ok_or_else(wanted)
}

/// True or false in an address or a form; false where absent.
pub(crate) fn query_flag(said: &HashMap<String, String>, name: &str) -> Result<bool> {
    match said.get(name).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ApiError::field(name, format!("{name} is true or false"))),
    }
}
