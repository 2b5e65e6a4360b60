//! What the commands write.

use crate::{contents, fail, json, small_volume, succeed, text, tiny_model};

#[test]
fn preprocess_writes_what_the_model_takes() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let out = folder.path().join("prepared.npy");
    let arguments = ["preprocess", "--volume", text(&volume), "--out", text(&out), "--size", "16,32,40"];
    assert_eq!(succeed(&arguments), "");
    let bytes = std::fs::read(&out).unwrap();
    let header = String::from_utf8_lossy(&bytes[..128]).into_owned();
    assert!(header.contains("'shape': (1, 16, 32, 40)") && header.contains("<f4"), "{header}");
    let values: Vec<f32> =
        bytes[bytes.len() - 16 * 32 * 40 * 4..].as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
    assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));

    assert!(fail(&arguments, 2).contains("--force"));
    let forced: Vec<&str> = arguments.iter().copied().chain(["--force"]).collect();
    succeed(&forced);
    assert_eq!(std::fs::read(&out).unwrap(), bytes, "the same input gives the same file");
    assert_eq!(folder.path().read_dir().unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn seeds_decide_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: &str| {
        let out = folder.path().join(name);
        succeed(&["make-model", "--preset", "tiny", "--seed", seed, "--out", text(&out)]);
        contents(&out).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>()
    };
    let first = make("a", "1");
    assert!(first == make("b", "1") && first != make("c", "2"));
    let size: usize = first.iter().map(Vec::len).sum();
    assert!(size < 8 << 20, "a tiny model has {size} bytes");
}

#[test]
fn an_inspected_model_adds_up() {
    let report = json(&["inspect", "--model", tiny_model(), "--json"]);
    let parts = report["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 5);
    let sum: u64 = parts.iter().map(|part| part["parameters"].as_u64().unwrap()).sum();
    assert_eq!(report["parameters"].as_u64(), Some(sum));
    assert_eq!(report["bytes"].as_u64(), Some(2 * sum), "bf16");
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(0));
    let shown = succeed(&["inspect", "--model", tiny_model()]);
    assert!(shown.contains("spatial_pooling_score15_mlp2x_gelu") && shown.contains(&sum.to_string()), "{shown}");
}

#[test]
fn an_inspected_volume_shows_its_slices() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let picture = folder.path().join("montage.png");
    let report = json(&[
        "inspect",
        "--volume",
        text(&volume),
        "--json",
        "--montage",
        text(&picture),
        "--slice-order",
        "inferior-first",
    ]);
    assert_eq!(report["dims"], serde_json::json!([8, 20, 24]));
    let counted: u64 = report["histogram"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(counted, 8 * 20 * 24);
    let drawn = image::open(&picture).unwrap();
    assert!(drawn.width() > 1000 && drawn.height() > 500);
    assert!(succeed(&["inspect", "--volume", text(&volume)]).contains("8 slices of 20 rows x 24 columns"));
}

#[test]
fn converted_models_give_the_same_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let tokens = |model: &str| {
        let arguments = ["generate", "--model", model, "--volume", text(&volume), "--prompt", "Why?", "--json"];
        let exact = ["--precision", "exact", "--max-new-tokens", "12"];
        json(&[arguments.as_slice(), exact.as_slice()].concat())["token_ids"].clone()
    };
    let wanted = tokens(tiny_model());
    assert_eq!(wanted.as_array().map(Vec::len), Some(12));
    // bf16 to f32 is exact, and so is the way back.
    let wide = folder.path().join("wide");
    let narrow = folder.path().join("narrow");
    succeed(&["convert", "--model", tiny_model(), "--out", text(&wide), "--dtype", "f32"]);
    assert_eq!(tokens(text(&wide)), wanted);
    succeed(&["convert", "--model", text(&wide), "--out", text(&narrow), "--dtype", "bf16"]);
    assert_eq!(tokens(text(&narrow)), wanted);
}

/// bf16 weights are half of f32's; the model's own file types do not matter to a GPU.
#[test]
fn the_plan_of_a_model_adds_up() {
    let plan = |device: &str| {
        let plan = json(&["plan", "--model", tiny_model(), "--device", device, "--json"]);
        let bytes = |key: &str| plan[key].as_u64().unwrap_or_else(|| panic!("{key} of {plan}"));
        assert_eq!(bytes("weights") + bytes("buffers") + bytes("workspace") + bytes("volume"), bytes("total"));
        let more = json(&["plan", "--model", tiny_model(), "--device", device, "--volumes", "5", "--json"]);
        assert_eq!(more["total"].as_u64(), Some(bytes("total") + 4 * bytes("volume")), "{more}");
        assert_eq!(bytes("workspace") > 0, device == "cuda", "ops of the CPU keep their own room");
        ["weights", "buffers", "volume"].map(bytes)
    };
    let ([gpu_weights, gpu_buffers, gpu_volume], [cpu_weights, cpu_buffers, cpu_volume]) = (plan("cuda"), plan("cpu"));
    assert!(gpu_weights > 0 && gpu_weights <= cpu_weights);
    assert!(gpu_buffers < cpu_buffers && 2 * gpu_buffers > cpu_buffers, "{gpu_buffers} and {cpu_buffers}");
    assert!(gpu_volume < cpu_volume && 2 * gpu_volume > cpu_volume, "{gpu_volume} and {cpu_volume}");
    let buffers = |batch: &str| {
        let plan = json(&["plan", "--model", tiny_model(), "--device", "cpu", "--batch", batch, "--json"]);
        plan["buffers"].as_u64().expect("bytes")
    };
    // The second one brings room for two prompts in one pass, the most on a processor.
    let each = buffers("3") - buffers("2");
    assert!(each > 0 && buffers("16") == buffers("2") + 14 * each, "every question takes the same room");
    assert!(buffers("2") > buffers("1") + each);
    let shown = succeed(&["plan", "--model", tiny_model()]);
    assert!(shown.contains(&gpu_weights.to_string()) && shown.lines().count() == 6, "{shown}");
    assert!(fail(&["plan", "--model", "nowhere"], 3).contains("nowhere"));
}
