//! Prompts against the official code's, and what is refused.

use std::path::PathBuf;

use med2e3::Error;
use med2e3::prompt::{Conversation, Prompt, Turn, guiding_question};
use med2e3_loaders::LlmTokenizer;
use med2e3_loaders::tokenizer::write_tiny_llm_tokenizer;
use serde_json::Value;

/// A folder that is removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("med2e3-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn turn(question: &str, answer: Option<&str>) -> Turn {
    Turn { question: question.to_owned(), answer: answer.map(str::to_owned) }
}

fn conversation(item: &Value) -> Conversation {
    if let Some(question) = item["question"].as_str() {
        return Conversation::single(question);
    }
    let mut turns: Vec<Turn> = Vec::new();
    for message in item["messages"].as_array().unwrap() {
        let value = message["value"].as_str().unwrap();
        match message["from"].as_str().unwrap() {
            "human" => turns.push(turn(value, None)),
            _ => turns.last_mut().unwrap().answer = Some(value.to_owned()),
        }
    }
    Conversation { turns }
}

/// Text and ids of all twelve prompts, one of several turns, as the slow and as the fast tokenizer gives them.
#[test]
fn prompts_are_the_official_codes() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let data = std::env::var_os("MED2E3_SHARED_DATA").map_or_else(|| PathBuf::from(default), PathBuf::from);
    let folder = data.join("tokenizers");
    if !folder.is_dir() {
        eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
        return;
    }
    let scratch = Scratch::new("prompt-golden");
    let phi3 = folder.join("phi-3-mini-4k-instruct");
    std::fs::copy(folder.join("llama-2/tokenizer.model"), scratch.0.join("tokenizer.model")).unwrap();
    std::fs::copy(phi3.join("tokenizer_config.json"), scratch.0.join("tokenizer_config.json")).unwrap();
    let slow = LlmTokenizer::open(&scratch.0).unwrap();
    let fast = LlmTokenizer::open(&phi3).unwrap();
    let golden = std::fs::read(folder.join("golden_phi3_med2e3.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let items = golden["med2e3_prompts"].as_array().unwrap();
    assert_eq!(items.len(), 12);
    for item in items {
        let mut conversation = conversation(item);
        for placed in [true, false] {
            assert_eq!(conversation.text().unwrap(), item["prompt"].as_str().unwrap());
            for (tokenizer, key) in [(&slow, "ids_slow"), (&fast, "ids_fast")] {
                let prompt = Prompt::build(&conversation, tokenizer).unwrap();
                let want: Vec<i64> = item[key].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
                assert_eq!(prompt.ids_with_image(), want, "{key} {conversation:?}");
                assert_eq!(prompt.rows(512), want.len() + 511);
            }
            // Once more without the marker, where it is in its usual place: it is put there.
            let first = &mut conversation.turns[0].question;
            match first.strip_prefix("<image3d>\n") {
                Some(rest) if placed => *first = rest.to_owned(),
                _ => break,
            }
        }
    }
}

#[test]
fn bos_stands_once_at_the_start() {
    let scratch = Scratch::new("prompt-bos");
    write_tiny_llm_tokenizer(&scratch.0, &["Is there a lesion in the lung?"]).unwrap();
    let without = LlmTokenizer::open(&scratch.0).unwrap();
    let config = std::fs::read_to_string(scratch.0.join("tokenizer_config.json")).unwrap();
    let config = config.replace("\"add_bos_token\": false", "\"add_bos_token\": true");
    std::fs::write(scratch.0.join("tokenizer_config.json"), config).unwrap();
    let with = LlmTokenizer::open(&scratch.0).unwrap();
    let conversation = Conversation::single("Is there a lesion?");
    let without = Prompt::build(&conversation, &without).unwrap();
    let with = Prompt::build(&conversation, &with).unwrap();
    assert_eq!(with.before, [&[1], &without.before[..]].concat());
    assert_eq!(with.after, without.after);
}

#[test]
fn what_is_no_prompt_is_refused() {
    let twice = "<image3d> and <image3d>";
    for (turns, want) in [
        (vec![], "the conversation has no question; give one"),
        (vec![turn("a", Some("b"))], "the last question has an answer already; add the next question"),
        (vec![turn("a", None), turn("b", None)], "question 1 of the conversation has no answer; add it"),
        (vec![turn(twice, None)], "the prompt holds <image3d> 2 times; write it once"),
        (vec![turn("a", Some("<image3d>")), turn("b", None)], "the prompt holds <image3d> 2 times; write it once"),
        (
            vec![turn("<image> a", None)],
            "the prompt holds <image>, which stands for a 2D picture; write <image3d> for the volume",
        ),
    ] {
        match (Conversation { turns }).text() {
            Err(Error::Request(text)) => assert_eq!(text, want),
            other => panic!("{want}: {other:?}"),
        }
    }
    let later = Conversation { turns: vec![turn("a", Some("b")), turn("<image3d>", None)] };
    assert_eq!(later.text().unwrap().matches("<image3d>").count(), 1, "a later question may place the image");
}

#[test]
fn the_last_question_guides() {
    let turns = vec![turn("<image3d>\nWhere?", Some("There.")), turn(" Any effusion?\n<image3d> ", None)];
    let conversation = Conversation { turns };
    assert_eq!(guiding_question(&conversation, None), "Any effusion?");
    assert_eq!(guiding_question(&conversation, Some(" Which plane? ")), "Which plane?");
    assert_eq!(guiding_question(&Conversation { turns: vec![] }, None), "");
}
