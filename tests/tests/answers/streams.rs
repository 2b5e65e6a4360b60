//! What a caller hears while an answer comes, and what it keeps after breaking off.
use super::*;
use futures_core::Stream;
use med2e3::FinishReason;
use med2e3_loaders::LlmTokenizer;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};

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

/// A waker that says so over a channel, which is all that an executor needs.
struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // The test may have seen all that it wanted.
        let _ = self.0.send(());
    }
}

/// Polled only when its waker was woken, a stream gives what a caller who blocks gets, to its end.
#[test]
fn a_stream_needs_only_its_waker() {
    let engine = exact("b_score15", 1);
    let volume = encode(&engine, "b_score15");
    let request = Request { max_new_tokens: Some(6), ..Request::new("Is there a nodule?") };
    let wanted = engine.ask(&volume, request.clone()).expect("it fits");
    let (bell, rings) = channel();
    let waker = Waker::from(Arc::new(Bell(bell)));
    let mut answering = engine.submit(&volume, request).expect("it fits");
    let mut ids = Vec::new();
    let mut said = String::new();
    loop {
        match Pin::new(&mut answering).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => rings.recv_timeout(std::time::Duration::from_secs(60)).expect("the waker is woken"),
            Poll::Ready(None) => break,
            Poll::Ready(Some(event)) => {
                let event = event.expect("it fits");
                said.push_str(text(&event));
                if let Event::Token { id, .. } = event {
                    ids.push(id);
                }
            }
        }
    }
    assert_eq!((ids, said), (wanted.token_ids, wanted.text));
    let after = Pin::new(&mut answering).poll_next(&mut Context::from_waker(&waker));
    assert!(matches!(after, Poll::Ready(None)));
}
