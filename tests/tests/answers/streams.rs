//! What a caller hears while an answer comes, and what it keeps after breaking off.
use super::*;
use med2e3::FinishReason;
use med2e3_loaders::LlmTokenizer;

/// The ids of the bytes of `text`.
fn bytes_of(tokenizer: &LlmTokenizer, text: &str) -> Vec<u32> {
    let id = |byte: u8| (0..388).find(|&id| tokenizer.token_text(id).as_deref() == Some(&format!("<0x{byte:02X}>")));
    text.bytes().map(|byte| id(byte).expect("a token for each byte")).collect()
}

/// What an event adds to the text.
fn text(event: &Event) -> &str {
    match event {
        Event::Token { text, .. } | Event::Text(text) => text,
        _ => "",
    }
}

/// At every token of an answer with characters of two and three bytes, the caller breaks off: nothing comes after that,
/// and the answer's text is what was delivered, without halves of characters.
#[test]
fn nothing_follows_a_break() {
    let engine = exact("b_score15", 1);
    let volume = encode(&engine, "b_score15");
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
        let answer = engine.submit(&volume, request.clone()).expect("it fits").finish_with(&mut |event| {
            assert!(!over, "called after breaking off at token {last}");
            heard.push_str(text(event));
            tokens += usize::from(matches!(event, Event::Token { .. }));
            over = tokens == last;
            if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let answer = answer.expect("it fits");
        assert_eq!((answer.finish_reason, answer.token_ids.as_slice()), (FinishReason::Cancelled, &ids[..last]));
        assert_eq!(answer.text, heard, "broken off at token {last}");
        assert!(!heard.contains(char::REPLACEMENT_CHARACTER), "broken off at token {last}: {heard:?}");
    }
    let mut heard = String::new();
    let whole = engine.submit(&volume, request).expect("it fits").finish_with(&mut |event| {
        heard.push_str(text(event));
        ControlFlow::Continue(())
    });
    let whole = whole.expect("it fits").text;
    assert_eq!(whole, heard);
    assert!(whole.contains('é') && whole.contains("€ü"), "{whole:?}");
}
