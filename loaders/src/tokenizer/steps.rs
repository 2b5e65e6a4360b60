//! The steps that a `tokenizer.json` asks for: only those we know, few of them, and none that could blow up a text.
//!
//! One step alone is harmless, a chain of them is not: 34 replacements of one letter by two make 2^34 letters of one.
//! So each has a factor by which it may lengthen a text at most, and the product of a part's factors is bounded.

use serde_json::{Map, Value};

/// Most steps of one part; the longest that a model of ours has takes 5.
const STEPS_MAX: usize = 32;
/// Most bytes that the steps of one part may make of one. Phi-3's normalizer needs 12, Qwen's steps 3 and 4.
const GROWTH_MAX: usize = 1024;
/// Longest pattern, in bytes; those of Qwen and DeepSeek have some hundred.
const PATTERN_BYTES_MAX: usize = 8192;
/// Most characters of one word that WordPiece looks at, in time that grows with their square; BERT's has 100.
pub(super) const WORD_CHARS_MAX: u64 = 1000;

/// A part of the pipeline, and the types of its steps that we run.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// The key in the file.
    pub name: &'static str,
    pub known: &'static [&'static str],
}

impl Part {
    /// The bytes that the part makes of one at most, or what it asks for that we do not run.
    pub fn growth(&self, steps: Option<&Value>) -> Result<usize, String> {
        let mut chain = Chain { part: self, steps: 0, growth: 1 };
        match steps {
            None | Some(Value::Null) => {}
            Some(step) => chain.add(step)?,
        }
        Ok(chain.growth)
    }
}

/// The steps of a part as they are counted.
struct Chain<'a> {
    part: &'a Part,
    steps: usize,
    growth: usize,
}

impl Chain<'_> {
    fn add(&mut self, step: &Value) -> Result<(), String> {
        let name = self.part.name;
        let fields = step.as_object().ok_or_else(|| format!("has a {name} that is not an object"))?;
        // A step without a type would be guessed by its fields.
        let kind = fields.get("type").and_then(Value::as_str).unwrap_or("none");
        if !self.part.known.contains(&kind) {
            return Err(format!("has a {name} of type {kind:?}, we run {}", self.part.known.join(", ")));
        }
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(format!("has a {name} of more than {STEPS_MAX} steps"));
        }
        if kind == "Sequence" {
            let lists = fields.values().filter_map(Value::as_array);
            return lists.flatten().try_for_each(|step| self.add(step));
        }
        check_fields(name, kind, fields)?;
        self.growth = self.growth.saturating_mul(factor(kind, fields));
        if self.growth > GROWTH_MAX {
            return Err(format!("has a {name} that could make a text more than {GROWTH_MAX} times as long"));
        }
        Ok(())
    }
}

/// Refuses values that the `tokenizers` crate panics on or does not bound.
fn check_fields(name: &str, kind: &str, fields: &Map<String, Value>) -> Result<(), String> {
    let number = |key: &str| fields.get(key).and_then(Value::as_u64);
    // Any `stop` cuts an empty text before its start.
    if kind == "Strip" && !(number("start").is_some_and(|start| start <= 1) && number("stop") == Some(0)) {
        return Err(format!("has a {name} that strips other than up to 1 character at the start and 0 at the end"));
    }
    let long = pattern(fields).is_some_and(|(_, pattern)| pattern.len() > PATTERN_BYTES_MAX);
    if long { Err(format!("has a {name} with a pattern of more than {PATTERN_BYTES_MAX} bytes")) } else { Ok(()) }
}

/// `{"pattern": {"String": text}}`: the pattern's kind and text.
fn pattern(fields: &Map<String, Value>) -> Option<(&str, &str)> {
    let (kind, text) = fields.get("pattern")?.as_object()?.iter().next()?;
    Some((kind, text.as_str()?))
}

/// The bytes that a step makes of one at most.
fn factor(kind: &str, fields: &Map<String, Value>) -> usize {
    let bytes = |key: &str| fields.get(key).and_then(Value::as_str).map_or(0, str::len);
    match kind {
        "Replace" => match pattern(fields) {
            Some(("String", text)) if !text.is_empty() => bytes("content").div_ceil(text.len()).max(1),
            // An expression may match between any two characters.
            _ => 1 + bytes("content"),
        },
        // Once for each stretch between added tokens.
        "Prepend" => 1 + bytes("prepend"),
        // Unicode's own bounds for UTF-8 (UAX 15, FAQ).
        "NFC" | "NFD" => 3,
        "NFKC" | "NFKD" => 11,
        "Lowercase" => 2,
        // Two bytes for one, and a blank before each piece; back again, U+FFFD for a byte.
        "ByteLevel" => 4,
        // A character of up to four bytes for a blank, and another before each piece.
        "Metaspace" => 8,
        // Accents apart, and blanks around Chinese characters.
        "BertNormalizer" => 6,
        _ => 1,
    }
}

