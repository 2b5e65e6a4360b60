//! What a header says about each frame: place, scale, and what tells it from frames of other volumes.

use super::super::Problem;
use super::super::scalar::Scale;
use super::super::window::Window;
use super::dataset::{self as tag, Dataset, Tag};
use super::image::PixelFormat;
use super::marks::{self, MARK_COUNT, MarkIds, Texts};
use super::padding::Padding;
use super::window::window_of;

/// Most frames of one file: NumberOfFrames of 16 bits. A frame costs up to 300 bytes here, so a file of 1x1 pixels must
/// not have more of them than scanners make.
pub(crate) const FRAMES_MAX: u64 = 65_535;

/// Where one frame lies and what its values mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    pub(crate) position: Option<[f64; 3]>,
    pub(crate) orientation: Option<[f64; 6]>,
    /// Distance between rows and between columns, mm.
    pub(crate) spacing: Option<[f64; 2]>,
    pub(crate) scale: Scale,
    /// Stored values that are no measurement.
    pub(crate) padding: Option<Padding>,
    /// The part of the intensities that is to be looked at.
    pub(crate) window: Option<Window>,
    marks: MarkIds,
}

/// The frames of a file.
#[derive(Debug, Clone)]
pub(crate) struct Frames {
    count: usize,
    /// What holds for every frame without a record of its own.
    shared: Frame,
    /// A record for every frame, or none at all.
    own: Vec<Frame>,
    /// Of several frames that have no places of their own.
    first: Option<First>,
    /// The texts that the marks of the frames point to.
    texts: Vec<String>,
}

/// What a classic file of several frames without places of their own says of these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    /// From one frame to the next: SpacingBetweenSlices, or SliceThickness, mm.
    pub(crate) step: Option<f64>,
}

impl First {
    fn read(dataset: &Dataset<'_>) -> Self {
        let number = |tag| dataset.decimals::<1>(tag).ok().flatten().map(|[number]| number.abs());
        let step = number(tag::SPACING_BETWEEN).or(number(tag::SLICE_THICKNESS)).filter(|&step| step > 0.0);
        Self { step }
    }
}

/// How many frames the file says it has.
pub(crate) fn count(dataset: &Dataset<'_>) -> Result<u64, Problem> {
    let Some(text) = dataset.text(tag::FRAMES) else { return Ok(1) };
    let count: u64 = text.parse().map_err(|_| {
        let finding = format!("has {:?} frames, wanted a number of 1 or more", tag::shown(&text));
        Problem::new(finding, "export the file again with its true number of frames")
    })?;
    // Writers of single pictures that fill in every element leave a 0 here.
    let count = count.max(1);
    if count > FRAMES_MAX {
        let finding = format!("has {count} frames, more than {FRAMES_MAX}");
        return Err(Problem::new(finding, "export the series in several files"));
    }
    Ok(count)
}

