//! Charts of characters, for a terminal.

/// Eighths of a character cell, from empty to full.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A column chart: `height` lines from the top, `width` characters per value; the largest value fills the height.
/// Values that are not above 0 show nothing.
pub fn columns(values: &[f32], height: usize, width: usize) -> Vec<String> {
    let largest = values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f32::max);
    let eighths = |value: f32| {
        if largest > 0.0 && value > 0.0 { (value / largest * (height * 8) as f32).round() as usize } else { 0 }
    };
    // One blank between wide columns keeps them apart.
    let filled = width - usize::from(width > 1);
    let gap = usize::from(width > 1);
    let line = |row: usize| {
        let below = (height - 1 - row) * 8;
        let cell = |value: f32| EIGHTHS[eighths(value).saturating_sub(below).min(8)].to_string();
        let line: String = values.iter().map(|&value| cell(value).repeat(filled) + &" ".repeat(gap)).collect();
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

/// One character for each score: the largest fills it, and none is empty, so that slices can be counted.
pub fn score_line(scores: &[f32]) -> String {
    let largest = scores.iter().copied().fold(0.0, f32::max);
    scores.iter().map(|score| EIGHTHS[((score / largest * 8.0).round() as usize).clamp(1, 8)]).collect()
}

/// The scores of all slices, the mean, and the slices that counted most, as lines of text.
pub fn score_chart(scores: &[f32], top: &[(usize, f32, [usize; 2])]) -> Vec<String> {
    let slices = scores.len();
    let highest = scores.iter().copied().fold(0.0, f32::max);
    let mut lines = vec![format!("slice scores (N = {slices}, mean 1/N = {:.4}):", 1.0 / slices.max(1) as f32)];
    let rows = columns(scores, 6, 2);
    let last = rows.len() - 1;
    lines.extend(rows.iter().enumerate().map(|(row, columns)| match row {
        0 => format!("{highest:>7.4} ┤{columns}"),
        row if row == last => format!("{:>7.4} ┤{columns}", 0.0),
        _ => format!("{:>7} │{columns}", ""),
    }));
    let labels: String = (0..slices).step_by(4).map(|slice| format!("{slice:<8}")).collect();
    lines.push(format!("{:>7}  {}", "slice", labels.trim_end()));
    for (slice, score, [first, last]) in top {
        lines.push(format!("  slice {slice:>2}: {score:.4}  (source slices {first} to {last})"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_fills_the_height() {
        assert_eq!(columns(&[1.0, 0.5, 0.0, 0.25], 2, 1), ["█", "██ ▄"]);
        assert_eq!(columns(&[2.0, 1.0], 1, 3), ["██ ▄▄"]);
        assert_eq!(columns(&[0.0, f32::NAN, -1.0], 1, 1), [""]);
    }

    #[test]
    fn a_line_has_a_mark_for_every_score() {
        assert_eq!(score_line(&[0.01, 0.4, 0.8, 0.2]), "▁▄█▂");
        assert_eq!(score_line(&[0.0, 0.0]), "▁▁");
    }

    #[test]
    fn a_score_chart_names_its_slices() {
        let lines = score_chart(&[0.25, 0.75], &[(1, 0.75, [3, 5])]);
        assert!(lines[0].contains("1/N = 0.5000") && lines[1].starts_with(" 0.7500 ┤  █"), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "  slice  1: 0.7500  (source slices 3 to 5)");
    }
}
