//! Readers of tokenizers: opened, then made to encode, decode and stream.
use super::{Seed, case_folder, numbered, of_number, write};
use med2e3_loaders::tokenizer::{BertTokenizer, DecodeStream, LlmTokenizer};
use std::path::Path;

const JSON: &[u8] = include_bytes!("../../data/golden/a/tokenizer.json");
const SETTINGS: &[u8] = include_bytes!("../../data/golden/a/tokenizer_config.json");
const VOCABULARY: &[u8] = include_bytes!("../../data/golden/a/vision3d_model/vocab.txt");
/// Ids that are decoded, whatever the vocabulary.
const IDS_MAX: u32 = 300;
/// Positions of the text encoder.
const POSITIONS: usize = 16;

/// Every step that a text model's tokenizer may have, over a few tokens.
const STEPS: &str = r#"{"added_tokens": [{"id": 6, "content": "<|end|>", "single_word": false, "lstrip": false,
"rstrip": true, "normalized": false, "special": true}], "normalizer": {"type": "Sequence", "normalizers": [
{"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"},
{"type": "NFKC"}, {"type": "Lowercase"}]}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
{"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
{"type": "Digits", "individual_digits": true}]}, "post_processor": null,
"decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "_"}, "content": " "},
{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
"model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": false,
"vocab": {"<unk>": 0, "_": 1, "a": 2, "b": 3, "ab": 4, "<0x0A>": 5}, "merges": ["a b"]}}"#;

/// As GPT-2's and Qwen's files are.
const BYTE_LEVEL: &str = r#"{"added_tokens": [], "normalizer": {"type": "NFC"},
"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
"decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3}, "merges": ["a b"]}}"#;

const WORD_PIECE: &str = r###"{"added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": true,
"handle_chinese_chars": true, "strip_accents": null, "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
"vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "##b": 5}}}"###;

fn whole(text: &str) -> Seed {
    Seed::whole(text.as_bytes().to_vec())
}

pub(super) fn json_seeds() -> Vec<Seed> {
    vec![Seed::whole(JSON.to_vec()), whole(STEPS), whole(BYTE_LEVEL)]
}

pub(super) fn read_json(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    write(folder.path().join("tokenizer.json"), bytes);
    exercise(folder.path())
}

pub(super) fn model_seeds() -> Vec<Seed> {
    vec![Seed::whole(sentence_pieces()), Seed::part(sentence_pieces(), with_bytes)]
}

pub(super) fn read_model(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    write(folder.path().join("tokenizer.model"), bytes);
    exercise(folder.path())
}

/// Files that say what a tokenizer's tokens are for.
const SETTINGS_FILES: [&str; 3] = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];

