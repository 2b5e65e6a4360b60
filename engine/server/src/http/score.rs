//! `POST /v1/score`: how likely given answers are.
use super::fields::{Fields, SCORE_FIELDS};
use super::{body, chat, params};
use crate::error::{ApiError, Result};
use crate::files;
use crate::keys::Caller;
use crate::shared::Shared;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use med2e3::{OPTIONS_MAX, Scoring};
use serde_json::{Value, json};
use std::sync::Arc;

/// Scores options as answers to a question about a scan.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response> {
    shared.model()?;
    let mut fields = Fields::new(body::json(&shared, request).await?, SCORE_FIELDS)?;
    let asked = match fields.text("prompt")? {
        None => chat::asked(&shared, &mut fields)?,
        Some(_) if fields.take("messages").is_some() => {
            return Err(ApiError::field("prompt", "the request has a prompt and messages; give one of them"));
        }
        Some(prompt) => {
            params::model(&shared, &mut fields)?;
            let plain = chat::plain(&shared)?;
            let question = med2e3::Request::new(plain(&prompt));
            chat::finish(&mut fields, Vec::new(), question, plain)?
        }
    };
    let choices = fields.texts("options", OPTIONS_MAX)?;
    let (scoring, hash) = asked.score(&shared, &caller, choices.clone()).await?;
    let mut response = Json(json!({
        "object": "score",
        "model": shared.config.model,
        "best": scoring.best,
        "options": options(&choices, &scoring),
        "slice_scores": scoring.slice_scores,
        "usage": { "prompt_tokens": scoring.prompt_tokens, "cached_tokens": scoring.cached_tokens },
    }))
    .into_response();
    files::mark(&mut response, &hash);
    Ok(response)
}

/// Each option with its log-probability, the mean over its tokens, and its share of the probability of all.
pub(super) fn options(choices: &[String], scoring: &Scoring) -> Vec<Value> {
    let most = scoring.options.iter().map(|option| option.sum).fold(f64::NEG_INFINITY, f64::max);
    let weight = |sum: f64| (sum - most).exp();
    let total: f64 = scoring.options.iter().map(|option| weight(option.sum)).sum();
    let told = choices.iter().zip(&scoring.options).map(|(text, option)| {
        json!({
            "text": text,
            "logprob": option.sum,
            "mean_logprob": option.mean,
            "probability": weight(option.sum) / total,
            "tokens": option.token_ids.len(),
        })
    });
    told.collect()
}
