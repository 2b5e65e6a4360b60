//! `POST /v1/chat/completions`.
use super::fields::{CHAT_FIELDS, Fields};
use super::params::{self, Sending, TOP_LOGPROBS_MAX};
use super::reply::{Kind, Shape, Usage, tokens};
use super::{body, messages, score, source, stream};
use crate::ask::Asked;
use crate::error::{ApiError, Result};
use crate::files;
use crate::keys::Caller;
use crate::shared::Shared;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use med2e3::{Engine, FinishReason, OPTIONS_MAX};
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers the last message about a scan.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response> {
    let model = shared.model()?;
    let mut fields = Fields::new(body::json(&shared, request).await?, CHAT_FIELDS)?;
    let mut asked = asked(&shared, &mut fields)?;
    let sending = params::sending(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    params::sampling(&mut fields, &mut asked.request, &["max_tokens", "max_completion_tokens"])?;
    let choices = choices(&mut fields)?;
    let shape = Shape::new(Kind::Chat, &shared.config.model, logprobs, model.engine.image_tokens())?;
    match choices {
        Some(_) if logprobs.is_some() => {
            let message = "a choice among given answers has scores, not logprobs; leave logprobs out";
            Err(ApiError::field("logprobs", message))
        }
        Some(choices) => chosen(&shared, &caller, asked, choices, &shape, sending).await,
        None => {
            asked.request.logprobs = shape.engine_logprobs();
            reply(&shared, &caller, asked, shape, sending).await
        }
    }
}

/// What is asked, and about which scan.
pub(super) fn asked(shared: &Shared, fields: &mut Fields) -> Result<Asked> {
    params::model(shared, fields)?;
    let plain = plain(shared)?;
    let said = match fields.take("messages") {
        Some(messages) => messages::conversation(messages, &plain)?,
        None => return Err(ApiError::field("messages", "the request has no messages; give them")),
    };
    let mut request = med2e3::Request::new("");
    request.conversation = said.conversation;
    finish(fields, said.scans, request, plain)
}

/// What makes text of what a user typed.
pub(super) fn plain(shared: &Shared) -> Result<impl Fn(&str) -> String> {
    let model = shared.model()?;
    let official = shared.config.official_tokens;
    Ok(move |text: &str| if official { text.to_owned() } else { model.plain.text(text) })
}

/// The fields beside the question.
pub(super) fn finish(
    fields: &mut Fields,
    scans: Vec<crate::ask::Source>,
    mut request: med2e3::Request,
    plain: impl Fn(&str) -> String,
) -> Result<Asked> {
    request.guide = fields.text("guide")?.map(|guide| plain(&guide));
    let reading = params::reading(fields)?;
    let source = source::one(scans, fields.text("volume")?)?;
    Ok(Asked { source, reading, request })
}

/// How many likely tokens are told beside each token.
fn logprobs(fields: &mut Fields) -> Result<Option<usize>> {
    let wanted = fields.flag("logprobs")?;
    match fields.whole("top_logprobs", 0, TOP_LOGPROBS_MAX)? {
        Some(_) if !wanted => Err(ApiError::field("top_logprobs", "top_logprobs wants logprobs; set it to true")),
        top => Ok(wanted.then(|| top.unwrap_or(0) as usize)),
    }
}

/// The answers among which one is chosen.
fn choices(fields: &mut Fields) -> Result<Option<Vec<String>>> {
    let name = "structured_outputs";
    let mut outputs = match fields.take(name) {
        None => return Ok(None),
        Some(Value::Object(outputs)) => outputs,
        Some(_) => return Err(ApiError::field(name, "structured_outputs is an object with choice")),
    };
    let choice = outputs.remove("choice");
    if outputs.values().any(|value| !value.is_null()) {
        return Err(ApiError::field(name, "structured_outputs takes choice alone; leave the others out"));
    }
    let Some(choice) = choice else { return Ok(None) };
    let mut wrapped = Fields::new(json!({ "options": choice }), super::fields::SCORE_FIELDS)?;
    wrapped.texts("options", OPTIONS_MAX).map(Some).map_err(|error| error.at(name))
}

/// Sends the answer, whole or as it comes.
pub(super) async fn reply(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: Asked,
    shape: Shape,
    sending: Sending,
) -> Result<Response> {
    let engine: Engine = shared.model()?.engine.clone();
    let running = asked.submit(shared, caller).await?;
    if sending.stream {
        return Ok(stream::reply(running, engine, shape, sending));
    }
    let hash = running.hash;
    let answer = running.finish().await?;
    let usage =
        Usage { prompt: answer.prompt_tokens, cached: answer.cached_tokens, completion: answer.token_ids.len() };
    let logprobs = shape.logprobs(engine.tokenizer(), &tokens(&answer), 0);
    let mut whole = shape.whole(&answer.text, answer.finish_reason, &logprobs, usage);
    whole["slice_scores"] = json!(answer.slice_scores);
    let mut response = Json(whole).into_response();
    files::mark(&mut response, &hash);
    Ok(response)
}

/// Sends the likeliest of the choices, and how likely each one is.
async fn chosen(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: Asked,
    choices: Vec<String>,
    shape: &Shape,
    sending: Sending,
) -> Result<Response> {
    let (scoring, hash) = asked.score(shared, caller, choices.clone()).await?;
    let text = &choices[scoring.best];
    let completion = scoring.options[scoring.best].token_ids.len();
    let usage = Usage { prompt: scoring.prompt_tokens, cached: scoring.cached_tokens, completion };
    let extra = json!({
        "slice_scores": scoring.slice_scores, "choice_scores": score::options(&choices, &scoring),
    });
    let mut response = if sending.stream {
        stream::known(text, &extra, shape, usage, sending)
    } else {
        let mut whole = shape.whole(text, FinishReason::Stop, &Value::Null, usage);
        stream::merge(&mut whole, &extra);
        Json(whole).into_response()
    };
    files::mark(&mut response, &hash);
    Ok(response)
}
