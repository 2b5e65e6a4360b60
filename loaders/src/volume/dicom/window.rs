//! The window that a DICOM series brings along: WindowCenter and WindowWidth.

use std::collections::HashMap;

use super::super::window::Window;
use super::dataset::{self as tag, Dataset, Tag};

/// The first window of a data set or of a frame's item; `None` where it is missing or cannot be one, such as a width of
/// 0. The file is read all the same, since the user can choose a window.
pub(crate) fn window_of(dataset: &Dataset<'_>) -> Option<Window> {
    let first = |tag: Tag| dataset.text(tag)?.split('\\').next()?.trim().parse::<f64>().ok();
    let width = first(tag::WINDOW_WIDTH).filter(|&width| width > 0.0)?;
    Window::around(first(tag::WINDOW_CENTER)?, width)
}

/// The window that most slices have; the first of several that are as frequent.
pub(crate) fn most_frequent(windows: impl Iterator<Item = Option<Window>>) -> Option<Window> {
    let windows: Vec<Window> = windows.flatten().collect();
    let key = |window: &Window| [window.lo(), window.hi()].map(f32::to_bits);
    let mut counts: HashMap<[u32; 2], usize> = HashMap::new();
    windows.iter().for_each(|window| *counts.entry(key(window)).or_default() += 1);
    let most = counts.values().copied().max()?;
    windows.into_iter().find(|window| counts[&key(window)] == most)
}