/// The id that the post-processor puts before a single text, where it puts one: a fast tokenizer keeps its BOS there.
pub(super) fn first_id(post_processor: &Value) -> Option<u64> {
    let named = |key: &str| post_processor.get(key)?.get(1)?.as_u64();
    match post_processor.get("type")?.as_str()? {
        // Each works on what the one before it made, so the last one's token stands first.
        "Sequence" => post_processor.get("processors")?.as_array()?.iter().rev().find_map(first_id),
        "TemplateProcessing" => {
            let id = post_processor.get("single")?.get(0)?.get("SpecialToken")?.get("id")?.as_str()?;
            post_processor.get("special_tokens")?.get(id)?.get("ids")?.get(0)?.as_u64()
        }
        "BertProcessing" | "RobertaProcessing" => named("cls"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PART: Part = Part { name: "decoder", known: &["Sequence", "Replace", "Strip", "Fuse", "NFKD", "Prepend"] };

    fn growth(steps: &Value) -> Result<usize, String> {
        PART.growth(Some(steps))
    }

    fn replace(kind: &str, pattern: &str, content: &str) -> Value {
        json!({"type": "Replace", "pattern": {kind: pattern}, "content": content})
    }

    #[test]
    fn factors_multiply_along_a_chain() {
        let two = || replace("String", "e", "ee");
        let chain = |steps: Vec<Value>| json!({"type": "Sequence", "decoders": steps});
        assert_eq!(growth(&chain(vec![two(); 10])), Ok(1024));
        assert!(growth(&chain(vec![two(); 11])).unwrap_err().contains("1024 times"));
        // In two nested chains as in one.
        assert!(growth(&chain(vec![chain(vec![two(); 6]), chain(vec![two(); 6])])).is_err());
        assert_eq!(growth(&replace("String", "▁", " ")), Ok(1));
        assert_eq!(growth(&replace("String", " ", "▁")), Ok(3));
        assert_eq!(growth(&replace("Regex", "x*", "▁")), Ok(4));
        assert!(growth(&replace("Regex", "", &"y".repeat(5000))).is_err());
        assert!(growth(&replace("String", "", &"y".repeat(5000))).is_err());
        assert!(growth(&json!({"type": "Prepend", "prepend": "y".repeat(5000)})).is_err());
        assert!(growth(&replace("Regex", &"a".repeat(9000), "")).unwrap_err().contains("8192 bytes"));
        let none = json!({"type": "Fuse"});
        assert_eq!(growth(&chain(vec![none.clone(); 31])), Ok(1));
        assert!(growth(&chain(vec![none; 32])).unwrap_err().contains("more than 32 steps"));
        assert_eq!(PART.growth(None), Ok(1));
    }

    #[test]
    fn steps_without_a_known_type_are_refused() {
        for step in [json!({"start": 0, "stop": 1, "content": " "}), json!({"type": 3}), json!("Fuse"), json!([])] {
            assert!(growth(&step).is_err(), "{step}");
        }
        let strip =
            |start: i64, stop: i64| growth(&json!({"type": "Strip", "content": " ", "start": start, "stop": stop}));
        assert_eq!((strip(0, 0), strip(1, 0)), (Ok(1), Ok(1)));
        assert!(strip(2, 0).is_err() && strip(1, 1).is_err() && strip(-1, 0).is_err() && strip(1, -1).is_err());
    }

    #[test]
    fn the_first_token_is_read_from_the_post_processor() {
        let template = json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
        let bytes = json!({"type": "ByteLevel"});
        assert_eq!(first_id(&template), Some(1));
        assert_eq!(first_id(&json!({"type": "Sequence", "processors": [template, bytes.clone()]})), Some(1));
        assert_eq!(first_id(&json!({"type": "RobertaProcessing", "cls": ["<s>", 7], "sep": ["</s>", 2]})), Some(7));
        let text_first = json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]});
        assert_eq!((first_id(&text_first), first_id(&bytes), first_id(&Value::Null)), (None, None, None));
    }
}
