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
