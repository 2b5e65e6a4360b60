//! `--montage`: all slices of a prepared volume on one sheet, numbered.

use plotters::prelude::{IntoFont, RGBColor, Rectangle};
use plotters::style::Color;

use crate::canvas::{self, Area, FONT};
use crate::failure::{Failure, Result};

/// Tiles side by side.
const COLUMNS: usize = 8;
/// Longest side of a tile, in pixels.
const TILE_MAX: usize = 192;
const GAP: usize = 4;
const BACKGROUND: RGBColor = RGBColor(24, 26, 30);
const NUMBER: RGBColor = RGBColor(255, 214, 102);
const TOP_FRAME: RGBColor = RGBColor(255, 150, 40);
/// Slices that get a frame where scores are known.
const FRAMED: usize = 3;
/// Most pixels of a sheet; a volume of any size fits after shrinking its tiles.
const PIXELS_MAX: usize = 64 << 20;

/// Draws slices of values within 0..1 as a PNG. With `scores`, each slice shows its own and the highest are framed.
pub fn montage_png(voxels: &[f32], dims: [usize; 3], scores: Option<&[f32]>) -> Result<Vec<u8>> {
    let [slices, rows, columns] = dims;
    let tile_rows = slices.div_ceil(COLUMNS);
    let mut longest = TILE_MAX;
    while longest > 16 && longest * longest * slices > PIXELS_MAX {
        longest /= 2;
    }
    let scale = longest as f32 / rows.max(columns) as f32;
    let side = |size: usize| ((size as f32 * scale).round() as usize).max(1);
    let height = side(rows);
    let width = side(columns);
    let sheet = [COLUMNS.min(slices) * (width + GAP) + GAP, tile_rows * (height + GAP) + GAP];
    let [Ok(sheet_width), Ok(sheet_height)] = sheet.map(u32::try_from) else {
        return Err(Failure::runtime(format!("{slices} slices are too many for one picture; give a smaller volume")));
    };
    let framed = scores.map(highest).unwrap_or_default();
    canvas::png([sheet_width, sheet_height], |area| {
        area.fill(&BACKGROUND)?;
        for slice in 0..slices {
            let left = (GAP + slice % COLUMNS * (width + GAP)) as i32;
            let top = (GAP + slice / COLUMNS * (height + GAP)) as i32;
            let plane = &voxels[slice * rows * columns..][..rows * columns];
            tile(area, [top, left], plane, [rows, columns], [height, width])?;
            let shown = [(left, top), (left + width as i32 - 1, top + height as i32 - 1)];
            if framed.contains(&slice) {
                for inset in 0..3 {
                    let [(x0, y0), (x1, y1)] = shown;
                    let corners = [(x0 + inset, y0 + inset), (x1 - inset, y1 - inset)];
                    area.draw(&Rectangle::new(corners, TOP_FRAME))?;
                }
            }
            let text = match scores {
                Some(scores) => format!("{slice}  {:.3}", scores[slice]),
                None => slice.to_string(),
            };
            caption(area, &text, [left + 5, top + 4])?;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })
}

/// The slices with the highest scores.
fn highest(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(FRAMED);
    order
}

/// One slice, shrunk by averaging or enlarged by repetition.
fn tile(
    area: &Area<'_>,
    [top, left]: [i32; 2],
    plane: &[f32],
    [rows, columns]: [usize; 2],
    [height, width]: [usize; 2],
) -> Result<(), Box<dyn std::error::Error>> {
    let span = |index: usize, from: usize, to: usize| {
        let first = index * from / to;
        (first, ((index + 1) * from).div_ceil(to).max(first + 1).min(from))
    };
    for y in 0..height {
        let (row_first, row_end) = span(y, rows, height);
        for x in 0..width {
            let (column_first, column_end) = span(x, columns, width);
            let block = (row_first..row_end).flat_map(|row| &plane[row * columns..][column_first..column_end]);
            let count = (row_end - row_first) * (column_end - column_first);
            let mean = block.sum::<f32>() / count as f32;
            let grey = (mean.clamp(0.0, 1.0) * 255.0).round() as u8;
            area.draw_pixel((left + x as i32, top + y as i32), &RGBColor(grey, grey, grey))?;
        }
    }
    Ok(())
}

/// A number on a dark ground, so that it can be read on white and on black.
fn caption(area: &Area<'_>, text: &str, [left, top]: [i32; 2]) -> Result<(), Box<dyn std::error::Error>> {
    let style = (FONT, 17).into_font().color(&NUMBER);
    let (width, height) = area.estimate_text_size(text, &style)?;
    let corners = [(left - 3, top - 2), (left + width as i32 + 3, top + height as i32 + 2)];
    area.draw(&Rectangle::new(corners, BACKGROUND.mix(0.65).filled()))?;
    area.draw_text(text, &style, (left, top))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_all_slices_in_their_place() {
        // Slice 9 is white, the others black: it lies in the second row, second column.
        let dims = [10, 20, 40];
        let mut voxels = vec![0.0; 10 * 20 * 40];
        voxels[9 * 800..].fill(1.0);
        let picture = image::load_from_memory(&montage_png(&voxels, dims, None).unwrap()).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (8 * (192 + 4) + 4, 2 * (96 + 4) + 4));
        let centre = |row: u32, column: u32| picture.get_pixel(4 + column * 196 + 96, 4 + row * 100 + 80).0;
        assert_eq!(centre(1, 1), [255; 3]);
        assert_eq!(centre(0, 1), [0; 3]);
        assert_eq!(centre(1, 0), [0; 3]);
    }

    #[test]
    fn scores_frame_the_highest() {
        assert_eq!(highest(&[0.1, 0.4, 0.1, 0.3, 0.1]), [1, 3, 0]);
        assert!(montage_png(&[0.5; 2 * 3 * 3], [2, 3, 3], Some(&[0.5, 0.5])).is_ok());
    }
}
