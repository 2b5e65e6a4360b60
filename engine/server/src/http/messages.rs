//! From OpenAI's messages to a conversation about a volume.
use super::source;
use crate::ask::Source;
use crate::error::{ApiError, Result};
use med2e3::prompt::{Conversation, Turn};
use serde_json::{Map, Value};

/// The most messages of a conversation; a model's prompt has room for fewer.
const MESSAGES_MAX: usize = 1024;
/// The most bytes of all texts; a model's prompt has room for less.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What the messages say.
#[derive(Debug)]
pub(crate) struct Said {
    pub conversation: Conversation,
    pub scans: Vec<Source>,
}

/// Reads messages; `plain` makes what a user typed text that is only text.
pub(crate) fn conversation(messages: Value, plain: impl Fn(&str) -> String) -> Result<Said> {
    let Value::Array(messages) = messages else {
        return Err(ApiError::field("messages", "messages is no list; give one"));
    };
    if messages.is_empty() || messages.len() > MESSAGES_MAX {
        let message = format!("there are {} messages, 1 to {MESSAGES_MAX} are taken", messages.len());
        return Err(ApiError::field("messages", message));
    }
    let mut scans = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    let mut bytes = 0;
    for (index, message) in messages.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        let Value::Object(message) = message else { return Err(ApiError::field(at, "a message is no object")) };
        check_keys(&message, &at)?;
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        let text = text(message.get("content"), &format!("{at}.content"), role == "user", &mut scans)?;
        bytes += text.len();
        if bytes > TEXT_BYTES_MAX {
            return Err(ApiError::field(at, format!("the messages have more than {TEXT_BYTES_MAX} bytes; cut them")));
        }
        let text = plain(&text);
        match (role, turns.last_mut()) {
            ("user", None | Some(Turn { answer: Some(_), .. })) => turns.push(Turn { question: text, answer: None }),
            ("assistant", Some(turn @ Turn { answer: None, .. })) => turn.answer = Some(text),
            ("system" | "developer", _) if text.trim().is_empty() => {}
            ("system" | "developer", _) => {
                let message = "the model was trained with one system text, which is given already; leave it out";
                return Err(ApiError::field(at, message));
            }
            ("user" | "assistant", _) => {
                return Err(ApiError::field(at, "messages of user and assistant take turns, and user begins"));
            }
            _ => return Err(ApiError::field(at, "a message's role is user or assistant")),
        }
    }
    if turns.last().is_none_or(|turn| turn.answer.is_some()) {
        return Err(ApiError::field("messages", "the last message is no question; add one of role user"));
    }
    Ok(Said { conversation: Conversation { turns }, scans })
}

/// Keys that say nothing where they are empty, which is how clients send answers back.
fn check_keys(message: &Map<String, Value>, at: &str) -> Result<()> {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Array(values) => !values.is_empty(),
        _ => true,
    };
    match message.iter().find(|(name, value)| !["role", "content"].contains(&name.as_str()) && says(value)) {
        None => Ok(()),
        Some((name, _)) => {
            let name: String = name.chars().take(64).collect();
            Err(ApiError::field(
                format!("{at}.{name}"),
                format!("{name:?} is not supported in a message; leave it out"),
            ))
        }
    }
}

/// The text of a message, and the scans in it.
fn text(content: Option<&Value>, at: &str, may_hold_scans: bool, scans: &mut Vec<Source>) -> Result<String> {
    let parts = match content {
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) if parts.len() <= MESSAGES_MAX => parts,
        _ => return Err(ApiError::field(at, "the content is no text and no list of parts")),
    };
    let mut texts = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let Value::Object(part) = part else { return Err(ApiError::field(at, "a part is no object")) };
        match part.get("type").and_then(Value::as_str) {
            Some("text") => match part.get("text") {
                Some(Value::String(text)) => texts.push(text.as_str()),
                _ => return Err(ApiError::field(at, "a part of type text has no text")),
            },
            Some(kind @ ("file" | "image_url" | "volume_url")) if may_hold_scans => {
                scans.push(source::of_part(kind, part, &at)?);
            }
            _ => {
                let message = "a part's type is text, and in a message of role user also file, image_url or volume_url";
                return Err(ApiError::field(at, message));
            }
        }
    }
    Ok(texts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(messages: Value) -> Result<Said> {
        conversation(messages, str::to_owned)
    }

    #[test]
    fn turns_are_questions_and_answers() {
        let found = said(json!([
            { "role": "system", "content": "" },
            { "role": "user", "content": [
                { "type": "file", "file": { "file_id": "file-1" } }, { "type": "text", "text": "Which plane?" },
            ] },
            { "role": "assistant", "content": "Axial.", "refusal": null, "annotations": [] },
            { "role": "user", "content": "Is there a nodule?" },
        ]));
        let Said { conversation, scans } = found.unwrap();
        assert_eq!(scans, [Source::File("file-1".into())]);
        assert_eq!(conversation.turns[0].question, "Which plane?");
        assert_eq!(conversation.turns[0].answer.as_deref(), Some("Axial."));
        assert_eq!(conversation.turns[1].answer, None);
    }

    #[test]
    fn what_the_model_cannot_read_is_refused_by_its_place() {
        let user = json!({ "role": "user", "content": "a" });
        let bad = [
            (json!("a"), "messages"),
            (json!([]), "messages"),
            (json!([user, user]), "messages[1]"),
            (json!([{ "role": "assistant", "content": "a" }]), "messages[0]"),
            (json!([{ "role": "tool", "content": "a" }]), "messages[0]"),
            (json!([{ "role": "system", "content": "Be brief." }, user]), "messages[0]"),
            (json!([{ "role": "user", "content": 3 }]), "messages[0].content"),
            (json!([{ "role": "user", "content": [{ "type": "input_audio" }] }]), "messages[0].content[0]"),
            (json!([{ "role": "user", "content": "a", "name": "b" }]), "messages[0].name"),
            (json!([user, { "role": "assistant", "content": "a" }]), "messages"),
            (json!([user, { "role": "assistant", "content": "a", "tool_calls": [{}] }]), "messages[1].tool_calls"),
        ];
        for (messages, place) in bad {
            let error = said(messages.clone()).unwrap_err();
            assert_eq!(error.body()["error"]["param"].as_str(), Some(place), "{messages}");
        }
    }
}
