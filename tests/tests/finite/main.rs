//! A number that is not finite, planted in each part of a model: it ends as an error that names the part, at the token
//! that first depends on it, on every device, and never as an answer.
use engine_tests::golden::Goldens;
use engine_tests::plant::{Field, Plant};
use med2e3::{Answer, Engine, Error, Event, LoadOptions, Request, Stage, TgisMode, Volume};
use med2e3_kernels::ops::Sampling;
use med2e3_kernels::{Cpu, Device, Emulation, Gpu, Precision};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

mod volumes;

const MODEL: &str = "b_score15";
const VALUES: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn exact() -> Arc<dyn Device> {
    Arc::new(Cpu { precision: Precision::Exact })
}

fn fast() -> Arc<dyn Device> {
    Arc::new(Cpu { precision: Precision::Fast })
}

/// The emulator, or the GPU that `MED2E3_TEST_DEVICE` names.
fn gpu() -> Arc<dyn Device> {
    let emulated = || Gpu::emulated(Emulation { seed: 0, checked: false });
    Arc::new(Gpu::for_tests().expect("the device that the tests were given").unwrap_or_else(emulated))
}

fn load(model: &Path, device: Arc<dyn Device>, options: &LoadOptions) -> Engine {
    let folder = med2e3_loaders::ModelFolder::open(model).expect("a model");
    Engine::load(device, &folder, options, &mut |_| ControlFlow::Continue(())).expect("it loads")
}

fn ask(engine: &Engine, volume: &Volume, request: &Request) -> Result<Answer, Error> {
    engine.ask(volume, request.clone())
}

fn encode(engine: &Engine) -> Volume {
    engine.encode(Goldens::open().volume(MODEL)).expect("the volume fits")
}

/// Asks a model about its volume.
fn run(model: &Path, device: Arc<dyn Device>, tgis: TgisMode, request: &Request) -> Result<Answer, Error> {
    let engine = load(model, device, &LoadOptions { tgis, ..LoadOptions::default() });
    let volume = encode(&engine);
    ask(&engine, &volume, request)
}

fn question() -> Request {
    Request { max_new_tokens: Some(3), ..Request::new("Describe these findings.") }
}

fn stage(result: &Result<Answer, Error>) -> Option<Stage> {
    match result {
        Err(Error::NonFinite { stage }) => Some(*stage),
        _ => None,
    }
}

fn plant(tensor: &'static str, element: usize, value: f32) -> [Plant; 1] {
    [Plant { tensor, elements: element..element + 1, value }]
}

