//! The example that a newcomer copies, run as it stands.
use std::path::Path;
use std::process::Command;

/// Built by cargo beside this test, unless it is asked for this test alone.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("this test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie two folders deep in the target folder");
    Command::new(folder.join("examples").join(name))
}

#[test]
fn ask_answers_about_a_scan() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let arguments = [root.join("tools/research/demo/model"), root.join("tests/data/golden/a/volume.npy")];
    let output = example("ask")
        .args(arguments)
        .arg("Which plane is shown?")
        .output()
        .expect("`cargo test` builds the example, but not with --test or --lib");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer = String::from_utf8(output.stdout).expect("text");
    assert!(["Axial\n", "Coronal\n", "Sagittal\n"].contains(&answer.as_str()), "{answer}");
}

#[test]
fn ask_fails_with_the_engines_sentence() {
    let output = example("ask")
        .args(["nowhere", "scan.npy", "Why?"])
        .output()
        .expect("`cargo test` builds the example, but not with --test or --lib");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("nowhere"), "{said}");
}

/// What an example prints about the demo's model, given more arguments after it.
fn printed(name: &str, arguments: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = example(name);
    command.arg(root.join("tools/research/demo/model"));
    if name != "memory_volume" {
        command.arg(root.join("tests/data/golden/a/volume.npy"));
    }
    let output = command.args(arguments).output().expect("`cargo test` builds the example");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_other_examples_answer_too() {
    assert!(!printed("stream", &["Which plane is shown?"]).trim().is_empty());
    assert!(printed("options", &["Which plane is shown?", "Axial", "Coronal"]).contains("Coronal"));
    assert!(printed("memory_volume", &["Which plane is shown?"]).contains("Axial"));
}
