//! The repository keeps the house rules, and each rule is seen to fail on a planted file.
use engine_tests::tidy::{File, RULES, Tree, ratchets};
use std::path::Path;

#[test]
fn repository_is_tidy() {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    assert!(tree.files.len() > 20, "git listed only {} files", tree.files.len());
    let findings: Vec<String> = RULES
        .iter()
        .flat_map(|rule| (rule.check)(&tree).into_iter().map(|found| format!("{}: {found}", rule.name)))
        .collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// A rule, a path, a content, and what the rule must say about it; nothing where it must be content.
struct Planted(&'static str, &'static str, String, &'static str);

fn function(lines: usize) -> String {
    format!("//! A file.\npub fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
}

/// The banned words are split, so that this file does not hold them.
fn text_cases() -> Vec<Planted> {
    vec![
        Planted("file length", "a.rs", "x\n".repeat(501), "501 lines"),
        Planted("file length", "a.rs", "x\n".repeat(500), ""),
        Planted("file length", "a.json", "x\n".repeat(501), ""),
        Planted("line length", "a.rs", "é".repeat(121), "121 characters"),
        Planted("line length", "a.rs", "é".repeat(120), ""),
        Planted("file size", "logo.bin", "x".repeat(500_001), "500001 bytes"),
        Planted("file size", "Cargo.lock", "x".repeat(500_001), ""),
        Planted("file size", "tests/data/a.bin", "x".repeat(4_000_000), ""),
        Planted("file size", "tests/data/a.bin", "x".repeat(4_000_001), "4000001 bytes in all"),
        Planted("file size", "tools/research/demo/model/a.bin", "x".repeat(12_000_000), ""),
        Planted("file size", "tools/research/demo/model/a.bin", "x".repeat(12_000_001), "12000001 bytes in all"),
        Planted("left-overs", "a.rs", concat!("// TO", "DO: later").into(), "a.rs:1"),
        Planted("left-overs", "a.sh", concat!("# FIX", "ME").into(), "a.sh:1"),
        Planted("left-overs", "a.rs", concat!("\n#[", "ignore]").into(), "a.rs:2"),
        Planted("left-overs", "a.rs", concat!("let a = \"XX", "XL\";").into(), ""),
        Planted("machine paths", "a.md", concat!("see /wo", "rk/data").into(), "a.md:1"),
        Planted("machine paths", "a.sh", concat!("cd /tm", "p/a").into(), "a.sh:1"),
        Planted("machine paths", "a.py", concat!("https://py", "pi.org/simple").into(), "a.py:1"),
        Planted("machine paths", "a.md", concat!("the frame/wo", "rk/ and $TMP/tm", "p/a").into(), ""),
        Planted("links", "docs/a.md", "[b](b.md)".into(), "`b.md` leads nowhere"),
        Planted("links", "docs/a.md", "[b](../../b.md)".into(), "`../../b.md` leads nowhere"),
        Planted("links", "docs/a.md", "[a](a.md#x) [d](../docs) [s](#x) [w](https://example.org)".into(), ""),
    ]
}

fn code_cases() -> Vec<Planted> {
    let allow = concat!("#![allow(", "unsafe_code)]\n").to_owned();
    vec![
        Planted("function length", "a.cu", function(151).replace("pub fn", "void"), "a.cu:2: 151 lines"),
        Planted("function length", "a.cu", function(150).replace("pub fn", "void"), ""),
        Planted("header", "a.rs", "use b;\n".into(), "a.rs:1"),
        Planted("header", "a.rs", "//! A file.\n".into(), ""),
        Planted("unsafe", "engine/src/a.rs", allow.clone(), "engine/src/a.rs:1: allows `unsafe` outside"),
        Planted("unsafe", "loaders/src/a.rs", allow.clone(), "loaders/src/a.rs:1: allows `unsafe` outside"),
        Planted("unsafe", "kernels/src/a.rs", allow, ""),
    ]
}

/// Every habit as often as it is written down, and the first of them `more` times more often or `fewer` times less.
fn habits(more: usize, fewer: usize) -> String {
    let tuples = "let (a, b) = c;\n".repeat(ratchets::LET_TUPLE_LINES + more - fewer);
    let arrays = "    let [a, b] = c;\n".repeat(ratchets::LET_ARRAY_LINES);
    let arguments = concat!("fn f([rows, columns", "]: [usize; 2]) {}\n").repeat(ratchets::ARRAY_ARGUMENT_LINES);
    [tuples, arrays, arguments].concat()
}

fn habit_cases() -> Vec<Planted> {
    let other = "let x = (a, b);\nfn f(pair: [usize; 2]) {}\nlet a: [u8; 2] = [b, c];\n";
    let more = format!("{} lines bind several names", ratchets::LET_TUPLE_LINES + 1);
    let fewer = format!("write {} where", ratchets::LET_TUPLE_LINES - 1);
    vec![
        Planted("ratchets", "a.rs", habits(0, 0), ""),
        Planted("ratchets", "a.rs", habits(0, 0) + other, ""),
        Planted("ratchets", "a.rs", habits(1, 0), more.leak()),
        Planted("ratchets", "a.rs", habits(0, 1), fewer.leak()),
        Planted("ratchets", "a.rs", habits(0, 0) + "let [a] = b;\n", "with `let [`"),
        Planted(
            "ratchets",
            "a.rs",
            habits(0, 0) + concat!("fn f([a, b_c, d", "]: [u8; 3]) {}\n"),
            "names of their own",
        ),
    ]
}

fn workspace_cases() -> Vec<Planted> {
    let up = "[package]\nname = \"med2e3-kernels\"\n[dev-dependencies]\nmed2e3.workspace = true\n";
    let renamed = "k = { package = \"med2e3-kernels\" }";
    let aside = format!("[package]\nname = \"med2e3-loaders\"\n[target.'cfg(unix)'.dependencies]\n{renamed}\n");
    let down = "[package]\nname = \"med2e3\"\n[dependencies]\nmed2e3-kernels.workspace = true\n";
    vec![
        Planted("crate directions", "kernels/Cargo.toml", up.into(), "`med2e3-kernels` may not import `med2e3`"),
        Planted("crate directions", "loaders/Cargo.toml", aside, "`med2e3-loaders` may not import `med2e3-kernels`"),
        Planted("crate directions", "engine/Cargo.toml", down.into(), ""),
        Planted("crate directions", "Cargo.toml", "[workspace]\nmembers = [\"kernels\"]\n".into(), "members are"),
        Planted("lints", "loaders/Cargo.toml", "[package]\nname = \"med2e3-loaders\"\n".into(), "has not the lints"),
        Planted("lints", "a/Cargo.toml", "[package]\nname = \"a\"\n".into(), ""),
        Planted("requirements", "a/Cargo.toml", "[dependencies]\na = \"=1.0.0\"\n".into(), "`a` wants =1.0.0"),
        Planted("requirements", "a/Cargo.toml", "[dependencies]\na = { version = \"*\" }\n".into(), "`a` wants *"),
        Planted("requirements", "a/Cargo.toml", "[build-dependencies]\na = { git = \"b\" }\n".into(), "no version"),
        Planted("requirements", "a/Cargo.toml", "[dependencies]\na = \"1.0.0\"\nb.path = \"b\"\n".into(), ""),
        Planted("requirements", "Cargo.toml", "[workspace]\nmembers = []\n".into(), "Cargo.lock is not committed"),
    ]
}

#[test]
fn each_rule_fails_on_a_planted_file() {
    let cases: Vec<Planted> =
        [text_cases(), code_cases(), habit_cases(), workspace_cases()].into_iter().flatten().collect();
    for Planted(name, path, text, wanted) in &cases {
        let rule = RULES.iter().find(|rule| rule.name == *name).unwrap_or_else(|| panic!("no rule `{name}`"));
        let found = (rule.check)(&Tree { files: vec![File::text(path, text)] });
        let shown = text.chars().take(80).collect::<String>();
        match *wanted {
            "" => assert_eq!(found, [""; 0], "{name} on {path}: {shown}"),
            _ => assert!(found.len() == 1 && found[0].contains(wanted), "{name} on {path}: {shown}: found {found:?}"),
        }
    }
    for rule in RULES.iter().filter(|rule| rule.name != "op folders") {
        assert!(cases.iter().any(|case| case.0 == rule.name && !case.3.is_empty()), "{}: no failing case", rule.name);
    }
}

#[test]
fn an_op_must_be_complete() {
    let rule = RULES.iter().find(|rule| rule.name == "op folders").expect("the rule exists");
    let complete = [
        ("kernels/src/ops.rs", "pub mod add;\n"),
        ("kernels/src/device.rs", "    fn add(&self, op: Add<'_>) -> Result<()>;\n"),
        ("kernels/src/ops/add/mod.rs", ""),
        ("kernels/src/ops/add/cpu.rs", ""),
        ("kernels/src/ops/add/tests.rs", ""),
        ("kernels/src/ops/add/launch.rs", ""),
        ("kernels/src/ops/add/gpu_tests.rs", ""),
        ("kernels/src/ops/add/reference.rs", ""),
    ];
    let mut files: Vec<File> = complete.iter().map(|(path, text)| File::text(path, text)).collect();
    assert_eq!((rule.check)(&Tree { files: files.clone() }), [""; 0]);
    for missing in 0..files.len() {
        let mut files = files.clone();
        let path = files.remove(missing).path;
        assert_eq!((rule.check)(&Tree { files }).len(), 1, "without {path}");
    }
    let headers = "// add: a + b.\n//\n// Tensors   a\n// Numerics  f32\n// Launch    one\n// Traffic   none\n";
    files.push(File::text("kernels/src/ops/add/kernel.cu", headers));
    let text = "kernels/src/ops/add/kernel.cu: the header does not say `Source`";
    assert_eq!((rule.check)(&Tree { files: files.clone() }), [text]);
    files.pop();
    let only_listed = Tree { files: files[..2].to_vec() };
    assert_eq!((rule.check)(&only_listed), ["kernels/src/ops/add/ does not exist"]);
}
