//! The binary on machines with a GPU that are none: the driver is the crate `fake-cuda`, `FAKE_CUDA` says
//! which machine it is. `tools/fake-cuda cargo test --workspace --test driver`

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Functions whose failure is no user's loss: they give something back, or tell what can do without.
const MAY_FAIL: [&str; 9] = [
    "cuDevicePrimaryCtxRelease_v2",
    "cuStreamDestroy_v2",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuModuleUnload",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuEventDestroy_v2",
    "cuMemGetInfo_v2",
];

/// Functions that answering a question of a small model does not call.
const NOT_CALLED: [&str; 7] = [
    "cuMemcpy2DAsync_v2",
    "cuDeviceGetPCIBusId",
    "cuDeviceTotalMem_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuGetErrorName",
];

/// The smallest golden model, in a folder of its own.
struct Model {
    folder: tempfile::TempDir,
    volume: PathBuf,
}

impl Model {
    fn new() -> Self {
        assert!(std::env::var_os("FAKE_CUDA").is_some(), "run these tests under tools/fake-cuda");
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/golden");
        let index = std::fs::read(goldens.join("cases.json")).expect("the goldens are there");
        let index: Value = serde_json::from_slice(&index).expect("the index is JSON");
        let model = &index["models"]["c_score9"];
        let folder = tempfile::tempdir().expect("room for a small model");
        for (place, source) in model["files"].as_object().expect("files by their places") {
            let to = folder.path().join(place);
            std::fs::create_dir_all(to.parent().expect("in the folder")).expect("a new folder");
            std::fs::copy(goldens.join(source.as_str().expect("a path")), to).expect("a golden file");
        }
        Self { folder, volume: goldens.join(model["volume"].as_str().expect("a path")) }
    }

    /// A run of the binary on a machine with these settings: its status, what it prints and what it complains of.
    fn run(&self, machine: &str, line: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engine-cli"));
        command.stdin(Stdio::null()).env("FAKE_CUDA", machine).args(line.split_whitespace());
        if !line.starts_with("doctor") {
            command.arg("--model").arg(self.folder.path());
        }
        if line.starts_with("generate") {
            command.arg("--volume").arg(&self.volume).args(["--prompt", "Is there a lesion?", "--max-new-tokens", "5"]);
        }
        let output = command.output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text is UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// A run that must succeed; its JSON.
    fn json(&self, machine: &str, line: &str) -> Value {
        let (status, out, complaint) = self.run(machine, line);
        assert_eq!(status, Some(0), "{machine}: {complaint}");
        serde_json::from_str(&out).expect("one JSON object")
    }

    /// A run that must fail with one sentence; the sentence.
    fn fail(&self, machine: &str, line: &str, status: i32) -> String {
        let (found, out, complaint) = self.run(machine, line);
        assert_eq!((found, out.as_str()), (Some(status), ""), "{machine}: {complaint}");
        assert!(
            complaint.starts_with("error: ") && complaint.trim_end().lines().count() == 1,
            "{machine}: {complaint}"
        );
        complaint
    }
}

/// The driver's functions that we call.
fn functions() -> impl Iterator<Item = &'static str> {
    include_str!("../../../kernels/src/gpu/symbols.txt").lines()
}

/// Machine code for 8.x, for 9.0, and PTX for what comes later; the very same answer as without a driver.
#[test]
fn every_generation_answers_as_the_emulator_does() {
    let model = Model::new();
    let want = model.json("", "generate --json --logprobs 3 --device emulated");
    for capability in ["8.0", "8.9", "9.0", "12.0"] {
        let machine = format!("capability={capability}");
        let got = model.json(&machine, "generate --json --logprobs 3 --device cuda");
        for key in ["text", "token_ids", "top_logprobs", "slice_scores", "finish_reason"] {
            assert!(!want[key].is_null(), "{key}");
            assert_eq!(got[key], want[key], "{key}, {capability}");
        }
        assert_eq!(got["device"], format!("Stand-in (cuda:0), compute capability {capability}"));
    }
}

#[test]
fn machines_that_cannot_run_it_are_status_4() {
    let model = Model::new();
    for (machine, device, want) in [
        ("devices=0", "cuda", "finds no GPU"),
        ("devices=2", "cuda:2", "there is no GPU 2; choose one from 0 to 1"),
        ("capability=7.5", "cuda", "has compute capability 7.5, wanted 8.0"),
        ("version=11.8", "cuda", "is for CUDA 11.8, wanted 12.0"),
    ] {
        let complaint = model.fail(machine, &format!("generate --device {device}"), 4);
        assert!(complaint.contains(want), "{complaint}");
    }
}

