//! Every field of every body, and what is done with it: a field that would be ignored is refused.
use crate::error::{ApiError, Result};
use serde_json::{Map, Value};
use std::fmt::Write;

/// One field of a body.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What is done with it.
    pub treatment: Treatment,
    /// What it does, or why it does nothing, for `docs/http.md`.
    pub note: &'static str,
}

/// What is done with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It does what it says.
    Honoured,
    /// It may be absent, `null`, or one of these values, as JSON; anything else is refused with 400.
    Only(&'static [&'static str]),
}

use Treatment::{Honoured, Only};

const fn field(name: &'static str, treatment: Treatment, note: &'static str) -> Field {
    Field { name, treatment, note }
}

const MODEL: Field = field("model", Honoured, "the name that `GET /v1/models` shows; may be left out");
const VOLUME: Field = field("volume", Honoured, "ours: a file's id; or give the scan as a part of a message");
const GUIDE: Field = field("guide", Honoured, "ours: text that weighs the slices; the last question otherwise");
const WINDOW: Field = field("window", Honoured, "ours: as `--window`, in the place of the upload's");
const INDEX: Field = field("index", Honoured, "ours: which volume of a file with several, from 0");
const SERIES: Field = field("series", Honoured, "ours: which series of a file with several, by its UID or number");
const TEMPERATURE: Field = field("temperature", Honoured, "0 to 2; 0, the default, takes the likeliest token");
const TOP_P: Field = field("top_p", Honoured, "above 0, at most 1");
const TOP_K: Field = field("top_k", Honoured, "vLLM's: sample among so many; 0, -1 or absent for all");
const SEED: Field = field("seed", Honoured, "of the sampling: the same seed gives the same answer; 0 if absent");
const MAX_TOKENS: Field = field("max_tokens", Honoured, "1 or more; the model's limit if absent");
const STOP: Field = field("stop", Honoured, "a text, or up to 16, of 1 to 256 bytes");
const STREAM: Field = field("stream", Honoured, "server-sent events");
const STREAM_OPTIONS: Field = field("stream_options", Honoured, "`include_usage`; `include_obfuscation` may be false");
const N: Field = field("n", Only(&["1"]), "one answer for each request");
const FREQUENCY: Field = field("frequency_penalty", Only(&["0", "0.0"]), "no penalties");
const PRESENCE: Field = field("presence_penalty", Only(&["0", "0.0"]), "no penalties");
const LOGIT_BIAS: Field = field("logit_bias", Only(&["{}"]), "no biases");
const USER: Field = field("user", Only(&[]), "says who asks; keys do that here");
const CHOICE: Field =
    field("structured_outputs", Honoured, "vLLM's: `{\"choice\": [...]}` scores these answers and gives the likeliest");

/// Fields of `POST /v1/chat/completions`.
pub const CHAT_FIELDS: &[Field] = &[
    field("messages", Honoured, "`user` and `assistant` in turn; text, and the scan as `file` or as a data URL"),
    MODEL,
    VOLUME,
    GUIDE,
    WINDOW,
    INDEX,
    SERIES,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    SEED,
    MAX_TOKENS,
    field("max_completion_tokens", Honoured, "as `max_tokens`"),
    STOP,
    STREAM,
    STREAM_OPTIONS,
    field("logprobs", Honoured, "log-probabilities of the answer's tokens"),
    field("top_logprobs", Honoured, "0 to 20, with `logprobs`"),
    CHOICE,
    N,
    FREQUENCY,
    PRESENCE,
    LOGIT_BIAS,
    USER,
    field("audio", Only(&[]), "the model is silent"),
    field("modalities", Only(&["[\"text\"]"]), "text alone comes out"),
    field("tools", Only(&["[]"]), "the model knows no tools"),
    field("tool_choice", Only(&["\"none\"", "\"auto\""]), "the model knows no tools"),
    field("parallel_tool_calls", Only(&["true", "false"]), "the model knows no tools"),
    field("functions", Only(&["[]"]), "the model knows no tools"),
    field("function_call", Only(&["\"none\"", "\"auto\""]), "the model knows no tools"),
    field("response_format", Only(&["{\"type\":\"text\"}"]), "text; for a closed question use `structured_outputs`"),
    field("metadata", Only(&["{}"]), "nothing is stored"),
    field("store", Only(&["false"]), "nothing is stored"),
    field("prediction", Only(&[]), "not used"),
    field("prompt_cache_key", Only(&[]), "prompts are kept by their volume"),
    field("prompt_cache_retention", Only(&[]), "prompts are kept while there is room"),
    field("prompt_cache_options", Only(&[]), "prompts are kept by their volume"),
    field("reasoning_effort", Only(&["\"none\""]), "the model does not reason"),
    field("safety_identifier", Only(&[]), "says who asks; keys do that here"),
    field("service_tier", Only(&["\"auto\"", "\"default\""]), "there is one"),
    field("verbosity", Only(&["\"medium\""]), "ask for it in the question"),
    field("moderation", Only(&[]), "there is none"),
    field("web_search_options", Only(&[]), "nothing is fetched"),
];

