//! The beginning of a prompt that all questions about a volume share.
use super::*;
use med2e3_kernels::Profile;

const PROMPTS: [&str; 4] =
    ["Which plane is shown?", "Is there a nodule?", "Where?", "Describe what you see, in detail."];

/// With log-probabilities, so that the bits of every step are compared.
fn requests() -> Vec<Request> {
    let request = |prompt: &&str| Request { logprobs: 3, max_new_tokens: Some(6), ..Request::new(*prompt) };
    PROMPTS.iter().map(request).collect()
}

/// Whether a beginning is computed for a question or was kept for an earlier one shows in no bit of the answer.
#[test]
fn a_kept_beginning_changes_no_bit() {
    for model in ["a_score15", "a_spatial", "b_score15", "b_spatial", "c_score9"] {
        for precision in [Precision::Exact, Precision::FastTwin] {
            let fresh = || {
                let engine = load(model, Arc::new(Cpu { precision }), &LoadOptions::default());
                let volume = encode(&engine, model);
                (engine, volume)
            };
            let cold: Vec<String> = requests()
                .iter()
                .map(|request| {
                    let (engine, volume) = fresh();
                    facts(&ask(&engine, &volume, request))
                })
                .collect();
            let (engine, volume) = fresh();
            for round in 0..2 {
                for (request, cold) in requests().iter().zip(&cold) {
                    assert_eq!(facts(&ask(&engine, &volume, request)), *cold, "{model}, {precision:?}, round {round}");
                    let traced = Request { trace: true, ..request.clone() };
                    assert_eq!(facts(&ask(&engine, &volume, &traced)), *cold, "{model}, {precision:?}, traced");
                }
            }
        }
    }
}

/// A second question runs the beginning's rows through no layer; a question about another volume, or with other text
/// before the image, does.
#[test]
fn a_second_question_runs_no_row_of_the_beginning() {
    let profile = Arc::new(Profile::new(Arc::new(EXACT)));
    let options = LoadOptions { batch: 3, ..LoadOptions::default() };
    let engine = load("a_score15", profile.clone(), &options);
    let volume = encode(&engine, "a_score15");
    let mirrored: Vec<f32> = Goldens::open().volume("a_score15").into_iter().rev().collect();
    let other = engine.encode(mirrored).expect("the volume fits");
    [&volume, &other].into_iter().for_each(|volume| volume.wait().expect("it fits"));
    profile.take();
    let flops = |volume: &Volume, request: &Request| {
        ask(&engine, volume, request);
        let calls = profile.take();
        assert!(!calls.iter().any(|call| call.op.starts_with("patch_embed")), "an encoder ran");
        calls.iter().map(|call| call.work.flops).sum::<usize>()
    };
    let first = flops(&volume, &short(1));
    let second = flops(&volume, &short(1));
    assert!(second < first * 3 / 4, "{second} of {first} operations");
    assert_eq!(flops(&other, &short(1)), first);
    assert_eq!(flops(&volume, &short(1)), second);
    let mut told = short(1);
    told.conversation.turns[0].question = "Look. <image3d> Which plane is shown?".into();
    assert!(flops(&volume, &told) > second * 5 / 4);
}

