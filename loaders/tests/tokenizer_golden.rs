//! Every id and every decoded text of transformers' golden files, for every tokenizer in the shared folder.

mod tokenizer_support;

use std::path::Path;

use med2e3_loaders::{BertTokenizer, DecodeStream, LlmTokenizer};
use serde_json::Value;
use tokenizer_support::{Numbers, Scratch, shared_tokenizers};

const IMAGE: &str = "<image3d>";

fn golden(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

/// The ids of a prompt around its image, as the official code cuts it.
fn encode(tokenizer: &LlmTokenizer, prompt: &str) -> Vec<i64> {
    let mut all = Vec::new();
    for (index, chunk) in prompt.split(IMAGE).enumerate() {
        if index > 0 {
            all.push(-201);
        }
        all.extend(tokenizer.encode_chunk(chunk).unwrap().into_iter().map(i64::from));
    }
    all
}

/// All prompts and plain texts whose text passes `keep`, against the ids under `key`.
fn check_ids(tokenizer: &LlmTokenizer, golden: &Value, key: &str, keep: impl Fn(&str) -> bool) -> usize {
    let prompts = golden["med2e3_prompts"].as_array().unwrap().iter().map(|item| (&item["prompt"], item));
    let plain = golden["plain"].as_array().unwrap().iter().map(|item| (&item["text"], item));
    let mut checked = 0;
    for (text, item) in prompts.chain(plain) {
        let text = text.as_str().unwrap();
        if keep(text) {
            assert_eq!(encode(tokenizer, text), ids(&item[key]), "{text:?}");
            checked += 1;
        }
    }
    checked
}

fn check_decoding(tokenizer: &LlmTokenizer, golden: &Value, ids_key: &str, text_key: &str) {
    for item in golden["plain"].as_array().unwrap() {
        let ids: Vec<u32> = ids(&item[ids_key]).into_iter().map(|id| id as u32).collect();
        let want = item[text_key].as_str().unwrap();
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), want, "{ids:?}");
        assert_eq!(stream(tokenizer, &ids, true), want, "{ids:?}");
    }
}

fn stream(tokenizer: &LlmTokenizer, ids: &[u32], skip_special: bool) -> String {
    let mut stream = DecodeStream::new(tokenizer, skip_special);
    let mut text: String = ids.iter().filter_map(|&id| stream.push(id).unwrap()).collect();
    text.extend(stream.flush().unwrap());
    text
}

/// The official code's case: `tokenizer.model` beside Phi-3's configuration, no `tokenizer.json`.
fn slow_phi3(folder: &Path, name: &str) -> (Scratch, LlmTokenizer) {
    let scratch = Scratch::new(name);
    scratch.copy(&folder.join("llama-2/tokenizer.model"));
    scratch.copy(&folder.join("phi-3-mini-4k-instruct/tokenizer_config.json"));
    let tokenizer = LlmTokenizer::open(&scratch.0).unwrap();
    (scratch, tokenizer)
}

#[test]
fn sentencepiece_gives_the_slow_ids() {
    let Some(folder) = shared_tokenizers() else { return };
    let golden = golden(&folder, "golden_phi3_med2e3.json");
    let (_scratch, tokenizer) = slow_phi3(&folder, "slow-phi3");
    assert_eq!(check_ids(&tokenizer, &golden, "ids_slow", |_| true), 28);
    check_decoding(&tokenizer, &golden, "ids_slow", "decode_slow");
    assert_eq!(tokenizer.vocab_size(), 32_011);
    assert_eq!((tokenizer.adds_bos(), tokenizer.eos_token_id()), (None, Some(32_000)));
}

#[test]
fn phi3_json_gives_the_fast_ids() {
    let Some(folder) = shared_tokenizers() else { return };
    let golden = golden(&folder, "golden_phi3_med2e3.json");
    let tokenizer = LlmTokenizer::open(&folder.join("phi-3-mini-4k-instruct")).unwrap();
    assert_eq!(check_ids(&tokenizer, &golden, "ids_fast", |_| true), 28);
    check_decoding(&tokenizer, &golden, "ids_fast", "decode_fast");
    assert_eq!(tokenizer.vocab_size(), 32_011);
    assert_eq!((tokenizer.adds_bos(), tokenizer.eos_token_id()), (None, Some(32_000)));
}