/// Fields of `POST /v1/completions`.
pub const COMPLETION_FIELDS: &[Field] = &[
    field("prompt", Honoured, "the question: a text, or a list of one"),
    MODEL,
    VOLUME,
    GUIDE,
    WINDOW,
    INDEX,
    SERIES,
    TEMPERATURE,
    TOP_P,
    TOP_K,
    SEED,
    MAX_TOKENS,
    STOP,
    STREAM,
    STREAM_OPTIONS,
    field("logprobs", Honoured, "0 to 20"),
    N,
    FREQUENCY,
    PRESENCE,
    LOGIT_BIAS,
    USER,
    field("best_of", Only(&["1"]), "one answer for each request"),
    field("echo", Only(&["false"]), "the prompt is not repeated"),
    field("suffix", Only(&[]), "the model writes on, not in between"),
];

/// Fields of `POST /v1/score`, which is ours.
pub const SCORE_FIELDS: &[Field] = &[
    field("messages", Honoured, "as in a chat; or `prompt`"),
    field("prompt", Honoured, "the question"),
    field("options", Honoured, "1 to 1024 answers as the model would write them"),
    MODEL,
    VOLUME,
    GUIDE,
    WINDOW,
    INDEX,
    SERIES,
];

/// The tables of `docs/http.md`, each under its heading.
pub fn field_tables() -> String {
    let tables = [
        ("POST /v1/chat/completions", CHAT_FIELDS),
        ("POST /v1/completions", COMPLETION_FIELDS),
        ("POST /v1/score", SCORE_FIELDS),
    ];
    let mut text = String::new();
    for (route, fields) in tables {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "### `{route}`\n\n| field | accepted | what it does |\n|---|---|---|");
        for Field { name, treatment, note } in fields {
            let accepted = match treatment {
                Honoured => "honoured".to_owned(),
                Only([]) => "absent or `null`".to_owned(),
                Only(values) => values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", "),
            };
            let _ = writeln!(text, "| `{name}` | {accepted} | {note} |");
        }
        text.push('\n');
    }
    text
}

