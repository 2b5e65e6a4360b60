//! Weights that are finite, and a volume with which they overflow: only questions about that volume fail.
use super::{Field, MODEL, Plant, ask, embedding, encode, exact, gpu, load, question, stage};
use engine_tests::golden::Goldens;
use engine_tests::together;
use med2e3::{Engine, LoadOptions, Request, Stage};
use med2e3_kernels::Device;
use std::sync::Arc;

/// One row of the 3D patch embedding, so large that a box with more than two bright voxels overflows.
fn overflowing() -> [Plant; 1] {
    let tensor = "vision3d_model/vision_encoder.patch_embedding.patch_embeddings.1.weight";
    [Plant { tensor, elements: 0..64, value: 3e38 }]
}

/// An answer about an empty volume, before and after a question about one that fails.
fn others_are_undisturbed(device: Arc<dyn Device>) {
    let field = Field::new(&Goldens::open(), MODEL);
    field.with(&overflowing(), |model| {
        let engine: Engine = load(model, device, &LoadOptions::default());
        let bright = vec![1.0; Goldens::open().volume(MODEL).len()];
        let empty = engine.encode(vec![0.0; bright.len()]).expect("it fits");
        let bright = engine.encode(bright.as_slice()).expect("it fits");
        let before = ask(&engine, &empty, &question()).expect("nothing overflows");
        let result = ask(&engine, &bright, &question());
        assert_eq!(stage(&result), Some(Stage::Vision3d));
        let after = ask(&engine, &empty, &question()).expect("nothing is left of the other");
        assert_eq!((after.token_ids, after.slice_scores), (before.token_ids, before.slice_scores));
    });
}

/// Several at a time: the others get the answers that they get alone, whatever their rows in a step.
fn others_are_undisturbed_at_the_same_time(device: fn() -> Arc<dyn Device>) {
    let field = Field::new(&Goldens::open(), MODEL);
    field.with(&overflowing(), |model| {
        let engine: Engine = load(model, device(), &LoadOptions { batch: 3, ..LoadOptions::default() });
        let bright = vec![1.0; Goldens::open().volume(MODEL).len()];
        let empty = engine.encode(vec![0.0; bright.len()]).expect("it fits");
        let bright = engine.encode(bright.as_slice()).expect("it fits");
        let alone = ask(&engine, &empty, &question()).expect("nothing overflows");
        let request = question();
        let volumes = [&empty, &bright, &empty, &bright, &empty];
        let results = together(&engine, &volumes.map(|volume| (volume, &request)));
        for (at, result) in results.into_iter().enumerate() {
            if at % 2 == 1 {
                assert_eq!(stage(&result), Some(Stage::Vision3d), "question {at}");
            } else {
                assert_eq!(result.expect("nothing overflows").token_ids, alone.token_ids, "question {at}");
            }
        }
    });
}

/// A batch of forced answers of which one comes to a damaged embedding: that one fails, at its token.
#[test]
fn one_row_of_a_step_fails_alone() {
    let field = Field::new(&Goldens::open(), MODEL);
    for logprobs in [0, 2] {
        field.with(&embedding(387, f32::NAN), |model| {
            let engine: Engine = load(model, exact(), &LoadOptions { batch: 3, ..LoadOptions::default() });
            let volume = encode(&engine);
            let forced = |ids: &[u32]| Request { forced: Some(ids.to_vec()), logprobs, ..question() };
            let requests = [forced(&[5, 6, 7]), forced(&[5, 387, 7]), forced(&[8, 9, 10])];
            let results = together(&engine, &requests.each_ref().map(|request| (&volume, request)));
            assert_eq!(stage(&results[1]), Some(Stage::Logits { token: 3 }));
            for (at, ids) in [(0, [5, 6, 7]), (2, [8, 9, 10])] {
                assert_eq!(results[at].as_ref().expect("undisturbed").token_ids, ids);
            }
        });
    }
}

#[test]
fn others_are_undisturbed_on_the_cpu() {
    others_are_undisturbed(exact());
    others_are_undisturbed_at_the_same_time(exact);
}

#[test]
fn others_are_undisturbed_on_the_gpu() {
    others_are_undisturbed(gpu());
    others_are_undisturbed_at_the_same_time(gpu);
}
