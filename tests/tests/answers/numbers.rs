//! Log-probabilities of the tokens of an answer and of its end.
use super::*;
use med2e3::FinishReason;
use med2e3_kernels::ops::Sampling;

/// What each token has among all that are ranked.
fn assert_ranked(answer: &Answer) {
    assert_eq!(answer.logprobs.len(), answer.token_ids.len());
    for ((id, logprob), ranked) in answer.token_ids.iter().zip(&answer.logprobs).zip(&answer.top_logprobs) {
        let want = ranked.iter().find(|(other, _)| other == id).expect("all are ranked");
        assert_eq!(logprob.to_bits(), want.1.to_bits());
    }
}

/// The model ends the answer: its tokens' and its end's log-probabilities are what the same tokens get when given, with
/// the end's id as one more.
#[test]
fn the_end_of_an_answer_has_a_log_probability() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.name == "a_score15_eos").expect("listed");
    let engine = exact(&case.model, 1);
    let volume = encode(&engine, &case.model);
    let mut request = Request::new(&case.messages[0]);
    request.logprobs = usize::MAX;
    let free = ask(&engine, &volume, &request);
    assert_eq!((free.finish_reason, free.token_ids.len()), (FinishReason::Stop, 9));
    assert_ranked(&free);
    let end = free.end_logprob.expect("it ended by itself");
    let ids = free.token_ids.iter().copied().chain([382]).collect();
    let given = ask(&engine, &volume, &Request { forced: Some(ids), ..request.clone() });
    assert_ranked(&given);
    assert_eq!((given.finish_reason, given.end_logprob), (FinishReason::Length, None));
    let want: Vec<u32> = free.logprobs.iter().chain([&end]).map(|value| value.to_bits()).collect();
    assert_eq!(given.logprobs.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), want);
    let cut = ask(&engine, &volume, &Request { max_new_tokens: Some(9), logprobs: 1, ..request.clone() });
    assert_eq!((cut.finish_reason, cut.end_logprob), (FinishReason::Length, None));
    assert_eq!(cut.logprobs, free.logprobs);
    let none = ask(&engine, &volume, &Request { logprobs: 0, ..request });
    assert_eq!((none.logprobs.len(), none.top_logprobs.len(), none.end_logprob), (0, 0, None));
}

/// A drawn token has its own log-probability though it is not among the most likely ones, and the temperature that it
/// was drawn with is not in it.
#[test]
fn drawn_tokens_have_their_own() {
    let engine = exact("b_score15", 1);
    let volume = encode(&engine, "b_score15");
    let sampling = Sampling { temperature: 3.0, top_k: 0, top_p: 1.0, seed: 11 };
    let request = Request { sampling, logprobs: 2, ..short(20) };
    let drawn = ask(&engine, &volume, &request);
    let outside = |(id, ranked): (&u32, &Vec<(u32, f32)>)| ranked.iter().all(|(other, _)| other != id);
    assert!(drawn.token_ids.iter().zip(&drawn.top_logprobs).any(outside), "an unlikely token is drawn");
    let forced = Some(drawn.token_ids.clone());
    let given = ask(&engine, &volume, &Request { forced, logprobs: usize::MAX, ..short(20) });
    assert_ranked(&given);
    assert_eq!(given.logprobs, drawn.logprobs, "of the same tokens, without a temperature");
}