pub(super) fn settings_seeds() -> Vec<Seed> {
    let special = br#"{"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": false, "rstrip": true},
        "additional_special_tokens": ["<|end|>"]}"#;
    let config = br#"{"tokenizer_class": "LlamaTokenizer", "legacy": true, "add_bos_token": true, "bos_token": "<s>",
        "added_tokens_decoder": {"2": {"content": "</s>", "lstrip": true, "rstrip": false, "single_word": false}}}"#;
    let files = [(0, SETTINGS.to_vec()), (0, config.to_vec()), (1, special.to_vec()), (2, br#"{"<|end|>": 9}"#.into())];
    files.map(|(file, bytes)| numbered(file, bytes)).into()
}

/// The bytes are one of the settings' files, beside either kind of tokenizer.
pub(super) fn read_settings(bytes: &[u8]) -> Result<(), String> {
    let Some((file, content)) = of_number(&SETTINGS_FILES, bytes) else { return Err("is empty; give a file".into()) };
    let outcomes = [("tokenizer.json", JSON.to_vec()), ("tokenizer.model", sentence_pieces())].map(|(name, model)| {
        let folder = case_folder();
        write(folder.path().join(name), model);
        write(folder.path().join(SETTINGS_FILES[file]), content);
        exercise(folder.path())
    });
    outcomes.into_iter().reduce(Result::or).expect("there are two")
}

/// Opens the tokenizer and uses it as the engine does, on plain and odd texts and ids.
fn exercise(folder: &Path) -> Result<(), String> {
    let tokenizer = LlmTokenizer::open(folder).map_err(|error| error.to_string())?;
    let rows = tokenizer.vocab_size();
    for (name, id) in [("bos", tokenizer.adds_bos()), ("eos", tokenizer.eos_token_id())] {
        assert!(id.is_none_or(|id| (id as usize) < rows), "{name} is {id:?} of {rows}");
    }
    let long = "ab ".repeat(100);
    for text in ["Is there a lesion in the left kidney?", "", " \u{e9}\u{4e2d}<|end|> ab\n\n12", &long] {
        let ids = tokenizer.encode_chunk(text).map_err(|error| error.to_string())?;
        assert!(ids.iter().all(|&id| (id as usize) < rows), "{text:?} has ids beyond {rows}: {ids:?}");
        decode(&tokenizer, &ids)?;
    }
    let some: Vec<u32> = (0..IDS_MAX).chain([rows as u32, u32::MAX]).collect();
    decode(&tokenizer, &some)
}

fn decode(tokenizer: &LlmTokenizer, ids: &[u32]) -> Result<(), String> {
    for skip_special in [true, false] {
        tokenizer.decode(ids, skip_special).map_err(|error| error.to_string())?;
        let mut stream = DecodeStream::new(tokenizer, skip_special);
        for &id in ids {
            stream.push(id).map_err(|error| error.to_string())?;
        }
        stream.flush().map_err(|error| error.to_string())?;
    }
    Ok(())
}

pub(super) fn bert_seeds() -> Vec<Seed> {
    let json = |bytes: &[u8]| numbered(1, bytes.to_vec());
    vec![numbered(0, VOCABULARY.to_vec()), json(WORD_PIECE.as_bytes())]
}

/// The bytes are one of the two files that a text encoder's tokenizer may be.
pub(super) fn read_bert(bytes: &[u8]) -> Result<(), String> {
    const FILES: [&str; 2] = ["vocab.txt", "tokenizer.json"];
    let Some((file, content)) = of_number(&FILES, bytes) else { return Err("is empty; give a file".into()) };
    let folder = case_folder();
    write(folder.path().join(FILES[file]), content);
    let tokenizer = BertTokenizer::open(folder.path()).map_err(|error| error.to_string())?;
    let long = "ab ".repeat(100);
    for text in ["Is there a lesion?", "", "\u{e9}\u{4e2d}\u{200b} ab\n[MASK]", &long] {
        let ids = tokenizer.encode(text, POSITIONS).map_err(|error| error.to_string())?;
        let fit = ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size());
        assert!(fit && (2..=POSITIONS).contains(&ids.len()), "{text:?} has ids {ids:?}");
    }
    Ok(())
}

/// A small `tokenizer.model` in Llama's manner.
fn sentence_pieces() -> Vec<u8> {
    let mut model = Vec::new();
    for (text, score, kind) in [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("\u{2581}", -1.0, 1)] {
        field(&mut model, 1, &piece(text, score, kind));
    }
    for (rank, text) in ["a", "b", "ab", "\u{2581}a"].into_iter().enumerate() {
        field(&mut model, 1, &piece(text, -2.0 - rank as f32, 1));
    }
    // Byte pair encoding; unknown characters stay unknown.
    field(&mut model, 2, &[3 << 3, 2, 0x98, 0x02, 0]);
    field(&mut model, 3, &[3 << 3, 1, 4 << 3, 0, 5 << 3, 1]);
    model
}

/// The same with rows for all bytes, which unknown characters become.
fn with_bytes(mut model: Vec<u8>) -> Vec<u8> {
    (0..=255u8).for_each(|byte| field(&mut model, 1, &piece(&format!("<0x{byte:02X}>"), 0.0, 6)));
    // The last of several settings counts.
    field(&mut model, 2, &[0x98, 0x02, 1]);
    model
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let mut piece = Vec::new();
    field(&mut piece, 1, text.as_bytes());
    piece.push((2 << 3) | 5);
    piece.extend(score.to_le_bytes());
    piece.extend([3 << 3, kind]);
    piece
}

/// A field of the protocol buffers' format that holds fewer than 128 bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.extend([(number << 3) | 2, bytes.len() as u8]);
    out.extend(bytes);
}
