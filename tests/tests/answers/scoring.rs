//! Options that are scored over the pages of one prompt.
use super::*;
use med2e3::{Error, OPTIONS_MAX};
use med2e3_kernels::Profile;

/// Options whose tokens, the end included, are as many as `counts` says.
fn options(engine: &Engine, request: &Request, counts: &[usize]) -> Vec<String> {
    let words = ["lung ", "liver ", "a mass ", "no ", "left ", "is "];
    let option = |at: usize, count: usize| {
        let mut text = String::new();
        for word in (at..).map(|at| words[at % words.len()]) {
            for letter in word.chars() {
                if engine.answer_ids(&request.conversation, &text).is_ok_and(|ids| ids.len() >= count) {
                    return text;
                }
                text.push(letter);
            }
        }
        unreachable!("words never end")
    };
    counts.iter().enumerate().map(|(at, &count)| option(at, count)).collect()
}

/// What the engine says of the same tokens when they are given as the answer.
fn given(engine: &Engine, volume: &Volume, request: &Request, option: &str) -> (Vec<u32>, Vec<f32>) {
    let ids = engine.answer_ids(&request.conversation, option).expect("not empty");
    let forced = Request { forced: Some(ids.clone()), logprobs: 1, ..request.clone() };
    (ids, ask(engine, volume, &forced).logprobs)
}

/// Token by token and to the bit, whatever the number of options, their lengths, and the rows of a step.
#[test]
fn scores_are_the_log_probabilities_of_given_answers() {
    for (model, precision, batch) in [
        ("b_score15", Precision::Exact, 1),
        ("b_score15", Precision::FastTwin, 4),
        ("b_spatial", Precision::Exact, 17),
        ("c_score9", Precision::FastTwin, 1),
    ] {
        let options_at_load = LoadOptions { batch, ..LoadOptions::default() };
        let engine = load(model, Arc::new(Cpu { precision }), &options_at_load);
        let volume = encode(&engine, model);
        let request = Request::new("Where?");
        let counts: &[usize] = if model == "c_score9" { &[2, 9, 3] } else { &[2, 16, 17, 40, 3, 3] };
        let options = options(&engine, &request, counts);
        let scoring = engine.score(&volume, request.clone(), &options).expect("they fit");
        assert_eq!(scoring.options.len(), options.len());
        for (score, option) in scoring.options.iter().zip(&options) {
            let (ids, want) = given(&engine, &volume, &request, option);
            assert_eq!(score.token_ids, ids);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&score.logprobs), bits(&want), "{model}, {precision:?}, {batch} at a time, {option:?}");
            let sum: f64 = want.iter().map(|&value| f64::from(value)).sum();
            assert_eq!((score.sum, score.mean), (sum, sum / want.len() as f64));
        }
        let best = scoring.options.iter().map(|score| score.mean).fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(scoring.options[scoring.best].mean, best);
        assert_idle(&engine);
    }
}

/// More options than a step has rows, all but one equal to another: every one gets its own score, and the first of the
/// best is chosen.
#[test]
fn many_equal_options_have_equal_scores() {
    let engine = exact("a_score15", 1);
    let volume = encode(&engine, "a_score15");
    let options: Vec<String> = (0..40).map(|at| if at == 7 { "B. Lung" } else { "B. Lun" }.to_owned()).collect();
    let scoring = engine.score(&volume, short(0), &options).expect("they fit");
    let common = &scoring.options[0];
    for (at, score) in scoring.options.iter().enumerate() {
        assert_eq!(score == common, at != 7, "option {at}");
    }
    assert_eq!(scoring.best, if scoring.options[7].mean > common.mean { 7 } else { 0 });
}

/// Eleven options read one prompt: after a question about the same volume, only the question's own rows.
#[test]
fn options_share_one_prompt() {
    let profile = Arc::new(Profile::new(Arc::new(EXACT)));
    let engine = load("b_score15", profile.clone(), &LoadOptions { batch: 16, ..LoadOptions::default() });
    let volume = encode(&engine, "b_score15");
    let request = Request::new("Which organ is abnormal?");
    let passes = |calls: Vec<med2e3_kernels::profile::Call>| {
        let many = calls.iter().filter(|call| call.op == "qkv_rope_append").count();
        (many, calls.iter().filter(|call| call.op == "rms_qkv_rope_append").count())
    };
    ask(&engine, &volume, &short(1));
    let options = options(&engine, &request, &[2, 3, 4, 5, 2, 3, 4, 5, 2, 3, 4]);
    profile.take();
    engine.score(&volume, request.clone(), &options).expect("they fit");
    // The last token of the longest option is scored but goes through no step; each step takes all that go on.
    let longest = options.iter().map(|option| engine.answer_ids(&request.conversation, option).expect("a text").len());
    let layers = 2;
    let steps = longest.max().expect("eleven") - 1;
    assert!(steps >= 4);
    assert_eq!(passes(profile.take()), (layers, steps * layers));
}

#[test]
fn impossible_options_are_refused() {
    let engine = exact("a_score15", 1);
    let volume = encode(&engine, "a_score15");
    let refused = |options: &[String]| match engine.score(&volume, short(0), options) {
        Err(Error::Request(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&[]), "0 options, 1 to 1024 can be scored");
    assert_eq!(refused(&vec!["a".into(); OPTIONS_MAX + 1]), "1025 options, 1 to 1024 can be scored");
    assert_eq!(refused(&["Lung".into(), "  ".into()]), "an option is empty; give each a text");
    assert!(refused(&["word ".repeat(300)]).starts_with("the prompt and the longest option take "));
    let other = exact("a_score15", 1);
    assert!(matches!(other.score(&volume, short(0), &["a"]), Err(Error::Foreign)));
}
