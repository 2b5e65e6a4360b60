//! A bad request is refused before anything runs, by `check` as by `ask`, and takes nothing from the others.
use super::*;
use med2e3::Error;
use med2e3::prompt::{Conversation, Prompt};
use med2e3_kernels::ops::Sampling;
use med2e3_loaders::LlmTokenizer;

/// Each with what its error begins with.
fn bad() -> Vec<(Request, &'static str)> {
    let sampled = |temperature, top_p| Request {
        sampling: Sampling { temperature, top_k: 0, top_p, seed: 1 },
        ..Request::new("Is there a nodule?")
    };
    let forced = |ids: Vec<u32>| Request { forced: Some(ids), ..Request::new("Is there a nodule?") };
    let temperature = "the sampling's temperature is ";
    let top_p = "the sampling's top_p is ";
    vec![
        (sampled(-1.0, 1.0), temperature),
        (sampled(f32::NAN, 1.0), temperature),
        (sampled(f32::INFINITY, 1.0), temperature),
        (sampled(f32::NEG_INFINITY, 1.0), temperature),
        (sampled(1.0, 0.0), top_p),
        (sampled(0.0, 0.0), top_p),
        (sampled(1.0, -0.5), top_p),
        (sampled(1.0, 1.5), top_p),
        (sampled(1.0, f32::NAN), top_p),
        (forced(vec![5, 388]), "the given answer holds id 388, "),
        (forced(vec![u32::MAX]), "the given answer holds id 4294967295, "),
        (forced(vec![5; 1000]), "the given answer has 1000 tokens, "),
        (Request::new("word ".repeat(400)), "the prompt has "),
        (Request::new("<image3d> and <image3d>"), "the prompt holds <image3d> 2 times"),
        (Request { conversation: Conversation { turns: Vec::new() }, ..short(3) }, "the conversation has no question"),
    ]
}

#[test]
fn bad_requests_cost_their_neighbours_nothing() {
    let engine = exact("b_score15", 3);
    let volume = encode(&engine, "b_score15");
    let good = [short(6), Request { logprobs: 2, ..short(9) }];
    let want = good.each_ref().map(|request| facts(&ask(&engine, &volume, request)));
    let bad = bad();
    for (request, text) in &bad {
        let checked = engine.check(request);
        let asked = engine.submit(&volume, request.clone());
        for result in [checked, asked.map(drop)] {
            assert!(matches!(&result, Err(Error::Request(said)) if said.starts_with(text)), "{text}: {result:?}");
        }
    }
    // One good request at either end, all bad ones between.
    let requests = [&good[0]].into_iter().chain(bad.iter().map(|(request, _)| request)).chain([&good[1]]);
    let questions: Vec<_> = requests.map(|request| (&volume, request)).collect();
    let last = questions.len() - 1;
    let results = together(&engine, &questions);
    assert_eq!(results.len(), questions.len());
    assert_eq!([0, last].map(|at| facts(results[at].as_ref().expect("a good request"))), want);
    assert!(results[1..last].iter().all(|result| matches!(result, Err(Error::Request(_)))));
    assert!(together(&engine, &[]).is_empty());
}

/// The variant that the question's mean embedding guides cannot do without a question.
#[test]
fn an_empty_guide_is_refused_where_it_guides() {
    let engine = exact("b_score6", 1);
    let volume = encode(&engine, "b_score6");
    for question in ["", "  \n"] {
        let request = Request { guide: Some(question.into()), ..short(3) };
        let text = "the question that guides TG-IS is empty";
        assert!(matches!(engine.check(&request), Err(Error::Request(said)) if said.starts_with(text)));
        let refused = engine.submit(&volume, request);
        assert!(matches!(refused, Err(Error::Request(said)) if said.starts_with(text)));
    }
    let by_bert = exact("b_score15", 1);
    let volume = encode(&by_bert, "b_score15");
    ask(&by_bert, &volume, &Request { guide: Some(String::new()), ..short(3) });
}

/// A prompt that leaves no room for a token is refused if a token is wanted, one that leaves room for one is answered
/// with one; also where the short rotary factors end before the model does.
#[test]
fn a_prompt_that_fills_the_limit_is_refused() {
    for (model, limit) in [("b_score15", 160), ("c_score9", 144)] {
        let engine = exact(model, 1);
        let volume = encode(&engine, model);
        let folder = Goldens::open().model_folder(model);
        let tokenizer = LlmTokenizer::open(folder.path()).expect("its tokenizer");
        let rows = |prompt: &str| {
            let conversation = Conversation::single(prompt);
            Prompt::build(&conversation, &tokenizer).expect("a prompt").rows(engine.image_tokens())
        };
        let prompts: Vec<String> = (0..limit).map(|count| format!("x{}", "?".repeat(count))).collect();
        let of = |wanted| prompts.iter().find(|prompt| rows(prompt) == wanted).expect("a token for each mark").as_str();
        let full = Request::new(of(limit));
        let one_left = Request::new(of(limit - 1));
        let text = format!("the prompt has {limit} tokens with the image's, all that the model takes");
        let refused = engine.submit(&volume, full.clone()).err();
        assert!(matches!(&refused, Some(Error::Request(said)) if said.starts_with(&text)), "{refused:?}");
        assert!(engine.check(&full).is_err());
        for none in [Request { max_new_tokens: Some(0), ..full.clone() }, Request { forced: Some(vec![]), ..full }] {
            assert_eq!(ask(&engine, &volume, &none).prompt_tokens, limit);
        }
        assert_eq!(ask(&engine, &volume, &one_left).token_ids.len(), 1, "{model}");
    }
}

/// Hounsfield units and whatever else no scan is after `prepare`.
#[test]
fn voxels_outside_0_to_1_are_refused() {
    let engine = exact("a_score15", 1);
    let mut voxels = Goldens::open().volume("a_score15");
    let below_1 = 1.0f32.next_down();
    for fine in [0.0, -0.0, 1.0, below_1, f32::MIN_POSITIVE] {
        voxels[77] = fine;
        engine.encode(voxels.as_slice()).expect("in range");
    }
    for bad in [1.0f32.next_up(), -f32::MIN_POSITIVE, 2999.0, -1000.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        voxels[77] = bad;
        let refused = engine.encode(voxels.as_slice()).map(drop);
        let text =
            format!("the volume holds {bad}, but the model takes intensities scaled to 0..1; prepare the scan first");
        assert!(matches!(&refused, Err(Error::Request(said)) if *said == text), "{refused:?}");
    }
}
