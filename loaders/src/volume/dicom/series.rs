//! Frames put together into stacks: one series, one orientation, one size, evenly spaced.

use super::super::orientation::{cross, dot, norm};
use super::super::{Problem, VolumeOptions};
use super::frames::{First, Frame};
use super::image::Header;

/// One frame of one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice<'a> {
    /// Place of the file among all files.
    pub(crate) file: usize,
    /// Place of the frame in its file.
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) header: &'a Header,
}

impl<'a> Slice<'a> {
    /// Geometry and scale.
    pub(crate) fn frame(&self) -> &Frame {
        self.header.frames.get(self.index)
    }

    /// What the frame says under the mark at this place of the list of marks; empty where it says nothing.
    pub(crate) fn mark(&self, mark: usize) -> &'a str {
        self.header.frames.mark(self.index, mark)
    }
}

/// Slices in order along the normal of their planes.
pub(crate) struct Stack<'a> {
    pub(crate) slices: Vec<Slice<'a>>,
    /// Step of columns, rows and slices in RAS coordinates, mm; `None` where the file says nothing about them.
    pub(crate) columns: Option<[[f64; 3]; 3]>,
    /// Whether the lengths of `columns` are known.
    pub(crate) spacing_known: bool,
    pub(crate) notes: Vec<String>,
}

/// Positions closer than this are the same place; scanners do not step by a hundredth of a millimetre.
pub(crate) const SAME_PLACE_MM: f64 = 0.01;

/// Direction cosines further apart than this are another orientation: 0.06 degrees.
pub(crate) const SAME_DIRECTION: f64 = 1e-3;

/// What is done about a series that is no stack.
const ONE_STACK: &str = "give a folder that holds only the slices of one stack";

/// Row direction crossed with column direction, where they are unit vectors at right angles.
pub(crate) fn normal_of(orientation: [f64; 6]) -> Option<[f64; 3]> {
    let (row, column) = directions(orientation);
    let square =
        [dot(&row, &row) - 1.0, dot(&column, &column) - 1.0, dot(&row, &column)].iter().all(|x| x.abs() < 1e-2);
    square.then(|| cross(&row, &column))
}

/// Direction along a row and along a column.
fn directions([a, b, c, d, e, f]: [f64; 6]) -> ([f64; 3], [f64; 3]) {
    ([a, b, c], [d, e, f])
}

/// Checks that `slices` are one stack and puts them in order.
pub(crate) fn stack<'a>(mut slices: Vec<Slice<'a>>, options: &VolumeOptions) -> Result<Stack<'a>, Problem> {
    same_everywhere(&slices)?;
    let mut notes = Vec::new();
    let first = *slices[0].frame();
    let positions = slices.iter().filter(|slice| slice.frame().position.is_some()).count();
    if first.orientation.is_none() || positions < slices.len() {
        let one_file = slices.iter().all(|slice| slice.file == slices[0].file);
        if let (true, 0, Some(first)) = (one_file, positions, slices[0].header.frames.first())
            && let Some(stack) = along_normal(&slices, first)
        {
            return Ok(stack);
        }
        if one_file && positions == 0 || slices.len() == 1 {
            notes.push("the file does not say how the body lies; slices, rows and columns were kept as stored".into());
            return Ok(Stack { slices, columns: None, spacing_known: false, notes });
        }
        let odd = slices.iter().find(|slice| slice.frame().position.is_none()).unwrap_or(&slices[0]);
        let finding = "has no ImagePositionPatient or ImageOrientationPatient, so its place in the stack is unknown";
        return Err(Problem::new(finding, ONE_STACK).blame(odd.name));
    }
    let orientation = first.orientation.unwrap_or_default();
    let normal = normal_of(orientation).ok_or_else(|| {
        let finding =
            format!("has an ImageOrientationPatient that is no pair of directions at right angles ({orientation:?})");
        Problem::new(finding, "export the series again").blame(slices[0].name)
    })?;
    let place = |slice: &Slice<'_>| slice.frame().position.unwrap_or_default();
    slices.sort_by(|a, b| dot(&normal, &place(a)).total_cmp(&dot(&normal, &place(b))));
    let distances: Vec<f64> = slices.iter().map(|slice| dot(&normal, &place(slice))).collect();
    let typical = even_steps(&slices, &distances, options, &mut notes)?;
    let step = step_of(&slices, &distances, normal, typical, &mut notes)?;

    let spacing_known = first.spacing.is_some() && (slices.len() > 1 || slices[0].header.thickness.is_some());
    let [between_rows, between_columns] = first.spacing.unwrap_or([1.0; 2]);
    let (row, column) = directions(orientation);
    let to_ras = |[x, y, z]: [f64; 3]| [-x, -y, z];
    let columns = [row.map(|x| x * between_columns), column.map(|x| x * between_rows), step].map(to_ras);
    Ok(Stack { slices, columns: Some(columns), spacing_known, notes })
}

