//! `POST /v1/completions`: one question without turns, for gateways that want this route.
use super::fields::{COMPLETION_FIELDS, Fields};
use super::params::{self, TOP_LOGPROBS_MAX};
use super::reply::{Kind, Shape};
use super::{body, chat};
use crate::error::{ApiError, Result};
use crate::keys::Caller;
use crate::shared::Shared;
use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use std::sync::Arc;

/// Answers a question about a scan.
pub(crate) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response> {
    let model = shared.model()?;
    let mut fields = Fields::new(body::json(&shared, request).await?, COMPLETION_FIELDS)?;
    params::model(&shared, &mut fields)?;
    let plain = chat::plain(&shared)?;
    let mut prompts = fields.texts("prompt", 1)?;
    let prompt =
        prompts.pop().ok_or_else(|| ApiError::field("prompt", "the request has no prompt; give a question"))?;
    let question = med2e3::Request::new(plain(&prompt));
    let mut asked = chat::finish(&mut fields, Vec::new(), question, plain)?;
    let sending = params::sending(&mut fields)?;
    let logprobs = fields.whole("logprobs", 0, TOP_LOGPROBS_MAX)?.map(|top| top as usize);
    params::sampling(&mut fields, &mut asked.request, &["max_tokens"])?;
    let shape = Shape::new(Kind::Completion, &shared.config.model, logprobs, model.engine.image_tokens())?;
    asked.request.logprobs = shape.engine_logprobs();
    chat::reply(&shared, &caller, asked, shape, sending).await
}
