//! A series split into the volumes that it holds.
//!
//! One SeriesInstanceUID may stand for several phases, echoes, kernels or acquisitions. Where places repeat, the first
//! mark decides that shares out what repeats: the slices at the fullest place all go to different volumes. A volume may
//! lack slices that another one has. InstanceNumber never decides: it may restart, or run on, in every phase, and then
//! a volume would be a patchwork.

use std::collections::BTreeMap;

use super::super::orientation::dot;
use super::marks::{IMAGE_TYPE, Kind, MARKS, seconds};
use super::series::{SAME_DIRECTION, SAME_PLACE_MM, Slice, even_line, is_typical, last_digit, normal_of};

/// Most shapes of one series that are looked at one by one.
const SHAPES_MAX: usize = 32;

/// A slice at its distance along the normal, mm.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    at: f64,
    slice: Slice<'a>,
}

/// The volumes of a series.
pub(crate) struct Split<'a> {
    pub(crate) volumes: Vec<Vec<Slice<'a>>>,
    /// Pictures among the slices that belong to no stack, such as localizers.
    pub(crate) odd: Vec<Slice<'a>>,
}

/// Splits `slices`, which are those of one series.
pub(crate) fn split<'a>(slices: Vec<Slice<'a>>) -> Split<'a> {
    let shapes = by_shape(&slices);
    let (stacks, others): (Vec<_>, Vec<_>) = shapes.into_iter().partition(|shape| is_several_places(shape));
    let fits = |slice: &Slice<'a>| stacks.iter().any(|stack| same_size(&stack[0], slice));
    let odd = |slice: &Slice<'a>| is_localizer(slice) || !fits(slice);
    if stacks.is_empty() || !others.iter().flatten().all(odd) {
        let mut volumes = Vec::new();
        separate(slices, &mut volumes);
        return Split { volumes, odd: Vec::new() };
    }
    let mut volumes = Vec::new();
    stacks.into_iter().for_each(|stack| separate(stack, &mut volumes));
    Split { volumes, odd: others.into_iter().flatten().collect() }
}

/// Whether a slice only shows where the others lie.
pub(crate) fn is_localizer(slice: &Slice<'_>) -> bool {
    slice.mark(IMAGE_TYPE).split('\\').any(|part| part == "LOCALIZER")
}

/// Whether two slices have as many rows and columns.
fn same_size(a: &Slice<'_>, b: &Slice<'_>) -> bool {
    (a.header.rows, a.header.columns) == (b.header.rows, b.header.columns)
}

/// Whether two slices have one size, direction and pixel spacing.
pub(crate) fn same_shape(a: &Slice<'_>, b: &Slice<'_>) -> bool {
    fn close<const N: usize>(a: Option<[f64; N]>, b: Option<[f64; N]>) -> bool {
        let near = |(x, y): (&f64, &f64)| (x - y).abs() <= SAME_DIRECTION * x.abs().max(1.0);
        a.zip(b).map_or(a.is_none() == b.is_none(), |(a, b)| a.iter().zip(&b).all(near))
    }
    same_size(a, b)
        && close(a.frame().orientation, b.frame().orientation)
        && close(a.frame().spacing, b.frame().spacing)
}

/// The slices of each shape, or all together where there are more shapes than a scanner makes.
fn by_shape<'a>(slices: &[Slice<'a>]) -> Vec<Vec<Slice<'a>>> {
    let mut shapes: Vec<Vec<Slice<'a>>> = Vec::new();
    for slice in slices {
        match shapes.iter().position(|shape| same_shape(&shape[0], slice)) {
            Some(shape) => shapes[shape].push(*slice),
            None if shapes.len() == SHAPES_MAX => return vec![slices.to_vec()],
            None => shapes.push(vec![*slice]),
        }
    }
    shapes
}

