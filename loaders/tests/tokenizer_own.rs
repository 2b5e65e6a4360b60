//! Tokenizers made in the test: ids worked by hand, the synthetic ones, and what damaged files do.

mod tokenizer_support;

use med2e3_loaders::tokenizer::{
    write_released_bert_vocab, write_released_llm_tokenizer, write_tiny_bert_vocab, write_tiny_llm_tokenizer,
};
use med2e3_loaders::{BertTokenizer, DecodeStream, LlmTokenizer};
use tokenizer_support::{Numbers, Scratch, sentencepiece_model};

const TEXTS: [&str; 2] = ["Is there a lesion in the lung? The lung is clear.", "There is a lesion in the liver."];

/// Llama's scheme in small: `▁` 259, `a` 260, `b` 261, `▁a` 262, `ab` 263, `▁ab` 264, the added tokens behind.
const PIECES: [&str; 6] = ["▁", "a", "b", "▁a", "ab", "▁ab"];
const CONFIG: &str = r#"{"legacy": false, "add_bos_token": false, "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>", "eos_token": "<end>", "unk_token": "<unk>", "added_tokens_decoder": {
    "1": {"content": "<s>", "special": true}, "265": {"content": "<end>", "special": true},
    "266": {"content": "<user>", "rstrip": true}}}"#;

fn hand_made(name: &str, config: &str) -> (Scratch, LlmTokenizer) {
    let scratch = Scratch::new(name);
    scratch.write("tokenizer.model", sentencepiece_model(&PIECES));
    scratch.write("tokenizer_config.json", config);
    let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
    (scratch, tokenizer)
}

#[test]
fn slow_ids_by_hand() {
    let (_scratch, tokenizer) = hand_made("by-hand", CONFIG);
    let cases: [(&str, &[u32]); 11] = [
        ("", &[]),
        ("ab", &[264]),
        (" ab", &[259, 264]),
        ("aab", &[262, 263]),
        ("ba", &[259, 261, 260]),
        ("a\n", &[262, 3 + 10]),
        ("<s>a", &[1, 260]),
        ("<user>", &[259, 266]),
        ("a<end>ab", &[262, 265, 263]),
        ("a<user> \n ab", &[262, 266, 263]),
        ("a<end> a", &[262, 265, 262]),
    ];
    for (text, want) in cases {
        assert_eq!(tokenizer.encode_chunk(text).unwrap(), want, "{text:?}");
    }
    assert_eq!((tokenizer.adds_bos(), tokenizer.eos_token_id(), tokenizer.vocab_size()), (None, Some(265), 267));
    assert_eq!(tokenizer.token_text(266).as_deref(), Some("<user>"));
    assert_eq!(tokenizer.token_text(267), None);
    assert_eq!(tokenizer.decode(&[262, 261, 265, 3 + 0xC3, 3 + 0xA9, 3 + 0xC3], true).unwrap(), "abé\u{fffd}");
    assert_eq!(tokenizer.decode(&[262, 266, 262, 265], true).unwrap(), "a <user> a");
}

/// Legacy mode, the default: a dummy prefix after every added token, and BOS unless the file says no.
#[test]
fn legacy_ids_by_hand() {
    let config = r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#;
    let (_scratch, tokenizer) = hand_made("legacy", config);
    assert_eq!(tokenizer.encode_chunk("a</s>a").unwrap(), [262, 2, 262]);
    assert_eq!((tokenizer.adds_bos(), tokenizer.eos_token_id()), (Some(1), Some(2)));
    assert_eq!(tokenizer.decode(&[262, 2, 262], true).unwrap(), "a a");
    assert_eq!(tokenizer.decode(&[262, 262, 2, 262], false).unwrap(), " a a</s>a");
    assert_eq!(tokenizer.decode(&[259, 262], true).unwrap(), "a");
    assert_eq!(tokenizer.decode(&[259, 259, 262], true).unwrap(), " a");
}

#[test]
fn a_stream_holds_back_what_may_change() {
    let (_scratch, tokenizer) = hand_made("stream", CONFIG);
    let mut stream = DecodeStream::new(&tokenizer, true);
    let sent = [262, 3 + 0xC3, 3 + 0xA9, 265, 262, 3 + 0xC3].map(|id| stream.push(id).unwrap());
    assert_eq!(sent, [Some("a".to_owned()), None, None, None, Some("é a".to_owned()), None]);
    assert_eq!(stream.flush().unwrap().as_deref(), Some("\u{fffd}"));
    assert_eq!(stream.flush().unwrap(), None);
}