/// A tensor, one of its elements, and the stage that must be named.
type Case = (&'static str, usize, Stage);

const FIRST: Stage = Stage::Logits { token: 1 };

/// Each part: weights and biases, before and behind activations, in norms, queries, keys and values.
const CASES: [Case; 27] = [
    ("vision3d_model/vision_encoder.cls_token", 0, Stage::Vision3d),
    ("vision3d_model/vision_encoder.patch_embedding.patch_embeddings.1.weight", 7, Stage::Vision3d),
    ("vision3d_model/vision_encoder.blocks.0.norm1.weight", 0, Stage::Vision3d),
    ("vision3d_model/vision_encoder.blocks.0.attn.qkv.weight", 1, Stage::Vision3d),
    ("vision3d_model/vision_encoder.blocks.0.mlp.linear1.bias", 2, Stage::Vision3d),
    ("vision3d_connector/_connector.0.bias", 5, Stage::Connector3d),
    ("vision3d_connector/_connector.0.weight", 44, Stage::Connector3d),
    ("vision3d_connector/_connector.2.weight", 0, Stage::Connector3d),
    ("vision2d_model/vision_model.embeddings.patch_embedding.weight", 3, Stage::Vision2d),
    ("vision2d_model/vision_model.embeddings.position_embedding.weight", 50, Stage::Vision2d),
    ("vision2d_model/vision_model.encoder.layers.0.self_attn.k_proj.bias", 0, Stage::Vision2d),
    ("vision2d_model/vision_model.encoder.layers.0.mlp.fc1.bias", 9, Stage::Vision2d),
    ("vision2d_connector/_connector.0.bias", 0, Stage::Connector2d),
    ("vision2d_connector/_connector.2.bias", 191, Stage::Connector2d),
    ("vision3d_model/language_encoder.embeddings.LayerNorm.bias", 0, Stage::TextEncoder),
    ("vision3d_model/language_encoder.encoder.layer.0.intermediate.dense.bias", 1, Stage::TextEncoder),
    ("vision3d_model/language_encoder.pooler.dense.bias", 3, Stage::TextEncoder),
    ("vision3d_model/language_encoder.pooler.dense.weight", 8, Stage::TextEncoder),
    ("vision3d_connector/text_mlp.weight", 11, Stage::TextMlp),
    ("vision3d_connector/text_mlp.bias", 191, Stage::TextMlp),
    ("llm/model.norm.weight", 0, FIRST),
    ("llm/lm_head.weight", 387 * 192 + 191, FIRST),
    ("llm/model.layers.0.self_attn.qkv_proj.weight", 3, FIRST),
    ("llm/model.layers.1.self_attn.qkv_proj.weight", 200 * 192, FIRST),
    ("llm/model.layers.1.self_attn.o_proj.weight", 5, FIRST),
    ("llm/model.layers.0.mlp.gate_up_proj.weight", 2, FIRST),
    ("llm/model.layers.1.mlp.down_proj.weight", 100, FIRST),
];

#[test]
fn every_part_is_named_on_the_cpu() {
    let field = Field::new(&Goldens::open(), MODEL);
    assert!(run(&field.path(), exact(), TgisMode::Checkpoint, &question()).is_ok(), "sound as it is");
    for (index, (tensor, element, want)) in CASES.into_iter().enumerate() {
        for (turn, value) in VALUES.into_iter().enumerate() {
            let check = |device| {
                let plants = plant(tensor, element, value);
                let result = field.with(&plants, |model| run(model, device, TgisMode::Checkpoint, &question()));
                assert_eq!(stage(&result), Some(want), "{value} in {tensor}: {:?}", result.map(|answer| answer.text));
            };
            check(exact());
            // The precisions differ in products and attention alone, so one value in three will do.
            if index % 3 == turn {
                check(fast());
            }
        }
    }
}

/// Where slices are not scored there is nothing to read but the language model's logits: the tokens that are not finite
/// must come that far, also through the maximum over slices.
#[test]
fn parts_are_named_without_scores() {
    let field = Field::new(&Goldens::open(), MODEL);
    let cases = [CASES[3], CASES[5], CASES[10], CASES[13]];
    for ((tensor, element, want), value) in cases.into_iter().zip(VALUES.into_iter().cycle()) {
        for tgis in [TgisMode::Uniform, TgisMode::Max, TgisMode::Random(3)] {
            let plants = plant(tensor, element, value);
            let result = field.with(&plants, |model| run(model, exact(), tgis, &question()));
            assert_eq!(stage(&result), Some(want), "{value} in {tensor}, {tgis:?}");
        }
    }
    // Nothing but what the 3D branch alone depends on, and no such mode for it.
    let spatial = Field::new(&Goldens::open(), "b_spatial");
    for (tensor, element, want) in [CASES[2], CASES[6], CASES[20]] {
        let plants = plant(tensor, element, f32::NAN);
        let result = spatial.with(&plants, |model| run(model, exact(), TgisMode::Checkpoint, &question()));
        assert_eq!(stage(&result), Some(want), "{tensor}, 3D only");
    }
}

/// The paper's scores are guided by embeddings of the question, which are the prompt's, too.
#[test]
fn embeddings_of_the_question_are_named() {
    let field = Field::new(&Goldens::open(), "b_score6");
    let whole = [Plant { tensor: "llm/model.embed_tokens.weight", elements: 0..388 * 192, value: f32::NAN }];
    let result = field.with(&whole, |model| run(model, exact(), TgisMode::Checkpoint, &question()));
    assert_eq!(stage(&result), Some(Stage::QuestionEmbeddings));
    let result = field.with(&whole, |model| run(model, exact(), TgisMode::Uniform, &question()));
    assert_eq!(stage(&result), Some(FIRST));
}

/// Whatever the request wants to know of the logits.
#[test]
fn every_kind_of_request_fails() {
    let field = Field::new(&Goldens::open(), MODEL);
    let drawn = Sampling { temperature: 0.8, top_k: 3, top_p: 0.9, seed: 1 };
    let requests = [
        Request { logprobs: 4, ..question() },
        Request { sampling: drawn, ..question() },
        Request { sampling: drawn, logprobs: 1, ..question() },
        Request { forced: Some(vec![5, 9]), ..question() },
        Request { forced: Some(vec![5, 9]), logprobs: 2, ..question() },
        Request { trace: true, ..question() },
    ];
    for (request, value) in requests.iter().zip(VALUES.into_iter().cycle()) {
        let plants = plant("llm/lm_head.weight", 192 * 300, value);
        let result = field.with(&plants, |model| run(model, exact(), TgisMode::Checkpoint, request));
        assert_eq!(stage(&result), Some(FIRST), "{value}: {request:?}");
    }
    // No token is asked for, so no result depends on the language model.
    let none = Request { max_new_tokens: Some(0), ..question() };
    let plants = plant("llm/lm_head.weight", 0, f32::NAN);
    let result = field.with(&plants, |model| run(model, exact(), TgisMode::Checkpoint, &none));
    assert!(result.expect("nothing is wrong with it").token_ids.is_empty());
}

/// The embedding of one token: read first when the answer comes to it, and bad at the token after it.
fn embedding(id: u32, value: f32) -> [Plant; 1] {
    plant("llm/model.embed_tokens.weight", id as usize * 192 + 7, value)
}

/// The answer is as given up to token 19, streamed, and ends with an error at token 20.
fn fails_at_token_20(field: &Field, device: fn() -> Arc<dyn Device>, logprobs: usize, value: f32) {
    let nothing = Request { max_new_tokens: Some(0), ..question() };
    let prompt = run(&field.path(), exact(), TgisMode::Uniform, &nothing).expect("sound").prompt_ids;
    let poisoned = (300..388u32).find(|id| !prompt.contains(&i64::from(*id))).expect("most tokens");
    let mut forced: Vec<u32> = (0..24).map(|i| 40 + i % 5).collect();
    forced[18] = poisoned;
    let request = Request { forced: Some(forced.clone()), logprobs, max_new_tokens: Some(24), ..question() };
    field.with(&embedding(poisoned, value), |model| {
        let engine = load(model, device(), &LoadOptions::default());
        let volume = encode(&engine);
        let mut streamed = Vec::new();
        let result = engine.submit(&volume, request.clone()).expect("it fits").finish_with(&mut |event| {
            if let Event::Token { id, .. } = event {
                streamed.push(*id);
            }
            ControlFlow::Continue(())
        });
        assert_eq!(stage(&result), Some(Stage::Logits { token: 20 }), "{value}");
        assert_eq!(streamed, forced[..19], "{value}");
    });
}

#[test]
fn token_20_is_named_on_the_cpu() {
    let field = Field::new(&Goldens::open(), MODEL);
    for (value, logprobs) in VALUES.into_iter().zip([0, 3, 0]) {
        fails_at_token_20(&field, exact, logprobs, value);
        fails_at_token_20(&field, fast, 3 - logprobs, value);
    }
}

/// A greedy answer that comes to the token without being told: steps that store no logits, recorded on a GPU. A damaged
/// embedding that is never read does not fail.
fn greedy_steps_fail(field: &Field, device: fn() -> Arc<dyn Device>) {
    let request = Request { max_new_tokens: Some(12), ..question() };
    let sound = run(&field.path(), device(), TgisMode::Checkpoint, &request).expect("sound");
    let ids = &sound.token_ids;
    let is_new = |&at: &usize| !ids[..at].contains(&ids[at]) && !sound.prompt_ids.contains(&ids[at].into());
    let at = (4..ids.len() - 1).find(is_new).expect("a token that comes late for the first time");
    let result =
        field.with(&embedding(ids[at], f32::NAN), |model| run(model, device(), TgisMode::Checkpoint, &request));
    assert_eq!(stage(&result), Some(Stage::Logits { token: at + 2 }), "{ids:?}");
    let unread = (0..388).find(|id| !ids.contains(id) && !sound.prompt_ids.contains(&i64::from(*id)));
    let unread = embedding(unread.expect("most tokens"), f32::NAN);
    let result = field.with(&unread, |model| run(model, device(), TgisMode::Checkpoint, &request));
    assert_eq!(result.expect("no result depends on it").token_ids, *ids);
}

#[test]
fn greedy_steps_fail_on_the_cpu() {
    greedy_steps_fail(&Field::new(&Goldens::open(), MODEL), exact);
}

/// Weights of layers behind the one that is tapped, of a norm that is not applied, of words that the question does not
/// contain, and of the guide where slices are not weighed by it.
#[test]
fn weights_that_no_result_depends_on_are_no_error() {
    let field = Field::new(&Goldens::open(), MODEL);
    let sound = |tgis| run(&field.path(), exact(), tgis, &question()).expect("sound").token_ids;
    for (tensor, tgis) in [
        ("vision2d_model/vision_model.post_layernorm.weight", TgisMode::Checkpoint),
        ("vision3d_model/vision_encoder.norm.weight", TgisMode::Checkpoint),
        ("vision3d_connector/text_mlp.weight", TgisMode::Uniform),
        ("vision3d_model/language_encoder.pooler.dense.weight", TgisMode::Max),
    ] {
        let result = field.with(&plant(tensor, 1, f32::NAN), |model| run(model, exact(), tgis, &question()));
        assert_eq!(result.expect("no result depends on it").token_ids, sound(tgis), "{tensor}");
    }
}

/// A few cases of each kind: in an encoder, behind an activation whose limit is finite, through the maximum over
/// slices, in logits that are stored and in those that are not, at token 20.
#[test]
fn parts_are_named_on_the_gpu() {
    let field = Field::new(&Goldens::open(), MODEL);
    for ((tensor, element, want), tgis, value) in [
        (CASES[3], TgisMode::Checkpoint, f32::NAN),
        (CASES[16], TgisMode::Checkpoint, f32::NEG_INFINITY),
        (CASES[12], TgisMode::Max, f32::NEG_INFINITY),
    ] {
        let result = field.with(&plant(tensor, element, value), |model| run(model, gpu(), tgis, &question()));
        assert_eq!(stage(&result), Some(want), "{value} in {tensor}, {tgis:?}");
    }
    fails_at_token_20(&field, gpu, 0, f32::NAN);
    greedy_steps_fail(&field, gpu);
}