/// Whether slices of one shape lie at several places with even steps, each place taken once or more.
fn is_several_places(slices: &[Slice<'_>]) -> bool {
    placed(slices).is_some_and(|placed| {
        let mut places: Vec<f64> = placed.iter().map(|placed| placed.at).collect();
        places.dedup_by(|next, last| *next - *last < SAME_PLACE_MM);
        is_even(&places, last_digit(slices))
    })
}

/// Slices in order along their normal; `None` where one has no place, or another direction than the first.
fn placed<'a>(slices: &[Slice<'a>]) -> Option<Vec<Placed<'a>>> {
    let first = slices.first()?;
    let normal = normal_of(first.frame().orientation?)?;
    let place = |slice: &Slice<'a>| {
        let at = dot(&normal, &slice.frame().position?);
        same_shape(first, slice).then_some(Placed { at, slice: *slice })
    };
    let mut placed: Vec<Placed<'a>> = slices.iter().map(place).collect::<Option<_>>()?;
    placed.sort_by(|a, b| a.at.total_cmp(&b.at));
    Some(placed)
}

/// Adds the volumes that `slices` of one shape hold to `volumes`.
fn separate<'a>(slices: Vec<Slice<'a>>, volumes: &mut Vec<Vec<Slice<'a>>>) {
    match placed(&slices).and_then(|placed| parts(&placed)) {
        None => volumes.push(slices),
        Some(parts) => {
            parts.into_iter().for_each(|part| separate(part.iter().map(|placed| placed.slice).collect(), volumes))
        }
    }
}

/// The parts that differ in the first mark that separates volumes; `None` where there is one volume, or no such mark.
fn parts<'a>(placed: &[Placed<'a>]) -> Option<Vec<Vec<Placed<'a>>>> {
    let times = slices_at_fullest_place(placed);
    let firm =
        || (0..MARKS.len()).filter(|&mark| !MARKS[mark].kind.is_time()).filter_map(|mark| by_value(placed, mark));
    if times == 1 {
        // Places do not repeat, but two volumes may lie between each other's slices.
        return firm().find(|parts| parts.iter().all(|part| is_stack(part)) && overlap(parts));
    }
    let shares_out =
        |parts: &Vec<Vec<Placed<'a>>>| parts.iter().map(|part| slices_at_fullest_place(part)).sum::<usize>() == times;
    let timed = || (0..MARKS.len()).filter(|&mark| MARKS[mark].kind.is_time());
    firm()
        .find(shares_out)
        .or_else(|| firm().find(|parts| parts.iter().all(|part| is_stack(part))))
        .or_else(|| timed().filter_map(|mark| by_value(placed, mark)).find(shares_out))
        .or_else(|| timed().find_map(|mark| by_pauses(placed, mark, times)))
        .or_else(|| timed().find_map(|mark| by_rank(placed, mark, times)))
}

