//! NRRD: a header of lines with the voxels behind it (.nrrd), or with their file beside it (.nhdr).
//!
//! Read here: the header is a page of text, and the `nrrd` crates of the registry read no `space`, which says how the
//! body lies.

use super::files::Files;
use super::grid::{Affine, Grid, Start};
use super::header_text::{Fields, Lines, REWRITE, detached, number, odd, shown};
use super::packed::Source;
use super::scalar::{Scalar, Scale};
use super::{Parts, Problem, VolumeOptions};

/// First bytes of every NRRD file.
pub(crate) const MAGIC: &[u8] = b"NRRD000";

/// Most axes that a file may have; the format's own bound.
const AXES_MAX: usize = 16;

/// Where the axes of space point that are said to be x, y and z of the body, in the signs of right, anterior, superior.
struct Space {
    signs: [f64; 3],
    notes: Vec<String>,
}

/// Reads an NRRD file or the header of one.
pub(crate) fn read<F: Files + ?Sized>(files: &F, file: usize, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut lines = Lines::new(files.stream(file)?);
    let fields = read_fields(&mut lines)?;
    let grid = grid(&fields)?;
    let Some(name) = fields.get("datafile") else {
        return read_voxels(&fields, grid, lines.rest(), options);
    };
    let voxels = detached(files, file, name, "save it as one .nrrd file")?;
    let blamed = voxels.name.clone();
    read_voxels(&fields, grid, voxels, options).map_err(|problem| problem.blame(blamed))
}

/// The fields of a header, to the empty line that ends it or the end of the file. Names go without case and blanks.
fn read_fields(lines: &mut Lines<'_>) -> Result<Fields, Problem> {
    let magic = lines.next()?.unwrap_or_default();
    if !matches!(magic.strip_prefix("NRRD000"), Some("1" | "2" | "3" | "4" | "5")) {
        let finding = format!("begins with {:?}, wanted NRRD0001 to NRRD0005", shown(&magic));
        return Err(Problem::new(finding, REWRITE));
    }
    let mut fields = Fields::default();
    let mut ended = false;
    while let Some(line) = lines.next()? {
        if line.is_empty() {
            ended = true;
            break;
        }
        if line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| {
            Problem::new(format!("has the line {:?} in its header, wanted a name and a colon", shown(&line)), REWRITE)
        })?;
        // "key:=value" is whatever the writer wanted to keep.
        if !value.starts_with('=') {
            let name = name.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_lowercase();
            fields.add(name, value)?;
        }
    }
    if !ended && fields.get("datafile").is_none() {
        return Err(Problem::cut_short("ends within its NRRD header"));
    }
    Ok(fields)
}

/// Reads the voxels that `fields` describe.
fn read_voxels(
    fields: &Fields,
    mut grid: Grid,
    mut stream: super::files::Stream<'_>,
    options: &VolumeOptions,
) -> Result<Parts, Problem> {
    let encoding = fields.need("encoding")?;
    if let Some(text) = fields.get("lineskip") {
        let count: u64 = text.parse().map_err(|_| odd("line skip", text, "a whole number of 0 or more"))?;
        let mut lines = Lines::new(stream);
        for line in 0..count {
            if lines.next()?.is_none() {
                return Err(Problem::cut_short(format!("has {line} lines, of which {count} are to be skipped")));
            }
        }
        stream = lines.rest();
    }
    let skip = fields.get("byteskip").unwrap_or("0");
    let skip: i64 = skip
        .parse()
        .ok()
        .filter(|&skip| skip >= -1)
        .ok_or_else(|| odd("byte skip", skip, "a whole number of 0 or more, or -1"))?;
    let source = match encoding.to_lowercase().as_str() {
        "raw" => Source::plain(stream),
        "gzip" | "gz" if skip >= 0 => Source::packed(stream)?,
        "gzip" | "gz" => return Err(odd("byte skip", "-1", "0 or more where the voxels are packed")),
        other => {
            let finding = format!("stores its voxels in the encoding {:?}, wanted raw or gzip", shown(other));
            return Err(Problem::new(finding, "save it again with one of those encodings"));
        }
    };
    if source.packed {
        grid.format.push_str(" (gzip)");
    }
    let start = u64::try_from(skip).map_or(Start::BeforeEnd, |byte| Start::At { byte, consumed: 0 });
    grid.read(source, start, options)
}