#[test]
fn synthetic_tokenizers_take_any_text() {
    for (name, write) in [
        ("tiny", write_tiny_llm_tokenizer as fn(&std::path::Path, &[&str]) -> med2e3_loaders::Result<usize>),
        ("released", write_released_llm_tokenizer),
    ] {
        let scratch = Scratch::new(name);
        let size = write(&scratch.0, &TEXTS).unwrap();
        let first = std::fs::read(scratch.0.join("tokenizer.json")).unwrap();
        write(&scratch.0, &TEXTS).unwrap();
        assert_eq!(std::fs::read(scratch.0.join("tokenizer.json")).unwrap(), first, "{name}: the same bytes twice");
        let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
        assert_eq!(tokenizer.vocab_size(), size, "{name}");
        assert_eq!(tokenizer.adds_bos(), None, "{name}");
        let end = tokenizer.token_id("<|endoftext|>").unwrap();
        assert_eq!(tokenizer.eos_token_id(), Some(end), "{name}");
        assert_eq!(["<unk>", "<s>", "</s>"].map(|token| tokenizer.token_id(token)), [Some(0), Some(1), Some(2)]);
        for text in ["Is there a lesion in the lung?", "  肝臓 🫁\n\ttab\0", "a<|endoftext|>", "\u{2581}", ""] {
            let ids = tokenizer.encode_chunk(text).unwrap();
            let want = text.replace('\u{2581}', " ");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), want, "{name}: {text:?}");
        }
        assert!(tokenizer.encode_chunk(TEXTS[0]).unwrap().len() < 30, "{name}: merges are learnt");
    }
}

#[test]
fn synthetic_sizes_are_the_releases() {
    let scratch = Scratch::new("sizes");
    assert_eq!(write_released_llm_tokenizer(&scratch.0, &TEXTS).unwrap(), 32_011);
    let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
    assert_eq!(
        ["<|endoftext|>", "<|end|>", "<|user|>"].map(|t| tokenizer.token_id(t).unwrap()),
        [32_000, 32_007, 32_010]
    );
    assert_eq!(write_released_bert_vocab(&scratch.0).unwrap(), 30_522);
    let bert = BertTokenizer::open(&scratch.0.join("absent")).map(|_| ()).unwrap_err().to_string();
    assert!(bert.contains("holds neither tokenizer.json nor vocab.txt"), "{bert}");
}

#[test]
fn synthetic_bert_reads_questions() {
    for (name, write, start) in [
        ("tiny-bert", write_tiny_bert_vocab as fn(&std::path::Path) -> med2e3_loaders::Result<usize>, 2),
        ("released-bert", write_released_bert_vocab, 101),
    ] {
        let scratch = Scratch::new(name);
        let size = write(&scratch.0).unwrap();
        let bert = BertTokenizer::open(&scratch.0).unwrap();
        assert_eq!(bert.vocab_size(), size);
        let ids = bert.encode("Is the Lung clear?", 64).unwrap();
        assert_eq!((ids[0], ids[ids.len() - 1]), (start, start + 1), "{name}");
        assert!(!ids.contains(&(start - 1)), "{name}: no unknown token in {ids:?}");
        assert_eq!(bert.encode("lung lung lung", 5).unwrap().len(), 5);
        assert!(bert.encode("lung", 1).is_err());
    }
}

/// Opens and uses whatever opens: an error is fine, a panic is not.
fn try_llm(scratch: &Scratch) -> bool {
    let Ok(tokenizer) = LlmTokenizer::open(&scratch.0) else { return false };
    if let Ok(ids) = tokenizer.encode_chunk("Is a lesion <end>\n <user> ab\u{e9}🫁?") {
        tokenizer.decode(&ids, true).ok();
        tokenizer.decode(&ids, false).ok();
    }
    true
}

