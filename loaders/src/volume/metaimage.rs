//! MetaImage: a header of lines with the voxels behind it (.mha), or with their file beside it (.mhd).
//!
//! Read here: the header is a dozen lines of text, and no crate of the registry reads it.

use super::files::{Files, Stream};
use super::grid::{Affine, Grid, Start};
use super::header_text::{Fields, Lines, REWRITE, detached, number, odd, shown};
use super::packed::Source;
use super::scalar::{Scalar, Scale};
use super::{Parts, Problem, VolumeOptions};

/// Most axes that a file may have; the format's own bound is 10.
const AXES_MAX: usize = 10;

/// Fields of which one is the first of a header.
const FIRST_FIELDS: [&str; 8] =
    ["ObjectType", "ObjectSubType", "NDims", "Comment", "Name", "ID", "DimSize", "TransformType"];

/// Whether `start`, the first bytes of a file, begin a header.
pub(crate) fn sniff(start: &[u8]) -> bool {
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let name = line.split(|byte| *byte == b'=').next().filter(|name| name.len() < line.len());
    name.is_some_and(|name| FIRST_FIELDS.iter().any(|field| name.trim_ascii() == field.as_bytes()))
}

/// Reads a MetaImage file or the header of one.
pub(crate) fn read<F: Files + ?Sized>(files: &F, file: usize, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut lines = Lines::new(files.stream(file)?);
    let fields = read_fields(&mut lines)?;
    let grid = grid(&fields)?;
    let name = fields.need("ElementDataFile")?;
    if name.eq_ignore_ascii_case("LOCAL") {
        return read_voxels(&fields, grid, lines.rest(), options);
    }
    let voxels = detached(files, file, name, "save it as one .mha file")?;
    let blamed = voxels.name.clone();
    read_voxels(&fields, grid, voxels, options).map_err(|problem| problem.blame(blamed))
}

/// The fields of a header, to the one that says where the voxels are.
fn read_fields(lines: &mut Lines<'_>) -> Result<Fields, Problem> {
    let mut fields = Fields::default();
    while let Some(line) = lines.next()? {
        if line.trim().is_empty() {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| {
            Problem::new(format!("has the line {:?} in its header, wanted a name and \"=\"", shown(&line)), REWRITE)
        })?;
        let name = name.trim();
        // Comments may come several times.
        if name != "Comment" {
            fields.add(name.to_owned(), value)?;
        }
        if name == "ElementDataFile" {
            return Ok(fields);
        }
    }
    Err(Problem::cut_short("ends within its MetaImage header, which has no ElementDataFile"))
}

/// Reads the voxels that `fields` describe.
fn read_voxels(fields: &Fields, mut grid: Grid, stream: Stream<'_>, options: &VolumeOptions) -> Result<Parts, Problem> {
    let packed = truth(fields, &["CompressedData"])?.unwrap_or(false);
    let skip = fields.get("HeaderSize").unwrap_or("0");
    let skip: i64 = skip
        .parse()
        .ok()
        .filter(|&skip| skip >= -1)
        .ok_or_else(|| odd("HeaderSize", skip, "a whole number of 0 or more, or -1"))?;
    if packed {
        if skip != 0 {
            return Err(odd("HeaderSize", &skip.to_string(), "0 where the voxels are packed"));
        }
        grid.format.push_str(" (zlib)");
        return grid.read(Source::packed(stream)?, Start::At { byte: 0, consumed: 0 }, options);
    }
    let start = u64::try_from(skip).map_or(Start::BeforeEnd, |byte| Start::At { byte, consumed: 0 });
    grid.read(Source::plain(stream), start, options)
}