/// The grid that a header describes.
fn grid(fields: &Fields) -> Result<Grid, Problem> {
    let text = fields.need("dimension")?;
    let axes = text.parse().ok().filter(|axes| (1..=AXES_MAX).contains(axes));
    let axes = axes.ok_or_else(|| odd("dimension", text, "a whole number from 1 to 16"))?;
    let sizes = fields.sizes("sizes", axes)?;
    let scalar = scalar(fields.need("type")?)?;
    let big_endian = match fields.get("endian").map(str::to_lowercase).as_deref() {
        Some("little") => false,
        Some("big") => true,
        None if scalar.size() == 1 => false,
        None => return Err(Problem::new("does not say in which order its bytes are (\"endian\")", REWRITE)),
        Some(other) => return Err(odd("endian", other, "little or big")),
    };
    let Space { signs, mut notes } = space(fields);
    let directions = directions(fields, axes)?;
    let kept = axes_of_space(fields, &sizes, directions.as_deref())?;
    let dims = kept.dims(&sizes);
    let origin = origin(fields)?.map(|[x, y, z]| [x * signs[0], y * signs[1], z * signs[2]]);
    let affine = match &directions {
        Some(directions) => {
            let column = |axis: usize| directions[axis].unwrap_or_default();
            let columns = kept.space.map(column).map(|[x, y, z]| [x * signs[0], y * signs[1], z * signs[2]]);
            Affine { columns, spacing_known: true, origin }
        }
        None => {
            let spacings = spacings(fields, axes)?;
            let spacing_known = kept.space.iter().all(|&axis| spacings[axis].is_some());
            let [x, y, z] = kept.space.map(|axis| spacings[axis].unwrap_or(1.0));
            notes.clear();
            notes.push(
                "the file does not say how the body lies (no space directions): x was taken to run to the left, y \
                 posterior and z superior"
                    .to_owned(),
            );
            Affine { columns: [[-x, 0.0, 0.0], [0.0, -y, 0.0], [0.0, 0.0, z]], spacing_known, origin: None }
        }
    };
    let order = if big_endian { "NRRD, big-endian" } else { "NRRD" };
    Ok(Grid { format: order.to_owned(), dims, scalar, big_endian, scale: Scale::NONE, affine, notes })
}

/// Which axes are those of space, and which count volumes.
struct Axes {
    space: [usize; 3],
    volumes: Vec<usize>,
}

impl Axes {
    fn dims(&self, sizes: &[u64]) -> Vec<u64> {
        self.space.iter().chain(&self.volumes).map(|&axis| sizes[axis]).collect()
    }
}

/// The axes that have a direction; without directions, those whose kind is one of space or is not given.
fn axes_of_space(fields: &Fields, sizes: &[u64], directions: Option<&[Option<[f64; 3]>]>) -> Result<Axes, Problem> {
    let kinds: Vec<&str> = fields.get("kinds").unwrap_or_default().split_whitespace().collect();
    let is_space = |axis: usize| match directions {
        Some(directions) => directions[axis].is_some(),
        None => matches!(kinds.get(axis), None | Some(&("domain" | "space" | "none" | "???"))),
    };
    let all: Vec<usize> = (0..sizes.len()).filter(|&axis| is_space(axis)).collect();
    let &[x, y, z, ..] = &all[..] else {
        let finding = format!("has {} axes of space (sizes {sizes:?}), wanted three", all.len());
        return Err(Problem::new(finding, "give a volume"));
    };
    let others = |range: std::ops::Range<usize>| range.filter(|axis| ![x, y, z].contains(axis) && sizes[*axis] > 1);
    if let Some(axis) = others(0..z).next() {
        let kind = kinds.get(axis).map_or(String::new(), |kind| format!(", of kind {:?}", shown(kind)));
        let finding = format!("holds {} values for each voxel (axis {axis} of sizes {sizes:?}{kind})", sizes[axis]);
        return Err(Problem::new(finding, "save one of them as a volume of its own"));
    }
    Ok(Axes { space: [x, y, z], volumes: others(z + 1..sizes.len()).collect() })
}