/// Every truncation is refused; every flipped bit is refused or gives a tokenizer that works on any text.
fn damage(scratch: &Scratch, name: &str, bytes: &[u8], flips: usize, use_it: impl Fn(&Scratch) -> bool) {
    let mut numbers = Numbers(11);
    scratch.write(name, bytes);
    assert!(use_it(scratch), "{name} is good before it is damaged");
    for _ in 0..flips {
        let mut damaged = bytes.to_vec();
        let at = numbers.below(bytes.len());
        damaged[at] ^= 1 << numbers.below(8);
        scratch.write(name, &damaged);
        use_it(scratch);
        scratch.write(name, &bytes[..at]);
        use_it(scratch);
    }
}

#[test]
fn damaged_sentencepiece_models_do_not_panic() {
    let (scratch, _) = hand_made("damaged-model", CONFIG);
    let model = sentencepiece_model(&PIECES);
    damage(&scratch, "tokenizer.model", &model, 600, try_llm);
    for end in (0..model.len()).step_by(5) {
        scratch.write("tokenizer.model", &model[..end]);
        assert!(!try_llm(&scratch), "cut to {end} of {} bytes", model.len());
    }
    scratch.write("tokenizer.model", &model);
    damage(&scratch, "tokenizer_config.json", CONFIG.as_bytes(), 600, try_llm);
}

#[test]
fn damaged_json_does_not_panic() {
    let scratch = Scratch::new("damaged-json");
    write_tiny_llm_tokenizer(&scratch.0, &TEXTS).unwrap();
    let json = std::fs::read(scratch.0.join("tokenizer.json")).unwrap();
    damage(&scratch, "tokenizer.json", &json, 600, try_llm);
    for end in (0..json.len() - 2).step_by(37) {
        scratch.write("tokenizer.json", &json[..end]);
        assert!(!try_llm(&scratch), "cut to {end} of {} bytes", json.len());
    }
}

#[test]
fn damaged_vocabularies_do_not_panic() {
    let scratch = Scratch::new("damaged-vocab");
    write_tiny_bert_vocab(&scratch.0).unwrap();
    let vocab = std::fs::read(scratch.0.join("vocab.txt")).unwrap();
    damage(&scratch, "vocab.txt", &vocab, 1000, |scratch| {
        BertTokenizer::open(&scratch.0).and_then(|bert| bert.encode("Is the Lung cl\u{e9}ar?", 8)).is_ok()
    });
}

#[test]
fn what_we_do_not_run_is_refused_by_name() {
    let scratch = Scratch::new("refused");
    write_tiny_llm_tokenizer(&scratch.0, &TEXTS).unwrap();
    let json = std::fs::read_to_string(scratch.0.join("tokenizer.json")).unwrap();
    let config = std::fs::read_to_string(scratch.0.join("tokenizer_config.json")).unwrap();
    for (from, to, want) in [
        (r#""dropout": null"#, r#""dropout": 0.1"#, "dropout"),
        (r#""type": "BPE""#, r#""type": "Unigram""#, "a model of type \"Unigram\", we run \"BPE\""),
        (r#""type": "Prepend""#, r#""type": "Precompiled""#, "a normalizer of type \"Precompiled\""),
        (r#""type": "Fuse""#, r#""type": "CTC""#, "a decoder of type \"CTC\""),
        (r#""a": 324"#, r#""a": 323"#, "gives the id 323 to two tokens"),
        (r#""a": 324"#, r#""a": 4000000000"#, "ids are below 1048576"),
        (r#""continuing_subword_prefix": null"#, r#""continuing_subword_prefix": "é""#, "marks sub-words"),
        (r#""id": 1,"#, r#""id": 5,"#, "added token \"<s>\" has id 5, but gets 1"),
    ] {
        assert!(json.contains(from), "{from}");
        scratch.write("tokenizer.json", json.replacen(from, to, 1));
        let error = LlmTokenizer::open(&scratch.0).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(want) && error.contains("tokenizer.json"), "{error}");
    }
    scratch.write("tokenizer.json", &json);
    scratch.write("tokenizer_config.json", config.replace("\"add_bos_token\": false", "\"add_bos_token\": true"));
    assert_eq!(LlmTokenizer::open(&scratch.0).unwrap().adds_bos(), Some(1));
    scratch.write("tokenizer_config.json", r#"{"add_bos_token": true, "bos_token": "<begin>"}"#);
    let error = LlmTokenizer::open(&scratch.0).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("no token \"<begin>\""), "{error}");
    scratch.write("tokenizer_config.json", "{}");
    assert_eq!(LlmTokenizer::open(&scratch.0).unwrap().adds_bos(), None);
}
