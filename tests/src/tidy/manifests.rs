//! Rules about Cargo.toml files: which crate imports which, and what versions they ask for.
use super::{File, Tree};
use toml::{Table, Value};

/// The workspace: folder, crate, and those of our crates it may import. Arrows point one way only.
const CRATES: &[(&str, &str, &[&str])] = &[
    ("kernels", "med2e3-kernels", &["med2e3-simt"]),
    // For its own tests, with a feature on.
    ("kernels/simt", "med2e3-simt", &["med2e3-simt"]),
    ("kernels/fake-cuda", "fake-cuda", &["med2e3-kernels", "med2e3-simt"]),
    ("loaders", "med2e3-loaders", &[]),
    ("engine", "med2e3", &["med2e3-kernels", "med2e3-loaders"]),
    // Its tests ask about made-up patients.
    ("engine/server", "med2e3-server", &["med2e3", "med2e3-phantom"]),
    // Its tests mutate files as the fuzz targets do.
    (
        "tools/cli",
        "med2e3-cli",
        &[
            "engine-tests",
            "med2e3",
            "med2e3-eval",
            "med2e3-kernels",
            "med2e3-loaders",
            "med2e3-phantom",
            "med2e3-server",
        ],
    ),
    ("tools/eval", "med2e3-eval", &["med2e3", "med2e3-loaders"]),
    // Its tests prepare scans as the engine does.
    ("tools/phantom", "med2e3-phantom", &["med2e3", "med2e3-kernels", "med2e3-loaders"]),
    ("tools/xtask", "xtask", &["med2e3-kernels"]),
    ("benches", "benches", &["med2e3", "med2e3-kernels", "med2e3-loaders"]),
    ("tests", "engine-tests", &["med2e3", "med2e3-eval", "med2e3-kernels", "med2e3-loaders"]),
];
const SECTIONS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

fn manifests(tree: &Tree) -> impl Iterator<Item = (&File, Table)> {
    let files = tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    files.filter_map(|file| Some((file, file.text.as_deref()?.parse().ok()?)))
}

/// The dependencies of a manifest, in every section, with the section's name.
fn dependencies(manifest: &Table) -> Vec<(&str, &str, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let holders = targets.filter_map(Value::as_table).chain([manifest]);
    let sections = holders.flat_map(|holder| SECTIONS.iter().map(move |name| (*name, holder.get(*name))));
    sections
        .chain([("workspace", manifest.get("workspace").and_then(|workspace| workspace.get("dependencies")))])
        .filter_map(|(section, found)| Some((section, found?.as_table()?)))
        .flat_map(|(section, table)| table.iter().map(move |(name, value)| (section, name.as_str(), value)))
        .collect()
}

pub(super) fn directions(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (file, manifest) in manifests(tree) {
        if let Some(members) = manifest.get("workspace").and_then(|workspace| workspace.get("members")) {
            let members: Vec<&str> = members.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let ours: Vec<&str> = CRATES.iter().map(|(folder, ..)| *folder).collect();
            if !members.is_empty() && members != ours {
                found.push(format!("{}: members are {members:?}, the design has {ours:?}", file.path));
            }
        }
        let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let Some((_, name, allowed)) = CRATES.iter().find(|(_, ours, _)| Some(*ours) == name) else { continue };
        for (section, dependency, value) in dependencies(&manifest) {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(dependency);
            let is_ours = CRATES.iter().any(|(_, ours, _)| *ours == package);
            if is_ours && !allowed.contains(&package) {
                found.push(format!("{}: `{name}` may not import `{package}` ({section})", file.path));
            }
        }
    }
    found
}

/// The workspace's lints hold for a crate only if its manifest says so.
pub(super) fn lints(tree: &Tree) -> Vec<String> {
    let is_ours = |file: &File| CRATES.iter().any(|(folder, ..)| file.path == format!("{folder}/Cargo.toml"));
    let inherits = |manifest: &Table| manifest.get("lints").is_some_and(|lints| lints.get("workspace").is_some());
    let without = manifests(tree).filter(|(file, manifest)| is_ours(file) && !inherits(manifest));
    without.map(|(file, _)| format!("{}: has not the lints of the workspace", file.path)).collect()
}

/// An exact version in a library keeps everyone who uses it from newer ones, and no version at all cannot be published.
/// Cargo.lock pins what we build with.
pub(super) fn requirements(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (file, manifest) in manifests(tree) {
        for (_, name, value) in dependencies(&manifest) {
            let is_elsewhere = value.get("path").is_some() || value.get("workspace").is_some();
            let version = value.as_str().or_else(|| value.get("version").and_then(Value::as_str));
            let is_caret = version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()));
            if !is_elsewhere && !is_caret {
                let version = version.unwrap_or("no version");
                found.push(format!("{}: `{name}` wants {version}, not a version such as 1.2.3", file.path));
            }
        }
        let is_root =
            file.path == "Cargo.toml" && manifest.get("workspace").is_some_and(|own| own.get("members").is_some());
        if is_root && tree.find("Cargo.lock").is_none() {
            found.push("Cargo.lock is not committed".into());
        }
    }
    found
}
