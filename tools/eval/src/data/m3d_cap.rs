//! M3D-Cap JSON: splits of volumes with a report each.

use serde_json::Value;

use super::{Item, Kind, Place, Source, read_text};
use crate::error::{Error, Result};
use med2e3::prompt::Conversation;

/// M3D draws one of its prompts at random for each item; this one of them is asked every time.
pub const CAPTION_QUESTION: &str = "Can you provide a caption consists of findings for this medical image?";

/// Where no split is named, the first of these that has items.
const USUAL: [&str; 2] = ["test1k", "test"];

/// The items of the split. Reports are files, by paths that start where the volumes' do.
pub(super) fn read(source: &Source, json: &Value) -> Result<Vec<Item>> {
    let (name, rows) = choose(source, json)?;
    let item = |(index, row): (usize, &Value)| {
        let place = Place { path: &source.data, what: format!("item {} of {name}", index + 1) };
        let text = |key: &str| {
            let found = row.get(key).and_then(Value::as_str);
            found.ok_or_else(|| place.wrong(format!("`{key}` is not a path"), "give the path of a file there"))
        };
        let image = text("image")?;
        let report = text("text")?;
        Ok(Item {
            id: image.to_owned(),
            kind: Kind::Caption,
            topic: None,
            volume: image.to_owned(),
            conversation: Conversation::single(&source.caption_question),
            question: None,
            reference: read_text(&source.volumes.join(report))?,
            choice: None,
            truth: None,
        })
    };
    // Reports are read one by one, so only those that will be asked for.
    let limit = source.limit.unwrap_or(usize::MAX);
    rows.iter().enumerate().take(limit).map(item).collect()
}

fn choose<'a>(source: &'a Source, json: &'a Value) -> Result<(&'a str, &'a [Value])> {
    let rows = |name: &str| json.get(name).and_then(Value::as_array).map(Vec::as_slice);
    let found = match &source.split {
        Some(name) => rows(name).map(|rows| (name.as_str(), rows)),
        None => USUAL.iter().find_map(|&name| Some((name, rows(name).filter(|rows| !rows.is_empty())?))),
    };
    found.ok_or_else(|| {
        let sizes = |(name, rows): (&String, &Value)| format!("{name} ({})", rows.as_array().map_or(0, Vec::len));
        let splits: Vec<_> = json.as_object().into_iter().flatten().map(sizes).collect();
        let wanted = source.split.as_deref().unwrap_or("test1k or test with items");
        let listed = if splits.is_empty() { "none".to_owned() } else { splits.join(", ") };
        let shown = source.data.display();
        Error::input(format!("{shown}: has no split {wanted}, but {listed}; choose one with --split"))
    })
}
