//! What the engine really calls, as two devices that watch it have it.
use engine_tests::golden::{self, Goldens};
use med2e3::{Cpu, Precision, Request, Sampling};
use med2e3_kernels::{Profile, Shadow};
use std::sync::Arc;

/// `Profile` and `Shadow` see the same ops in the same order, of greedy and of drawn answers; every one has its work.
#[test]
fn profile_sees_what_shadow_compares() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "a_score15").expect("listed");
    let profile = Arc::new(Profile::new(Arc::new(Cpu { precision: Precision::Exact })));
    let shadow = Arc::new(Shadow::new(profile.clone()));
    let engine = golden::load(shadow.clone(), goldens.model_folder(&case.model).path(), &case);
    let volume = engine.encode(goldens.volume(&case.model)).expect("a golden volume");
    let drawn = Sampling { temperature: 0.8, top_k: 20, top_p: 0.9, seed: 3 };
    for sampling in [Sampling::GREEDY, drawn] {
        let request = Request { sampling, max_new_tokens: Some(4), ..Request::new("Which plane is shown?") };
        engine.ask(&volume, request.clone()).expect("an answer");
    }
    let calls = profile.take();
    let seen: Vec<&str> = calls.iter().map(|call| call.op).collect();
    assert_eq!(seen, shadow.called());
    for op in ["patch_embed_3d", "patch_embed_2d", "tgis_scores", "rms_qkv_rope_append", "rms_linear_argmax", "sample"]
    {
        assert!(seen.contains(&op), "{op} is not among {seen:?}");
    }
    assert!(calls.iter().all(|call| call.work.bytes > 0), "{calls:?}");
}
