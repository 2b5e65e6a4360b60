//! Tokenizer files made to mislead: a short text must not take much memory or time, and nothing may panic.

mod tokenizer_support;

use std::path::PathBuf;

use med2e3_loaders::tokenizer::{write_tiny_bert_vocab, write_tiny_llm_tokenizer};
use med2e3_loaders::{BertTokenizer, LlmTokenizer};
use serde_json::{Value, json};
use tokenizer_support::{Scratch, sentencepiece_model};

/// The tiny tokenizer with one of its parts replaced.
fn with(scratch: &Scratch, part: &str, value: Value) {
    write_tiny_llm_tokenizer(&scratch.0, &["lung"]).unwrap();
    let path = scratch.0.join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json[part] = value;
    std::fs::write(path, json.to_string()).unwrap();
}

fn open_error(scratch: &Scratch) -> String {
    LlmTokenizer::open(&scratch.0).map(|_| ()).expect_err("refused").to_string()
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

#[test]
fn a_strip_at_the_end_is_refused() {
    let scratch = Scratch::new("strip");
    let strip = |start: u64, stop: u64| json!({"type": "Strip", "content": " ", "start": start, "stop": stop});
    for decoder in [
        strip(0, 1),
        strip(1, u64::MAX),
        strip(2, 0),
        json!({"type": "Sequence", "decoders": [{"type": "Fuse"}, strip(0, 3)]}),
        // Without a type the library takes what fits.
        json!({"content": " ", "start": 0, "stop": 1}),
    ] {
        with(&scratch, "decoder", decoder);
        assert!(open_error(&scratch).contains("has a decoder"), "{}", open_error(&scratch));
    }
}

#[test]
fn chains_that_could_outgrow_memory_are_refused() {
    let scratch = Scratch::new("growth");
    let chain = |list: &str, steps: Vec<Value>| json!({"type": "Sequence", list: steps});
    let grown = "times as long";
    let many = "more than 32 steps";
    // Each pair makes 18 letters of one.
    let unfold = |at: usize| if at.is_multiple_of(2) { replace("a", "\u{fdfa}") } else { json!({"type": "NFKD"}) };
    let spaces = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    for (part, steps, want) in [
        ("normalizer", chain("normalizers", vec![replace("e", "ee"); 26]), grown),
        ("decoder", chain("decoders", vec![replace("e", "ee"); 26]), grown),
        ("normalizer", replace("", &"y".repeat(100_000)), grown),
        ("normalizer", json!({"type": "Replace", "pattern": {"Regex": "x*"}, "content": "y".repeat(2000)}), grown),
        ("normalizer", chain("normalizers", (0..18).map(unfold).collect()), grown),
        ("pre_tokenizer", chain("pretokenizers", vec![spaces; 4]), grown),
        ("decoder", chain("decoders", vec![json!({"type": "Fuse"}); 40]), many),
        ("pre_tokenizer", chain("pretokenizers", vec![json!({"type": "Digits", "individual_digits": true}); 40]), many),
    ] {
        with(&scratch, part, steps);
        let said = open_error(&scratch);
        assert!(said.contains(want) && said.contains(part), "{said}");
    }
}

/// A template that names the text 100 000 times.
#[test]
fn a_post_processor_cannot_repeat_the_text() {
    let scratch = Scratch::new("template");
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = json!({"type": "TemplateProcessing", "single": vec![text.clone(); 100_000],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}});
    with(&scratch, "post_processor", template);
    let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
    assert!(tokenizer.encode_chunk("Is there a lesion?").unwrap().len() < 30);
}

#[test]
fn long_tokens_and_long_texts_are_refused() {
    let scratch = Scratch::new("long");
    with(&scratch, "decoder", Value::Null);
    let path = scratch.0.join("tokenizer.json");
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
    let error = tokenizer.encode_chunk(&"lung ".repeat(1 << 20)).unwrap_err().to_string();
    assert!(error.contains("of a text of 5242880") && error.contains("give a shorter text"), "{error}");
    json["model"]["vocab"]["y".repeat(5000)] = json!(510);
    json["model"]["vocab"].as_object_mut().unwrap().retain(|token, id| *id != json!(510) || token.len() == 5000);
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(open_error(&scratch).contains("has a token of 5000 bytes"), "{}", open_error(&scratch));
}

/// Every substring of a random text: each can be cut into two others at every place.
#[test]
fn merges_of_a_sentencepiece_model_are_bounded() {
    let scratch = Scratch::new("merges");
    let mut numbers = tokenizer_support::Numbers(3);
    let text: String = (0..200).map(|_| char::from(b'a' + numbers.below(26) as u8)).collect();
    let substrings = (0..100).flat_map(|start| (1..100).map(move |length| (start, length)));
    let mut pieces: Vec<&str> = substrings.map(|(start, length)| &text[start..start + length]).collect();
    pieces.sort_unstable();
    pieces.dedup();
    scratch.write("tokenizer.model", sentencepiece_model(&pieces));
    assert!(open_error(&scratch).contains("ways to make a piece of others"), "{}", open_error(&scratch));
}

/// A pipe blocks, and what a device holds has no end.
#[test]
fn only_regular_files_are_read() {
    let scratch = Scratch::new("special");
    let llm = |scratch: &Scratch| LlmTokenizer::open(&scratch.0).map(|_| ()).unwrap_err().to_string();
    let bert = |scratch: &Scratch| BertTokenizer::open(&scratch.0).map(|_| ()).unwrap_err().to_string();
    let make_pipe = |path: PathBuf| assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    for name in [
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
    ] {
        for endless in [true, false] {
            if name != "tokenizer.model" && name != "tokenizer.json" {
                write_tiny_llm_tokenizer(&scratch.0, &["lung"]).unwrap();
                write_tiny_bert_vocab(&scratch.0).unwrap();
            }
            let path = scratch.0.join(name);
            std::fs::remove_file(&path).ok();
            if endless {
                std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            } else {
                make_pipe(path.clone());
            }
            if name == "vocab.txt" {
                std::fs::remove_file(scratch.0.join("tokenizer.json")).unwrap();
            }
            let said = if name == "vocab.txt" { bert(&scratch) } else { llm(&scratch) };
            assert!(said.contains(name) && said.contains("is not a regular file"), "{name}: {said}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}

/// The file of the shared data that found the panic.
#[test]
fn the_shared_hostile_tokenizer_is_refused() {
    let Some(tokenizers) = tokenizer_support::shared_tokenizers() else { return };
    let file = tokenizers.join("../fieldtrials/hostile/tokenizer_strip_stop1.json");
    let scratch = Scratch::new("hostile");
    std::fs::copy(file, scratch.0.join("tokenizer.json")).unwrap();
    assert!(open_error(&scratch).contains("strips other than"), "{}", open_error(&scratch));
}