/// A body's fields, of which the unknown and the unhonoured were refused.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Checks a body against its table.
    pub fn new(body: Value, table: &[Field]) -> Result<Self> {
        let Value::Object(mut map) = body else {
            return Err(ApiError::invalid("the body is no JSON object; send one"));
        };
        map.retain(|_, value| !value.is_null());
        for (name, value) in &map {
            let shown: String = name.chars().take(64).collect();
            let Some(field) = table.iter().find(|field| field.name == name) else {
                return Err(ApiError::field(&shown, format!("{shown:?} is no field of this request; leave it out")));
            };
            let Only(values) = field.treatment else { continue };
            if !values.iter().any(|known| serde_json::from_str::<Value>(known).is_ok_and(|known| known == *value)) {
                let wanted = match values {
                    [] => "leave it out".to_owned(),
                    values => format!("leave it out, or give {}", values.join(" or ")),
                };
                let message = format!("{name} has a value that is not supported here ({}); {wanted}", field.note);
                return Err(ApiError::field(&shown, message));
            }
        }
        Ok(Self(map))
    }

    /// A field's value.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::field(name, format!("{name} is no text; give one"))),
        }
    }

    /// True or false; false where absent.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(ApiError::field(name, format!("{name} is true or false"))),
        }
    }

    /// A number from `least` to `most`.
    pub fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let inside = value.as_f64().filter(|number| (least..=most).contains(number));
        inside.map(Some).ok_or_else(|| ApiError::field(name, format!("{name} is a number from {least} to {most}")))
    }

    /// A whole number from `least` to `most`.
    pub fn whole(&mut self, name: &str, least: i64, most: i64) -> Result<Option<i64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let inside = value.as_i64().filter(|number| (least..=most).contains(number));
        let wanted = || format!("{name} is a whole number from {least} to {most}");
        inside.map(Some).ok_or_else(|| ApiError::field(name, wanted()))
    }

    /// A text, or a list of at most `most` texts.
    pub fn texts(&mut self, name: &str, most: usize) -> Result<Vec<String>> {
        let wrong = || ApiError::field(name, format!("{name} is a text or a list of at most {most} texts"));
        let text = |value| match value {
            Value::String(text) => Ok(text),
            _ => Err(wrong()),
        };
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) if values.len() <= most => values.into_iter().map(text).collect(),
            Some(Value::Array(_)) => Err(wrong()),
            Some(value) => text(value).map(|text| vec![text]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_is_honoured_harmless_or_refused() {
        let good = json!({ "messages": [], "n": 1, "tools": [], "user": null, "frequency_penalty": 0.0 });
        let mut fields = Fields::new(good, CHAT_FIELDS).ok().unwrap();
        assert_eq!(fields.take("messages"), Some(json!([])));
        let bad = [
            json!({ "n": 2 }),
            json!({ "tools": [{}] }),
            json!({ "user": "x" }),
            json!({ "nonsense": 1 }),
            json!({ "response_format": { "type": "json_object" } }),
            json!({ "logit_bias": { "1": 5 } }),
        ];
        for body in bad {
            let error = Fields::new(body.clone(), CHAT_FIELDS).err().unwrap();
            let name = body.as_object().unwrap().keys().next().unwrap();
            assert_eq!(error.body()["error"]["param"].as_str(), Some(name.as_str()), "{body}");
            assert_eq!(error.status.as_u16(), 400);
        }
        assert!(Fields::new(json!([]), CHAT_FIELDS).is_err());
    }

    #[test]
    fn values_are_checked() {
        let body = json!({ "temperature": 2.5, "seed": 1.5, "stop": ["a", 1], "stream": "yes", "guide": 3 });
        let mut fields = Fields::new(body, CHAT_FIELDS).ok().unwrap();
        assert!(fields.number("temperature", 0.0, 2.0).is_err());
        assert!(fields.whole("seed", i64::MIN, i64::MAX).is_err());
        assert!(fields.texts("stop", 4).is_err() && fields.flag("stream").is_err() && fields.text("guide").is_err());
        assert!(fields.text("guide").is_ok_and(|none| none.is_none()), "it was taken");
    }

    #[test]
    fn every_table_names_a_field_once_and_its_values_are_json() {
        for table in [CHAT_FIELDS, COMPLETION_FIELDS, SCORE_FIELDS] {
            for (at, field) in table.iter().enumerate() {
                assert!(table[..at].iter().all(|other| other.name != field.name), "{}", field.name);
                if let Only(values) = field.treatment {
                    assert!(values.iter().all(|value| serde_json::from_str::<Value>(value).is_ok()), "{}", field.name);
                }
            }
        }
    }
}
