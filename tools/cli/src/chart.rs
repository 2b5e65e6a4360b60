//! `--scores`: the bar chart of how much each slice counted.

use plotters::prelude::{ChartBuilder, Color, IntoFont, PathElement, RGBColor, Rectangle, Text, WHITE};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::canvas::{self, FONT};
use crate::failure::Result;

const SIZE: [u32; 2] = [1000, 520];
const BAR: RGBColor = RGBColor(143, 176, 214);
const TOP_BAR: RGBColor = RGBColor(31, 90, 153);
const MEAN: RGBColor = RGBColor(200, 62, 47);
const INK: RGBColor = RGBColor(40, 44, 52);
const GRID: RGBColor = RGBColor(228, 231, 236);
/// Bars that are set off.
const SET_OFF: usize = 3;
/// Room for the mean's label.
const RIGHT_MARGIN: i32 = 104;
/// Most characters of the question in the title.
const TITLE_CHARS: usize = 90;

/// Draws the scores of all slices, with the mean 1/N as a dashed line, as a PNG.
pub fn scores_png(scores: &[f32], question: &str) -> Result<Vec<u8>> {
    let slices = scores.len() as f32;
    let mean = 1.0 / slices;
    let highest = scores.iter().copied().fold(mean, f32::max) * 1.18;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let top = &order[..SET_OFF.min(order.len())];
    canvas::png(SIZE, |area| {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .margin(18)
            .margin_right(RIGHT_MARGIN)
            .caption(title(question), (FONT, 22).into_font().color(&INK))
            .x_label_area_size(52)
            .y_label_area_size(78)
            .build_cartesian_2d(-0.5..slices - 0.5, 0.0..highest)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(GRID)
            .axis_style(INK)
            .label_style((FONT, 17).into_font().color(&INK))
            .axis_desc_style((FONT, 19).into_font().color(&INK))
            .x_desc("slice, as the model sees the volume")
            .y_desc("score")
            .x_labels(scores.len().min(17))
            .x_label_formatter(&|slice| format!("{slice:.0}"))
            .y_labels(6)
            .y_label_formatter(&|score| decimals(*score, highest))
            .draw()?;
        chart.draw_series(scores.iter().enumerate().map(|(slice, &score)| {
            let middle = slice as f32;
            let color = if top.contains(&slice) { TOP_BAR } else { BAR };
            Rectangle::new([(middle - 0.38, 0.0), (middle + 0.38, score)], color.filled())
        }))?;
        chart.draw_series((0..scores.len() * 2).map(|dash| {
            let from = dash as f32 / 2.0 - 0.5;
            PathElement::new([(from, mean), (from + 0.3, mean)], MEAN.stroke_width(2))
        }))?;
        let text = |color: &RGBColor, horizontal, vertical| {
            (FONT, 17).into_font().color(color).pos(Pos::new(horizontal, vertical))
        };
        if let Some(&slice) = top.first() {
            let place = (slice as f32, scores[slice] + highest * 0.01);
            let label = text(&TOP_BAR, HPos::Center, VPos::Bottom);
            chart.draw_series([Text::new(format!("{:.4}", scores[slice]), place, label)])?;
        }
        // The mean's label stands in the right margin, where no bar can hide it.
        let (x, y) = chart.backend_coord(&(slices - 0.5, mean));
        area.draw_text(&format!("mean 1/{}", scores.len()), &text(&MEAN, HPos::Left, VPos::Bottom), (x + 8, y))?;
        area.draw_text(&format!("= {mean:.4}"), &text(&MEAN, HPos::Left, VPos::Top), (x + 8, y + 2))?;
        Ok::<(), Box<dyn std::error::Error>>(())
    })
}

/// Enough decimals to tell the lines of the axis apart.
fn decimals(value: f32, highest: f32) -> String {
    if highest < 0.02 { format!("{value:.4}") } else { format!("{value:.3}") }
}

fn title(question: &str) -> String {
    let words = question.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(TITLE_CHARS) {
        Some((cut, _)) => format!("{}…", words[..cut].trim_end()),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_between_characters() {
        assert_eq!(title(" What\nis  it? "), "What is it?");
        let long = "é".repeat(200);
        assert_eq!(title(&long).chars().count(), TITLE_CHARS + 1);
    }

    #[test]
    fn draws_any_number_of_slices() {
        for slices in [1, 16, 32, 300] {
            let scores = vec![1.0 / slices as f32; slices];
            let png = scores_png(&scores, "Why?").unwrap();
            let picture = image::load_from_memory(&png).unwrap();
            assert_eq!([picture.width(), picture.height()], SIZE);
        }
    }
}