/// A GPU with what the plan says is enough, and with one byte less the model is refused before it is loaded.
#[test]
fn the_plan_is_what_a_gpu_needs() {
    let model = Model::new();
    let total = model.json("", "plan --device cuda --json")["total"].as_u64().expect("bytes");
    model.json(&format!("memory={total}"), "generate --json --device cuda");
    let complaint = model.fail(&format!("memory={}", total - 1), "generate --device cuda", 4);
    for want in ["the model and one volume take ", " MiB are free on Stand-in", "--device cpu"] {
        assert!(complaint.contains(want), "{complaint}");
    }
}

/// A GPU with room for one volume sees as many as there are, one after the other, though steps are recorded.
#[test]
fn memory_of_volumes_comes_back() {
    let model = Model::new();
    let folder = tempfile::tempdir().expect("a folder");
    let names: Vec<String> = (0..4).map(|number| format!("{number}.npy")).collect();
    let item = |name: &String| {
        std::fs::copy(&model.volume, folder.path().join(name)).expect("a copy");
        let asked = [json!({"from": "human", "value": "<image3d>\nIs there a lesion?"})];
        let question = "Is there a lesion?";
        json!({"id": name, "vision3d": [name], "question": question, "question_type": 4, "answer": "no",
               "conversations": asked})
    };
    let data = folder.path().join("data.json");
    std::fs::write(&data, Value::from_iter(names.iter().map(item)).to_string()).expect("a file");
    let total = model.json("", "plan --device cuda --json")["total"].as_u64().expect("bytes");
    let [data, volumes] = [data.as_path(), folder.path()].map(|path| path.to_str().expect("a path").to_owned());
    let line = format!("eval --json --device cuda --batch 1 --max-new-tokens 4 --data {data} --volumes {volumes}");
    assert_eq!(model.json(&format!("memory={total}"), &line)["items"], 4);
}

/// Whatever function of the driver fails, at its first call or later: one sentence with the driver's code.
#[test]
fn refused_calls_are_one_sentence() {
    let model = Model::new();
    for function in functions() {
        for first in [0, 1, 7] {
            let machine = format!("refuses={function}:{first}");
            let (status, _, complaint) = model.run(&machine, "generate --device cuda");
            let must_fail = first == 0 && !MAY_FAIL.contains(&function) && !NOT_CALLED.contains(&function);
            let codes = if must_fail { &[Some(1), Some(4)][..] } else { &[Some(0), Some(1), Some(4)] };
            assert!(codes.contains(&status), "{machine}: {status:?}, {complaint}");
            if status != Some(0) {
                let code = if function == "cuDriverGetVersion" { "CUDA 0.0" } else { "CUDA_ERROR_UNKNOWN (999)" };
                assert!(complaint.starts_with("error: ") && complaint.contains(code), "{machine}: {complaint}");
                assert_eq!(complaint.trim_end().lines().count(), 1, "{machine}: {complaint}");
            }
        }
    }
}

/// The report of the machine stands whatever the driver says.
#[test]
fn doctor_reports_what_it_can() {
    let model = Model::new();
    for function in functions() {
        let report = model.json(&format!("refuses={function}"), "doctor --json");
        let device = &report["devices"][1];
        assert!(device["available"].is_boolean() && device["detail"].is_string(), "{function}: {device}");
    }
    let devices = model.json("devices=2", "doctor --json")["devices"].clone();
    let names: Vec<&str> = devices.as_array().expect("devices").iter().filter_map(|d| d["device"].as_str()).collect();
    assert_eq!(names, ["cpu", "cuda:0", "cuda:1", "emulated"]);
}

/// A kernel that touches what it must not: found at the next wait, said once, and nothing runs after it.
#[test]
fn a_failed_kernel_is_one_sentence() {
    let model = Model::new();
    for kernel in ["patch_gather_kernel", "tgis_softmax_kernel", "sample_kernel"] {
        let complaint = model.fail(&format!("fails={kernel}"), "generate --device cuda", 1);
        assert!(complaint.contains("CUDA_ERROR_ILLEGAL_ADDRESS (700)"), "{complaint}");
        assert!(complaint.contains("the device runs nothing more, start anew"), "{complaint}");
    }
}