/// The direction of each axis, `None` for one that is not of space; the first three coordinates.
fn directions(fields: &Fields, axes: usize) -> Result<Option<Vec<Option<[f64; 3]>>>, Problem> {
    let Some(text) = fields.get("spacedirections") else { return Ok(None) };
    let bad = || odd("space directions", text, "a vector of three numbers, or none, for each axis");
    let mut rest = text;
    let mut found = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("none") {
            found.push(None);
            rest = after.trim_start();
            continue;
        }
        let (vector, after) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(bad)?;
        let numbers: Option<Vec<f64>> = vector.split(',').map(|part| number(part.trim())).collect();
        match numbers.as_deref() {
            Some([x, y, z] | [x, y, z, _]) => found.push(Some([*x, *y, *z])),
            _ => return Err(bad()),
        }
        rest = after.trim_start();
    }
    if found.len() == axes { Ok(Some(found)) } else { Err(bad()) }
}

/// The centre of the first voxel, the first three coordinates.
fn origin(fields: &Fields) -> Result<Option<[f64; 3]>, Problem> {
    let Some(text) = fields.get("spaceorigin") else { return Ok(None) };
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or_default();
    let numbers: Option<Vec<f64>> = inner.split(',').map(|part| number(part.trim())).collect();
    match numbers.as_deref() {
        Some([x, y, z] | [x, y, z, _]) => Ok(Some([*x, *y, *z])),
        _ => Err(odd("space origin", text, "a vector of three numbers")),
    }
}

/// The step of each axis in mm, where it is known.
fn spacings(fields: &Fields, axes: usize) -> Result<Vec<Option<f64>>, Problem> {
    let Some(text) = fields.get("spacings") else { return Ok(vec![None; axes]) };
    let step = |text: &str| number(text).map(f64::abs).filter(|&step| step > 0.0);
    let steps: Vec<Option<f64>> = text.split_whitespace().map(step).collect();
    if steps.len() == axes { Ok(steps) } else { Err(odd("spacings", text, "a number for each axis")) }
}

/// What the axes of space mean.
fn space(fields: &Fields) -> Space {
    let name = fields.get("space").unwrap_or_default().to_lowercase();
    let name = name.strip_suffix("-time").or(name.strip_suffix('t')).unwrap_or(&name);
    let signs = match name {
        "right-anterior-superior" | "ras" => [1.0, 1.0, 1.0],
        "left-anterior-superior" | "las" => [-1.0, 1.0, 1.0],
        "left-posterior-superior" | "lps" => [-1.0, -1.0, 1.0],
        _ => {
            let note = "the file does not say what its axes of space mean (\"space\"): x was taken to run to the left, \
                        y posterior and z superior";
            return Space { signs: [-1.0, -1.0, 1.0], notes: vec![note.to_owned()] };
        }
    };
    Space { signs, notes: Vec::new() }
}

/// The element type that a name means.
fn scalar(name: &str) -> Result<Scalar, Problem> {
    let words = name.to_lowercase();
    Ok(match words.split_whitespace().collect::<Vec<&str>>().join(" ").as_str() {
        "signed char" | "int8" | "int8_t" => Scalar::I8,
        "uchar" | "unsigned char" | "uint8" | "uint8_t" => Scalar::U8,
        "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => Scalar::I16,
        "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Scalar::U16,
        "int" | "signed int" | "int32" | "int32_t" => Scalar::I32,
        "uint" | "unsigned int" | "uint32" | "uint32_t" => Scalar::U32,
        "longlong"
        | "long long"
        | "long long int"
        | "signed long long"
        | "signed long long int"
        | "int64"
        | "int64_t" => Scalar::I64,
        "ulonglong" | "unsigned long long" | "unsigned long long int" | "uint64" | "uint64_t" => Scalar::U64,
        "float" => Scalar::F32,
        "double" => Scalar::F64,
        _ => return Err(odd("type", name, "an integer or float type of 8 to 64 bits")),
    })
}