impl Frames {
    /// Reads the geometry and scale of `count` frames: each from its own functional group, the shared one, or the data
    /// set itself.
    pub(crate) fn read(dataset: &Dataset<'_>, count: usize, pixel: PixelFormat, is_ct: bool) -> Result<Self, Problem> {
        let groups = dataset.items(tag::FRAME_GROUPS);
        if !groups.is_empty() && groups.len() != count {
            let finding = format!("describes {} frames, but says it has {count}", groups.len());
            return Err(Problem::new(finding, "export the file again"));
        }
        let mut texts = Texts::new();
        let shared = shared_frame(dataset, count, Pixels { pixel, is_ct }, &mut texts);
        let own = groups.iter().map(|groups| own_frame(groups, &shared, Pixels { pixel, is_ct }, &mut texts));
        let own: Vec<Frame> = own.collect::<Result<_, _>>()?;
        // What the data set lacks may stand in every frame's own group, so it is missed only without those.
        let shared = if own.is_empty() { shared.frame()? } else { own[0] };
        let first = (count > 1 && own.is_empty()).then(|| First::read(dataset));
        Ok(Self { count, shared, own, first, texts: texts.into_texts() })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// What the file says of the places of its frames, where it has several without places of their own.
    pub(crate) fn first(&self) -> Option<First> {
        self.first
    }

    /// Geometry and scale of the frame at `index`.
    pub(crate) fn get(&self, index: usize) -> &Frame {
        self.own.get(index).unwrap_or(&self.shared)
    }

    /// What the frame at `index` says under `mark`; empty where it says nothing.
    pub(crate) fn mark(&self, index: usize, mark: usize) -> &str {
        &self.texts[self.get(index).marks[mark] as usize]
    }
}

/// What gives a stored number its meaning, the same for all frames.
#[derive(Clone, Copy)]
struct Pixels {
    pixel: PixelFormat,
    is_ct: bool,
}

/// What all frames share, each part parsed once; a part that cannot be read fails only if a frame needs it.
struct Shared {
    position: Result<Option<[f64; 3]>, Problem>,
    orientation: Result<Option<[f64; 6]>, Problem>,
    spacing: Result<Option<[f64; 2]>, Problem>,
    scale: Result<Scale, Problem>,
    padding: Option<Padding>,
    window: Option<Window>,
    marks: MarkIds,
}

impl Shared {
    /// A frame that has nothing of its own.
    fn frame(&self) -> Result<Frame, Problem> {
        Ok(Frame {
            position: self.position.clone()?,
            orientation: self.orientation.clone()?,
            spacing: self.spacing.clone()?,
            scale: self.scale.clone()?,
            padding: self.padding,
            window: self.window,
            marks: self.marks,
        })
    }
}

fn shared_frame(dataset: &Dataset<'_>, count: usize, kind: Pixels, texts: &mut Texts) -> Shared {
    let groups = dataset.items(tag::SHARED_GROUPS).first();
    let group = |sequence: Tag| groups.and_then(|groups| groups.items(sequence).first());
    // A frame of several has no place of its own in the data set's position, which is the first frame's.
    let position = match group(tag::PLANE_POSITION) {
        None if count > 1 => Ok(None),
        place => place.unwrap_or(dataset).decimals(tag::POSITION),
    };
    let transformation = group(tag::PIXEL_VALUE_TRANSFORMATION);
    let mut marks = [0; MARK_COUNT];
    marks::read_plain(dataset, texts, &mut marks);
    if let Some(groups) = groups {
        marks::read_groups(groups, texts, &mut marks);
    }
    Shared {
        position,
        orientation: group(tag::PLANE_ORIENTATION).unwrap_or(dataset).decimals(tag::ORIENTATION),
        spacing: group(tag::PIXEL_MEASURES).unwrap_or(dataset).decimals(tag::PIXEL_SPACING),
        scale: scale_of(transformation.unwrap_or(dataset), kind.is_ct),
        padding: Padding::of([transformation, groups, Some(dataset)].into_iter().flatten(), kind.pixel),
        window: window_of(group(tag::FRAME_VOI_LUT).unwrap_or(dataset)),
        marks,
    }
}

fn own_frame(groups: &Dataset<'_>, shared: &Shared, kind: Pixels, texts: &mut Texts) -> Result<Frame, Problem> {
    let group = |sequence: Tag| groups.items(sequence).first();
    let position = group(tag::PLANE_POSITION).map(|place| place.decimals(tag::POSITION));
    let orientation = group(tag::PLANE_ORIENTATION).map(|place| place.decimals(tag::ORIENTATION));
    let spacing = group(tag::PIXEL_MEASURES).map(|measures| measures.decimals(tag::PIXEL_SPACING));
    let transformation = group(tag::PIXEL_VALUE_TRANSFORMATION);
    let scale = transformation.map(|scale| scale_of(scale, kind.is_ct));
    let padding = Padding::of([Some(groups), transformation].into_iter().flatten(), kind.pixel);
    let window = group(tag::FRAME_VOI_LUT).map(window_of);
    let mut marks = shared.marks;
    marks::read_groups(groups, texts, &mut marks);
    Ok(Frame {
        position: position.unwrap_or_else(|| shared.position.clone())?,
        orientation: orientation.unwrap_or_else(|| shared.orientation.clone())?,
        spacing: spacing.unwrap_or_else(|| shared.spacing.clone())?,
        scale: scale.unwrap_or_else(|| shared.scale.clone())?,
        padding: padding.or(shared.padding),
        window: window.unwrap_or(shared.window),
        marks,
    })
}

/// Rescale slope and intercept; without them, a CT's values are not Hounsfield units.
fn scale_of(dataset: &Dataset<'_>, is_ct: bool) -> Result<Scale, Problem> {
    let slope = dataset.decimals::<1>(tag::RESCALE_SLOPE)?;
    let intercept = dataset.decimals::<1>(tag::RESCALE_INTERCEPT)?;
    if is_ct && (slope.is_none() || intercept.is_none()) {
        let finding = "is a CT without RescaleSlope and RescaleIntercept, so its values are not Hounsfield units";
        return Err(Problem::new(finding, "export the series again with both"));
    }
    let ([slope], [intercept]) = (slope.unwrap_or([1.0]), intercept.unwrap_or([0.0]));
    if slope == 0.0 {
        return Err(Problem::new("has a RescaleSlope of 0", "export the series again with its true slope"));
    }
    Ok(Scale { slope, intercept })
}
