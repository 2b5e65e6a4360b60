//! Exit statuses, and one sentence for every mistake.

use crate::{contents, fail, json, run, small_volume, succeed, text, tiny_model};

#[test]
fn wrong_usage_is_status_2() {
    let model = tiny_model();
    let with = |more: &str| format!("generate --model {model} --volume v --prompt p {more}");
    let lines = [
        String::new(),
        "nonsense".into(),
        "generate".into(),
        "generate --model a --volume b".into(),
        "generate --demo --model a".into(),
        with("--top-p 1.5 --temperature 1"),
        with("--top-p 0.5"),
        with("--temperature -1"),
        with("--max-new-tokens 0"),
        with("--logprobs 2"),
        with("--tgis mean"),
        with("--tgis-text-mlp random"),
        with("--device gpu"),
        with("--precision f16"),
        with("--window 3,1"),
        with("--slice-order feet-first"),
        with("--threads 0"),
        with("--scores s.png --montage s.png"),
        "inspect".into(),
        "inspect --model a --volume b".into(),
        "preprocess --volume a --out b --size 0,1,1".into(),
        "make-model --preset huge --out a".into(),
        "completions".into(),
        "completions cobol".into(),
    ];
    for line in lines {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        fail(&arguments, 2);
    }
}

#[test]
fn missing_files_are_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let out = folder.path().join("out.npy");
    let nowhere = text(&nowhere);
    let out = text(&out);
    let volume = small_volume(folder.path());
    let model = tiny_model();
    let sentences = [
        fail(&["generate", "--model", nowhere, "--volume", text(&volume), "--prompt", "p"], 3),
        fail(&["generate", "--model", model, "--volume", nowhere, "--prompt", "p"], 3),
        fail(&["preprocess", "--volume", nowhere, "--out", out], 3),
        fail(&["inspect", "--model", nowhere], 3),
        fail(&["inspect", "--volume", nowhere], 3),
        fail(&["convert", "--model", nowhere, "--out", out], 3),
    ];
    assert!(sentences.iter().all(|sentence| sentence.contains(nowhere)), "{sentences:?}");
}

/// No machine has that many GPUs; what is missing first depends on the machine and the build.
#[test]
fn absent_devices_are_status_4_before_anything_is_read() {
    let sentence = fail(&["generate", "--model", "a", "--volume", "b", "--prompt", "p", "--device", "cuda:999"], 4);
    assert!(sentence.contains("--device cpu"), "{sentence}");
    if med2e3_kernels::gpu::modules::COMPILER.is_none() {
        assert!(sentence.contains("run tools/setup-cuda"), "{sentence}");
    }
}

/// Libraries in the driver's place: one that finds no GPU, one of an old driver, one that is no driver at all.
#[test]
fn broken_drivers_are_status_4_and_one_sentence() {
    let every = "int cuInit(unsigned flags) { (void)flags; return INIT; }\n\
                 int cuDriverGetVersion(int *version) { *version = 11040; return 0; }\n";
    let others = include_str!("../../../../kernels/src/gpu/symbols.txt");
    let others = others.lines().filter(|name| !["cuInit", "cuDriverGetVersion"].contains(name));
    let all: String = others.map(|name| format!("int {name}(void) {{ return 3; }}\n")).collect();
    for (source, init, want) in [
        (format!("{every}{all}"), "100", "finds no GPU"),
        (format!("{every}{all}"), "999", "does not start, CUDA_ERROR_UNKNOWN (999)"),
        (format!("{every}{all}"), "0", "is for CUDA 11.4, wanted 12.0"),
        (every.to_owned(), "0", "libcuda.so has no "),
        (String::new(), "0", "libcuda.so has no cuInit"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let code = folder.path().join("driver.c");
        std::fs::write(&code, source).unwrap();
        let library = folder.path().join("libcuda.so");
        let arguments = ["-xc", "-shared", "-fPIC", &format!("-DINIT={init}"), "-o", text(&library), text(&code)];
        assert!(std::process::Command::new("c++").args(arguments).status().unwrap().success());
        let run = |arguments: &[&str]| {
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_engine-cli"));
            command.args(arguments).env("LD_LIBRARY_PATH", folder.path()).output().unwrap()
        };
        let report = run(&["doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let detail = report["devices"][1]["detail"].as_str().unwrap();
        assert!(detail.contains(want) && report["devices"][1]["available"] == false, "{detail}");
        if med2e3_kernels::gpu::modules::COMPILER.is_some() {
            let done = run(&["generate", "--model", "a", "--volume", "b", "--prompt", "p", "--device", "cuda"]);
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!(done.status.code(), Some(4), "{said}");
            assert!(said.contains(want) && said.trim_end().lines().count() == 1, "{said}");
        }
    }
}

#[test]
fn prompts_that_do_not_fit_name_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let prompt = "lesion ".repeat(800);
    let arguments = ["generate", "--model", tiny_model(), "--volume", text(&volume), "--prompt", &prompt];
    let sentence = fail(&arguments, 3);
    assert!(sentence.contains("768"), "{sentence}");
}

#[test]
fn a_damaged_model_is_reported_whole() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    succeed(&["make-model", "--preset", "tiny", "--out", text(&model)]);
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    std::fs::remove_file(model.join("vision3d_model/vocab.txt")).unwrap();
    let outcome = run(&["inspect", "--model", text(&model), "--json"]);
    assert_eq!(outcome.status, Some(3));
    assert!(outcome.stderr.contains("tokenizer.json") && outcome.stderr.contains("vocab.txt"), "{}", outcome.stderr);
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert!(!report["problems"].as_array().unwrap().is_empty());

    let weights = model.join("llm/model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let sentence = fail(&["inspect", "--model", text(&model)], 3);
    assert!(sentence.contains("model.safetensors"), "{sentence}");
}

#[test]
fn help_completions_and_doctor_work_without_files() {
    assert!(succeed(&["--help"]).contains("not a medical device"));
    assert!(succeed(&["--version"]).starts_with("engine-cli "));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(succeed(&["completions", shell]).contains("make-model"), "{shell}");
    }
    let report = json(&["doctor", "--json", "--threads", "1"]);
    assert_eq!(report["threads"], 1);
    assert!(report["devices"].as_array().unwrap().iter().any(|device| device["available"] == true));
}

#[test]
fn nothing_that_was_given_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    succeed(&["make-model", "--preset", "tiny", "--out", text(&model)]);
    let volume = small_volume(folder.path());
    let before = contents(folder.path());
    succeed(&[
        "generate",
        "--model",
        text(&model),
        "--volume",
        text(&volume),
        "--prompt",
        "p",
        "--max-new-tokens",
        "1",
    ]);
    succeed(&["inspect", "--model", text(&model)]);
    succeed(&["inspect", "--volume", text(&volume)]);
    fail(&["preprocess", "--volume", text(&volume), "--out", text(&volume)], 2);
    fail(&["preprocess", "--volume", text(&volume), "--out", text(&volume), "--force"], 2);
    fail(&["inspect", "--volume", text(&volume), "--montage", text(&volume), "--force"], 2);
    fail(&["generate", "--demo", "--volume", text(&volume), "--scores", text(&volume), "--force"], 2);
    fail(&["make-model", "--preset", "tiny", "--out", text(&model)], 2);
    fail(&["convert", "--model", text(&model), "--out", text(&model)], 2);
    fail(&["convert", "--model", text(&model), "--out", text(&model.join("inside"))], 2);
    assert!(contents(folder.path()) == before, "a file changed, appeared or went");
}