/// Size, orientation and pixel spacing are the same in all slices; the odd one out is named.
fn same_everywhere(slices: &[Slice<'_>]) -> Result<(), Problem> {
    /// Compares numbers of all slices with those of the rule.
    fn check<'a, const N: usize>(
        slices: &[Slice<'a>],
        what: &str,
        of: impl Fn(&Slice<'a>) -> Option<[f64; N]>,
    ) -> Result<(), Problem> {
        let same = |a: &Slice<'a>, b: &Slice<'a>| match (of(a), of(b)) {
            (Some(a), Some(b)) => a.iter().zip(&b).all(|(x, y)| (x - y).abs() <= SAME_DIRECTION * x.abs().max(1.0)),
            (a, b) => a.is_none() == b.is_none(),
        };
        // The first slice is the rule if the second agrees with it, else the middle one is.
        let agreed = slices.len() < 2 || same(&slices[0], &slices[1]);
        let rule = &slices[if agreed { 0 } else { slices.len() / 2 }];
        let show = |slice: &Slice<'a>| {
            of(slice).map_or("none".to_owned(), |n| format!("[{}]", n.map(|x| x.to_string()).join(", ")))
        };
        match slices.iter().find(|slice| !same(slice, rule)) {
            None => Ok(()),
            Some(odd) => {
                let finding = format!("has {what} {}, but {} has {}", show(odd), rule.name, show(rule));
                Err(Problem::new(finding, ONE_STACK).blame(odd.name))
            }
        }
    }
    check(slices, "rows and columns", |s| Some([f64::from(s.header.rows), f64::from(s.header.columns)]))?;
    check(slices, "orientation", |slice| slice.frame().orientation)?;
    check(slices, "pixel spacing", |slice| slice.frame().spacing)
}

/// Checks the distances between neighbours against their median, which is returned.
fn even_steps(
    slices: &[Slice<'_>],
    distances: &[f64],
    options: &VolumeOptions,
    notes: &mut Vec<String>,
) -> Result<f64, Problem> {
    let steps: Vec<f64> = distances.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if let Some(twice) = steps.iter().position(|&step| step < SAME_PLACE_MM) {
        return Err(same_place(&slices[twice], &slices[twice + 1]));
    }
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let typical = sorted.get(sorted.len() / 2).copied().unwrap_or(1.0);
    let uneven = steps.iter().position(|&step| !is_typical(step, typical));
    if let Some(gap) = uneven {
        if let Some(step) = even_line(distances, last_digit(slices)) {
            return Ok(step);
        }
        let from = slices[gap].name;
        let to = slices[gap + 1].name;
        let what = format!("slices are {typical:.3} mm apart, but {:.3} mm between {from} and {to}", steps[gap]);
        if !options.allow_gaps {
            let remedy = "add the missing slices, or accept the gap with --allow-gaps";
            return Err(Problem::new(format!("is not one even stack: {what}"), remedy));
        }
        notes.push(what);
    }
    Ok(typical)
}

/// The frames of a classic file, which gives the direction of rows and columns, the place of one frame and the distance
/// to the next: they are taken to lie along the normal, one behind the other. `None` where directions are missing.
fn along_normal<'a>(slices: &[Slice<'a>], first: First) -> Option<Stack<'a>> {
    let frame = slices[0].frame();
    let orientation = frame.orientation?;
    let normal = normal_of(orientation)?;
    let (row, column) = directions(orientation);
    let [between_rows, between_columns] = frame.spacing.unwrap_or([1.0; 2]);
    let step = normal.map(|x| x * first.step.unwrap_or(1.0));
    let to_ras = |[x, y, z]: [f64; 3]| [-x, -y, z];
    let columns = [row.map(|x| x * between_columns), column.map(|x| x * between_rows), step].map(to_ras);
    let note = "the file gives the direction of rows and columns and no place for each frame: that the frames follow \
                each other along the normal is a guess, look at them with --montage";
    Some(Stack {
        slices: slices.to_vec(),
        columns: Some(columns),
        spacing_known: frame.spacing.is_some() && first.step.is_some(),
        notes: vec![note.to_owned()],
    })
}

