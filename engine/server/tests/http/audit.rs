//! What is recorded of every question, and what happens when it cannot be.
use crate::client::{Client, JSON, request};
use crate::rig::{QUESTION, Rig, scan};
use med2e3_server::AuditConfig;
use med2e3_server::audit::Chain;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn recorded(change: impl FnOnce(PathBuf) -> Rig) -> (Rig, TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    (change(file.clone()), folder, file)
}

fn config(file: PathBuf) -> Option<AuditConfig> {
    Some(AuditConfig { file, program: "test".into() })
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn body(id: &str, stream: bool) -> Value {
    json!({ "volume": id, "messages": [{ "role": "user", "content": format!("{QUESTION} ZEBRA") }], "stream": stream })
}

#[test]
fn every_question_leaves_two_lines() {
    let (rig, _folder, file) = recorded(|file| Rig::with(|to| to.audit = config(file)));
    let id = rig.upload(scan());
    let whole = rig.post("/v1/chat/completions", &body(&id, false));
    assert_eq!(rig.post("/v1/chat/completions", &body(&id, true)).status, 200);
    rig.post("/v1/score", &json!({ "volume": id, "prompt": QUESTION, "options": ["Axial", "Coronal"] }));
    let found = lines(&file);
    assert_eq!(found.len(), 6);
    for pair in found.chunks(2) {
        assert_eq!((&pair[0]["kind"], &pair[1]["kind"]), (&json!("begun"), &json!("ended")));
        assert_eq!((&pair[0]["request"], &pair[1]["outcome"]), (&pair[1]["request"], &json!("answered")));
        assert_eq!(pair[0]["input_sha256"].as_str(), whole.header("x-volume-id"));
    }
    assert_eq!(found[0]["request"].as_str(), whole.header("x-request-id"));
    assert_eq!(found[1]["answer_sha256"], found[3]["answer_sha256"], "streamed or not, it is one answer");
    assert_eq!(found[0]["question_sha256"], found[2]["question_sha256"]);
    // The same request leaves the same lines but for the time, the id and the chain.
    let same = |line: &Value| {
        let mut line = line.as_object().unwrap().clone();
        ["time", "request", "line", "previous"].iter().for_each(|name| drop(line.remove(*name)));
        line
    };
    assert_eq!((same(&found[0]), same(&found[1])), (same(&found[2]), same(&found[3])));
    let text = std::fs::read_to_string(&file).unwrap();
    let answer = whole.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(!text.contains("ZEBRA") && !text.contains("plane") && !text.contains(&answer));
    let chain = Chain::read(text.as_bytes()).unwrap();
    let metrics = rig.get("/metrics").text();
    assert!(metrics.contains(&format!("audit_head{{sha256=\"{}\"}} 1", chain.head)), "{metrics}");
    assert_eq!(rig.metric("med2e3:audit_lines"), 6.0);
}

#[test]
fn a_question_that_is_left_or_fails_is_recorded_too() {
    let (rig, _folder, file) = recorded(|file| Rig::endless(|to| to.audit = config(file)));
    let id = rig.upload(scan());
    let mut client = Client::connect(rig.address);
    client.send(&request("POST", "/v1/chat/completions", JSON, body(&id, true).to_string().as_bytes()));
    client.head();
    client.chunk().unwrap();
    assert_eq!(lines(&file).len(), 1, "the first line is there before the answer");
    drop(client);
    rig.wait("the second line", |_| lines(&file).len() == 2);
    assert_eq!(lines(&file)[1]["outcome"], "cancelled");
    let long = "word ".repeat(2000);
    rig.post("/v1/chat/completions", &json!({ "volume": id, "messages": [{ "role": "user", "content": long }] }));
    rig.wait("the fourth line", |_| lines(&file).len() == 4);
    assert_eq!(lines(&file)[3]["outcome"], "invalid_request");
}

/// /dev/full takes nothing, as a full disk does.
#[test]
fn what_cannot_be_recorded_is_not_answered() {
    if !Path::new("/dev/full").exists() {
        eprintln!("not run: there is no /dev/full");
        return;
    }
    let (rig, ..) = recorded(|file| {
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        Rig::with(|to| to.audit = config(file))
    });
    let id = rig.upload(scan());
    for _ in 0..2 {
        let reply = rig.post("/v1/chat/completions", &body(&id, true));
        assert_eq!((reply.status, reply.code().as_str()), (503, "audit_failed"));
    }
    assert_eq!(rig.get("/health").code(), "audit_failed");
    assert_eq!(rig.get("/health/live").status, 200);
}
