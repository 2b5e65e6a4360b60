//! What a caller hears while an answer comes, and what it keeps after breaking off.
use super::*;
use med2e3::FinishReason;
use med2e3_loaders::LlmTokenizer;

/// The ids of the bytes of `text`.
fn bytes_of(tokenizer: &LlmTokenizer, text: &str) -> Vec<u32> {
    let id = |byte: u8| (0..388).find(|&id| tokenizer.token_text(id).as_deref() == Some(&format!("<0x{byte:02X}>")));
    text.bytes().map(|byte| id(byte).expect("a token for each byte")).collect()
}

/// At every token of an answer with characters of two and three bytes, the caller breaks off: nothing comes after that,
/// and the answer's text is what was delivered, without halves of characters.
#[test]
fn nothing_follows_a_break() {
    let mut engine = exact("b_score15", 1);
    let volume = encode(&mut engine, "b_score15");
    let folder = Goldens::open().model_folder("b_score15");
    let tokenizer = LlmTokenizer::open(folder.path()).expect("its tokenizer");
    let mut ids = bytes_of(&tokenizer, "é");
    ids.extend([40, 41]);
    ids.extend(bytes_of(&tokenizer, "€ü"));
    ids.push(42);
    let request = Request { forced: Some(ids.clone()), ..Request::new("Is there a nodule?") };
    for last in 1..=ids.len() {
        let mut heard = String::new();
        let mut tokens = 0;
        let mut over = false;
        let answer = engine.ask(&volume, &request, &mut |token| {
            assert!(!over, "called after breaking off at token {last}");
            heard.push_str(token.text);
            tokens += usize::from(token.id.is_some());
            over = tokens == last;
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let answer = answer.expect("it fits");
        assert_eq!((answer.finish_reason, answer.token_ids.as_slice()), (FinishReason::Cancelled, &ids[..last]));
        assert_eq!(answer.text, heard, "broken off at token {last}");
        assert!(!heard.contains(char::REPLACEMENT_CHARACTER), "broken off at token {last}: {heard:?}");
    }
    let mut heard = String::new();
    let whole = engine.ask(&volume, &request, &mut |token| {
        heard.push_str(token.text);
        ControlFlow::Continue(())
    });
    let whole = whole.expect("it fits").text;
    assert_eq!(whole, heard);
    assert!(whole.contains('é') && whole.contains("€ü"), "{whole:?}");
}