/// The April 2024 files have other flags on the added tokens; on all other text their ids are the same, and so are
/// Llama 2's, by JSON and (in legacy mode, whose dummy prefix is the same for one stretch of text) by SentencePiece.
#[test]
fn relatives_agree_where_no_added_token_is_in_the_text() {
    let Some(folder) = shared_tokenizers() else { return };
    let golden = golden(&folder, "golden_phi3_med2e3.json");
    let plain = |text: &str| !text.contains("<|") && !text.contains("s>") && !text.contains("<unk>");
    let phi3 = LlmTokenizer::open(&folder.join("phi-3-mini-128k-instruct_2024-04")).unwrap();
    assert_eq!(check_ids(&phi3, &golden, "ids_fast", plain), 22);
    assert_eq!((phi3.adds_bos(), phi3.eos_token_id(), phi3.vocab_size()), (Some(1), Some(32_000), 32_011));
    let llama = LlmTokenizer::open(&folder.join("llama-2")).unwrap();
    assert_eq!(check_ids(&llama, &golden, "ids_fast", plain), 22);
    assert_eq!((llama.adds_bos(), llama.eos_token_id(), llama.vocab_size()), (Some(1), Some(2), 32_000));
    let scratch = Scratch::new("slow-llama");
    scratch.copy(&folder.join("llama-2/tokenizer.model"));
    scratch.copy(&folder.join("llama-2/tokenizer_config.json"));
    let slow = LlmTokenizer::open(&scratch.0).unwrap();
    assert_eq!(check_ids(&slow, &golden, "ids_slow", plain), 22);
    assert_eq!((slow.adds_bos(), slow.eos_token_id(), slow.vocab_size()), (Some(1), Some(2), 32_000));
}

/// Both kinds, byte-level BPE too: any sequence of ids streams to what `decode` gives, and no piece sent before the end
/// ends inside a character.
#[test]
fn streams_add_up_to_decode() {
    let Some(folder) = shared_tokenizers() else { return };
    let (_scratch, slow) = slow_phi3(&folder, "slow-phi3-stream");
    let open = |name: &str| LlmTokenizer::open(&folder.join(name)).unwrap();
    let text = "<s>🫁 A. Axial <|user|> 肝臓は  正常\u{fffd}\n\n<|endoftext|>x </s>";
    for tokenizer in [slow, open("phi-3-mini-4k-instruct"), open("qwen2.5")] {
        let mut numbers = Numbers(7);
        let real = tokenizer.encode_chunk(text).unwrap();
        for round in 0..300 {
            let special = [0, 1, 2, 29_871, 32_000, 32_007, 243, 162, 174, 132, tokenizer.vocab_size()];
            let random = |_| match numbers.below(3) {
                0 => numbers.below(tokenizer.vocab_size()) as u32,
                1 => special[numbers.below(special.len())] as u32,
                _ => 3 + numbers.below(256) as u32,
            };
            let ids: Vec<u32> = if round == 0 { real.clone() } else { (0..30).map(random).collect() };
            for skip_special in [true, false] {
                let want = tokenizer.decode(&ids, skip_special).unwrap();
                assert_eq!(stream(&tokenizer, &ids, skip_special), want, "{ids:?}, skip_special {skip_special}");
            }
        }
    }
}

#[test]
fn qwen_comes_back_whole() {
    let Some(folder) = shared_tokenizers() else { return };
    let tokenizer = LlmTokenizer::open(&folder.join("qwen2.5")).unwrap();
    let text = "Is there a pleural effusion  (right-sided)? 肝臓は正常ですか？ 3.5 × 2.1 cm";
    let ids = tokenizer.encode_chunk(text).unwrap();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    assert_eq!((tokenizer.adds_bos(), tokenizer.eos_token_id()), (None, Some(151_645)));
    assert_eq!(tokenizer.vocab_size(), 151_665);
}

#[test]
fn bert_json_and_vocab_give_the_golden_ids() {
    let Some(folder) = shared_tokenizers() else { return };
    let golden = golden(&folder, "golden_bert.json");
    let scratch = Scratch::new("bert-vocab");
    scratch.copy(&folder.join("bert-base-uncased/vocab.txt"));
    let vocab = BertTokenizer::open(&scratch.0).unwrap();
    let json = BertTokenizer::open(&folder.join("bert-base-uncased")).unwrap();
    for tokenizer in [&vocab, &json] {
        for item in golden["items"].as_array().unwrap() {
            let text = item["text"].as_str().unwrap();
            let got: Vec<i64> = tokenizer.encode(text, 512).unwrap().into_iter().map(i64::from).collect();
            assert_eq!(got, ids(&item["ids_slow"]), "{text:?}");
            assert_eq!(got, ids(&item["ids_fast"]), "{text:?}");
        }
        assert_eq!(tokenizer.vocab_size(), 30_522);
        let long = "lung ".repeat(2000);
        let cut = tokenizer.encode(&long, 4096).unwrap();
        assert_eq!((cut.len(), cut[0], cut[511]), (512, 101, 102));
        assert_eq!(tokenizer.encode("lung [SEP] a", 4).unwrap(), [101, 11_192, 102, 102]);
    }
}