/// The grid that a header describes.
fn grid(fields: &Fields) -> Result<Grid, Problem> {
    let kind = fields.get("ObjectType").unwrap_or("Image");
    if !kind.eq_ignore_ascii_case("Image") {
        return Err(Problem::new(format!("is a MetaIO {:?}, not an image", shown(kind)), "give an image"));
    }
    if truth(fields, &["BinaryData"])? == Some(false) {
        return Err(Problem::new("stores its voxels as text (BinaryData = False)", "save it in binary form"));
    }
    let text = fields.need("NDims")?;
    let axes = text.parse().ok().filter(|axes| (1..=AXES_MAX).contains(axes));
    let axes = axes.ok_or_else(|| odd("NDims", text, "a whole number from 1 to 10"))?;
    let mut dims = fields.sizes("DimSize", axes)?;
    if axes < 3 {
        return Err(Problem::new(format!("has {axes} axes (DimSize {dims:?}), wanted three"), "give a volume"));
    }
    while dims.len() > 3 && dims.last() == Some(&1) {
        dims.pop();
    }
    let channels = fields.get("ElementNumberOfChannels").unwrap_or("1");
    if channels != "1" {
        let finding = format!("holds {} values for each voxel", shown(channels));
        return Err(Problem::new(finding, "save one of them as a volume of its own"));
    }
    let scalar = scalar(fields.need("ElementType")?)?;
    let big_endian = truth(fields, &["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])?.unwrap_or(false);
    let mut notes = Vec::new();
    let affine = affine(fields, axes, &mut notes)?;
    let order = if big_endian { "MetaImage, big-endian" } else { "MetaImage" };
    check_unscaled(fields)?;
    Ok(Grid { format: order.to_owned(), dims, scalar, big_endian, scale: Scale::NONE, affine, notes })
}

/// Directions and steps of the axes: line `i` of the matrix is the direction of axis `i`, x to the left, y posterior.
fn affine(fields: &Fields, axes: usize, notes: &mut Vec<String>) -> Result<Affine, Problem> {
    let several = |names: &[&str], count| -> Result<Option<Vec<f64>>, Problem> {
        let found = names.iter().map(|name| fields.numbers(name, count)).find(|found| !matches!(found, Ok(None)));
        found.unwrap_or(Ok(None))
    };
    let steps = several(&["ElementSpacing", "ElementSize"], axes)?;
    let steps = steps.filter(|steps| steps[..3].iter().all(|step| *step != 0.0));
    let step = |axis: usize| steps.as_ref().map_or(1.0, |steps| steps[axis].abs());
    let matrix = several(&["TransformMatrix", "Rotation", "Orientation"], axes * axes)?;
    let columns = match matrix {
        Some(matrix) => [0, 1, 2].map(|axis| {
            let [x, y, z] = [0, 1, 2].map(|world| matrix[axis * axes + world] * step(axis));
            [-x, -y, z]
        }),
        None => {
            notes.push(
                "the file does not say how the body lies (no TransformMatrix): x was taken to run to the left, y \
                 posterior and z superior"
                    .to_owned(),
            );
            [[-step(0), 0.0, 0.0], [0.0, -step(1), 0.0], [0.0, 0.0, step(2)]]
        }
    };
    let origin = several(&["Offset", "Position", "Origin"], axes)?.map(|at| [-at[0], -at[1], at[2]]);
    Ok(Affine { columns, spacing_known: steps.is_some(), origin })
}

/// Refuses a function from stored values to intensities: the format has one, and ITK, which most files come from and
/// are read with, leaves it out.
fn check_unscaled(fields: &Fields) -> Result<(), Problem> {
    for (name, plain) in [("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)] {
        if let Some(text) = fields.get(name).filter(|text| number(text) != Some(plain)) {
            let finding = format!("has {name} = {}, which some readers apply and others do not", shown(text));
            return Err(Problem::new(finding, "save the voxels with it applied"));
        }
    }
    Ok(())
}

/// The truth of the first field of these names.
fn truth(fields: &Fields, names: &[&str]) -> Result<Option<bool>, Problem> {
    let Some(text) = fields.any(names) else { return Ok(None) };
    match text.chars().next() {
        Some('T' | 't' | '1') => Ok(Some(true)),
        Some('F' | 'f' | '0') => Ok(Some(false)),
        _ => Err(odd(names[0], text, "True or False")),
    }
}

/// The element type that a name means; a "long" has 32 bits here.
fn scalar(name: &str) -> Result<Scalar, Problem> {
    Ok(match name {
        "MET_CHAR" => Scalar::I8,
        "MET_UCHAR" => Scalar::U8,
        "MET_SHORT" => Scalar::I16,
        "MET_USHORT" => Scalar::U16,
        "MET_INT" | "MET_LONG" => Scalar::I32,
        "MET_UINT" | "MET_ULONG" => Scalar::U32,
        "MET_LONG_LONG" => Scalar::I64,
        "MET_ULONG_LONG" => Scalar::U64,
        "MET_FLOAT" => Scalar::F32,
        "MET_DOUBLE" => Scalar::F64,
        _ => return Err(odd("ElementType", name, "an integer or float type of 8 to 64 bits, such as MET_SHORT")),
    })
}