/// The last digit in which positions are written, mm: 0.01 where they have two behind the point.
pub(crate) fn last_digit(slices: &[Slice<'_>]) -> f64 {
    const DIGITS_MAX: i32 = 6;
    let is_whole = |number: f64| (number - number.round()).abs() < 1e-6 * number.abs().max(1.0);
    let written = |digits: i32| {
        let scale = 10f64.powi(digits);
        slices.iter().filter_map(|slice| slice.frame().position).flatten().all(|x| is_whole(x * scale))
    };
    10f64.powi(-(0..DIGITS_MAX).find(|&digits| written(digits)).unwrap_or(DIGITS_MAX))
}

/// Most of a step that rounded positions may be off: a slice that is missing among three moves them by a fifth.
const ROUNDING_MAX: f64 = 0.15;

/// The step of the best even line through places in rising order, where each place is as near to it as its last digit
/// `digit` allows.
pub(crate) fn even_line(places: &[f64], digit: f64) -> Option<f64> {
    // Least squares of place on number.
    let count = places.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = places.iter().sum::<f64>() / count;
    let numbered = || places.iter().enumerate().map(|(number, place)| (number as f64 - middle, place - mean));
    let step = numbered().map(|(number, place)| number * place).sum::<f64>()
        / numbered().map(|(number, _)| number * number).sum::<f64>();
    let allowed = digit.min(ROUNDING_MAX * step) + 1e-6;
    numbered().all(|(number, place)| (place - step * number).abs() <= allowed).then_some(step)
}

/// Two slices at one place, which `split` could not put into different volumes.
fn same_place(first: &Slice<'_>, second: &Slice<'_>) -> Problem {
    let uid = |slice: &Slice<'_>| slice.header.identity.instance_uid.clone();
    let why = if uid(first).is_some() && uid(first) == uid(second) && first.file != second.file {
        "has its SOPInstanceUID and other contents"
    } else {
        "no acquisition, temporal position, echo, kernel or time puts them into different volumes"
    };
    let finding = format!("is at the same place as {}, and {why}", first.name);
    Problem::new(finding, "remove one of the two, or give a folder for each volume").blame(second.name)
}

/// Whether steps from slice to slice are the same, to 1 % of `typical`.
pub(crate) fn is_typical(step: f64, typical: f64) -> bool {
    (step - typical).abs() <= 0.01 * typical
}

/// The step from slice to slice; slices may shift evenly (a tilted gantry), but not jump sideways.
fn step_of(
    slices: &[Slice<'_>],
    distances: &[f64],
    normal: [f64; 3],
    typical: f64,
    notes: &mut Vec<String>,
) -> Result<[f64; 3], Problem> {
    let (Some(first), Some(last)) = (slices.first(), slices.last()) else { return Ok(normal) };
    if slices.len() == 1 {
        let thickness = first.header.thickness.filter(|&thickness| thickness > 0.0).unwrap_or(1.0);
        return Ok(normal.map(|x| x * thickness));
    }
    let place = |slice: &Slice<'_>| slice.frame().position.unwrap_or_default();
    let from = place(first);
    let to = place(last);
    let travel = [0, 1, 2].map(|axis| to[axis] - from[axis]);
    let length = distances[slices.len() - 1] - distances[0];
    // Half a pixel sideways cannot be seen; without a spacing, half a step.
    let sideways_max = first.frame().spacing.map_or(typical, |[rows, columns]| rows.max(columns)) / 2.0;
    for (slice, distance) in slices.iter().zip(distances) {
        let along = (distance - distances[0]) / length;
        let at = place(slice);
        let sideways = norm(&[0, 1, 2].map(|axis| at[axis] - from[axis] - travel[axis] * along));
        if sideways > sideways_max {
            let finding = format!("lies {sideways:.2} mm beside the line of the other slices");
            return Err(Problem::new(finding, ONE_STACK).blame(slice.name));
        }
    }
    let tilt = (length / norm(&travel)).clamp(-1.0, 1.0).acos().to_degrees();
    if tilt >= 0.5 {
        notes.push(format!("the gantry is tilted by {tilt:.1} degrees; slices were stacked as they are, sheared"));
    }
    Ok(travel.map(|x| x * typical / length))
}