/// The most slices that lie at one place.
fn slices_at_fullest_place(placed: &[Placed<'_>]) -> usize {
    placed.chunk_by(|a, b| b.at - a.at < SAME_PLACE_MM).map(<[_]>::len).max().unwrap_or(0)
}

/// Whether every place is taken once, with even steps between them.
fn is_stack(placed: &[Placed<'_>]) -> bool {
    let slices: Vec<Slice<'_>> = placed.iter().map(|placed| placed.slice).collect();
    is_even(&placed.iter().map(|placed| placed.at).collect::<Vec<f64>>(), last_digit(&slices))
}

/// Whether there are two places or more, in even steps; `digit` is the last one that they are written in.
fn is_even(places: &[f64], digit: f64) -> bool {
    let steps: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let Some(&typical) = steps.first() else { return false };
    let apart = steps.iter().all(|&step| step >= SAME_PLACE_MM);
    apart && (steps.iter().all(|&step| is_typical(step, typical)) || even_line(places, digit).is_some())
}

/// Whether one part begins before another one ends.
fn overlap(parts: &[Vec<Placed<'_>>]) -> bool {
    let mut ranges: Vec<[f64; 2]> = parts.iter().map(|part| [part[0].at, part[part.len() - 1].at]).collect();
    ranges.sort_by(|a, b| a[0].total_cmp(&b[0]));
    ranges.windows(2).any(|pair| pair[1][0] < pair[0][1])
}

/// The slices of each value of a mark: numbers from the smallest, texts from the lowest InstanceNumber.
fn by_value<'a>(placed: &[Placed<'a>], mark: usize) -> Option<Vec<Vec<Placed<'a>>>> {
    let first = placed.first()?.slice.mark(mark);
    if placed.iter().all(|placed| placed.slice.mark(mark) == first) {
        return None;
    }
    let mut values: BTreeMap<&str, Vec<Placed<'a>>> = BTreeMap::new();
    for placed in placed {
        values.entry(placed.slice.mark(mark)).or_default().push(*placed);
    }
    let mut parts: Vec<(&str, Vec<Placed<'a>>)> = values.into_iter().collect();
    let number = |text: &str| match MARKS[mark].kind {
        Kind::Number => text.parse().unwrap_or(f64::NEG_INFINITY),
        Kind::Text => 0.0,
        kind => seconds(kind, text).unwrap_or(f64::NEG_INFINITY),
    };
    let instance = |part: &[Placed<'_>]| part.iter().map(|placed| placed.slice.header.identity.instance).min();
    parts.sort_by(|a, b| number(a.0).total_cmp(&number(b.0)).then_with(|| instance(&a.1).cmp(&instance(&b.1))));
    Some(parts.into_iter().map(|(_, part)| part).collect())
}

/// A slice and when it was taken, s.
type Timed<'a> = (f64, Placed<'a>);

/// All slices with their times, in the order of their places; `None` where one has no time.
fn timed<'a>(placed: &[Placed<'a>], mark: usize) -> Option<Vec<Timed<'a>>> {
    let time = |placed: &Placed<'a>| Some((seconds(MARKS[mark].kind, placed.slice.mark(mark))?, *placed));
    placed.iter().map(time).collect()
}

/// Cuts at the longest pauses into `times` volumes: each must be longer than any within a volume.
fn by_pauses<'a>(placed: &[Placed<'a>], mark: usize, times: usize) -> Option<Vec<Vec<Placed<'a>>>> {
    let mut timed = timed(placed, mark)?;
    timed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut pauses: Vec<f64> = timed.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    pauses.sort_by(|a, b| b.total_cmp(a));
    let shortest = *pauses.get(times - 2)?;
    if pauses.get(times - 1).is_some_and(|&next| next >= shortest) {
        return None;
    }
    let parts: Vec<Vec<Placed<'a>>> =
        timed.chunk_by(|a, b| b.0 - a.0 < shortest).map(|part| in_place_order(part.iter())).collect();
    parts.iter().all(|part| slices_at_fullest_place(part) == 1).then_some(parts)
}

/// The first slice in time of every place, the second of every place, and so on, where one such round ends before the
/// next one begins.
fn by_rank<'a>(placed: &[Placed<'a>], mark: usize, times: usize) -> Option<Vec<Vec<Placed<'a>>>> {
    let timed = timed(placed, mark)?;
    let mut rounds = vec![Vec::new(); times];
    for place in timed.chunk_by(|a, b| b.1.at - a.1.at < SAME_PLACE_MM) {
        let mut place = place.to_vec();
        place.sort_by(|a, b| a.0.total_cmp(&b.0));
        if place.len() != times {
            return None;
        }
        rounds.iter_mut().zip(place).for_each(|(round, timed)| round.push(timed));
    }
    let last = |round: &[Timed<'_>]| round.iter().map(|timed| timed.0).fold(f64::NEG_INFINITY, f64::max);
    let first = |round: &[Timed<'_>]| round.iter().map(|timed| timed.0).fold(f64::INFINITY, f64::min);
    let apart = rounds.windows(2).all(|pair| last(&pair[0]) < first(&pair[1]));
    apart.then(|| rounds.iter().map(|round| in_place_order(round.iter())).collect())
}

fn in_place_order<'a: 'b, 'b>(part: impl Iterator<Item = &'b Timed<'a>>) -> Vec<Placed<'a>> {
    let mut part: Vec<Placed<'a>> = part.map(|timed| timed.1).collect();
    part.sort_by(|a, b| a.at.total_cmp(&b.at));
    part
}