/// Prompts that come together go through the model as one set of rows: every answer is the one it gets alone, the
/// layers run once for all of them, and no row runs twice.
#[test]
fn prompts_that_come_together_share_a_pass() {
    let texts = ["Which plane is shown? ", "Is there a nodule? ", "Where is it? ", "Describe what you see. "];
    let long = |text: &&str| Request { logprobs: 3, max_new_tokens: Some(1), ..Request::new(text.repeat(3)) };
    let requests: Vec<Request> = texts.iter().map(long).collect();
    for (model, precision) in [("a_score15", Precision::Exact), ("b_spatial", Precision::FastTwin)] {
        let profile = Arc::new(Profile::new(Arc::new(Cpu { precision })));
        let all_rows = LoadOptions { batch: 16, unit_steps: 1 << 20, prompt_rows: Some(1 << 20), ..Default::default() };
        let engine = load(model, profile.clone(), &all_rows);
        let ask_all = |volume: &Volume, requests: &[Request]| {
            volume.wait().expect("it fits");
            profile.take();
            let questions: Vec<_> = requests.iter().map(|request| (volume, request)).collect();
            let answers = together(&engine, &questions).into_iter().map(|answer| facts(&answer.expect("it fits")));
            let answers: Vec<String> = answers.collect();
            let calls = profile.take();
            let norms = calls.iter().filter(|call| call.op == "rms_norm").count();
            (answers, norms, calls.iter().map(|call| call.work.flops).sum::<usize>())
        };
        let volume = encode(&engine, model);
        let (cold, one_pass, cold_flops) = ask_all(&volume, &requests[..1]);
        let alone: Vec<_> = requests.iter().map(|request| ask_all(&volume, std::slice::from_ref(request))).collect();
        let answers: Vec<&String> = alone.iter().flat_map(|(answers, ..)| answers).collect();
        assert_eq!(cold[0], *answers[0], "{model}");
        let (joined, norms, flops) = ask_all(&volume, &requests);
        assert_eq!(joined.iter().collect::<Vec<_>>(), answers, "{model}");
        assert_eq!(norms, one_pass, "{model}: one pass for all");
        assert_eq!(flops, alone.iter().map(|(_, _, flops)| flops).sum::<usize>(), "{model}: each row once");
        // Of a new volume the first question's pass computes what the others then share.
        let mirrored: Vec<f32> = Goldens::open().volume(model).into_iter().rev().collect();
        let other = engine.encode(mirrored).expect("the volume fits");
        let (_, norms, flops) = ask_all(&other, &requests);
        assert_eq!(norms, 2 * one_pass, "{model}: one pass, and one for all others");
        let follow_ups = alone[1..].iter().map(|(_, _, flops)| flops).sum::<usize>();
        assert_eq!(flops, cold_flops + follow_ups, "{model}: the shared rows once");
    }
}

/// Without slices the rows behind the shared ones are those of the text: as few as a step takes, one more, and the
/// fewest that the template allows. Cold, behind a kept beginning and joined they give the same bits.
#[test]
fn short_tails_are_the_same_cold_kept_and_joined() {
    for (model, precision) in [("a_spatial", Precision::Exact), ("b_spatial", Precision::FastTwin)] {
        let load_for = |batch| {
            let joined = LoadOptions { batch, unit_steps: 1 << 20, prompt_rows: Some(1 << 20), ..Default::default() };
            load(model, Arc::new(Cpu { precision }), &joined)
        };
        let cold = load_for(1);
        let kept = load_for(1);
        let volumes = [encode(&cold, model), encode(&kept, model)];
        ask(&kept, &volumes[1], &short(1));
        let tail = |text: &str| {
            let request = Request { logprobs: 3, max_new_tokens: Some(3), ..Request::new(text) };
            let answer = ask(&kept, &volumes[1], &request);
            (answer.prompt_tokens - answer.cached_tokens, request)
        };
        let words = "Where is it, left or right, above or below, now or before?";
        let mut requests: Vec<(usize, Request)> = (1..=words.len()).map(|letters| tail(&words[..letters])).collect();
        let fewest = requests.iter().map(|(rows, _)| *rows).min().expect("some");
        requests.retain(|(rows, _)| [fewest, 16, 17].contains(rows));
        requests.dedup_by_key(|(rows, _)| *rows);
        assert_eq!(requests.len(), 3, "{model}: tails of {fewest}, 16 and 17 rows");
        let joined = load_for(12);
        let volume = encode(&joined, model);
        let twice: Vec<&Request> = requests.iter().chain(&requests).map(|(_, request)| request).collect();
        let questions: Vec<_> = twice.iter().map(|request| (&volume, *request)).collect();
        let together = together(&joined, &questions);
        for (at, (got, request)) in together.iter().zip(twice).enumerate() {
            // A trace shows every row, so that the shared ones are computed again.
            let traced = Request { trace: true, ..request.clone() };
            let want = facts(&ask(&cold, &volumes[0], &traced));
            assert_eq!(facts(&ask(&kept, &volumes[1], request)), want, "{model}, kept, {at}");
            assert_eq!(facts(got.as_ref().expect("it fits")), want, "{model}, joined, {at}");
        }
    }
}
