//! The NIfTI-1 and NIfTI-2 header: parsed and checked before anything is allocated for it.
//!
//! Read here rather than with the `nifti` crate, which knows NIfTI-1 alone.

use super::Problem;
use super::grid::Affine;
use super::scalar::{Scalar, Scale};

/// What the header says, checked.
pub(crate) struct Header {
    pub(crate) version: u8,
    pub(crate) big_endian: bool,
    /// Header and voxels share one file.
    pub(crate) single_file: bool,
    /// x, y, z and, where there is more than one volume, the further axes.
    pub(crate) dims: Vec<u64>,
    pub(crate) scalar: Scalar,
    /// Where the voxels start in their file.
    pub(crate) data_offset: u64,
    pub(crate) scale: Scale,
    pub(crate) affine: Affine,
    pub(crate) notes: Vec<String>,
}

/// Bytes of a NIfTI-1 and of a NIfTI-2 header.
pub(crate) const HEADER_BYTES: [usize; 2] = [348, 540];

/// The version and byte order that the first four bytes declare.
pub(crate) fn sniff(bytes: &[u8]) -> Option<(u8, bool)> {
    let size: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    match (u32::from_le_bytes(size), u32::from_be_bytes(size)) {
        (348, _) => Some((1, false)),
        (_, 348) => Some((1, true)),
        (540, _) => Some((2, false)),
        (_, 540) => Some((2, true)),
        _ => None,
    }
}

/// Fields of the header, wherever the version puts them.
struct Fields<'a> {
    bytes: &'a [u8],
    version: u8,
    big_endian: bool,
}

impl Fields<'_> {
    /// `N` bytes at `offset`, least significant first. The header's size was checked, so they exist.
    fn at<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[offset..offset + N]);
        if self.big_endian {
            field.reverse();
        }
        field
    }

    /// A 16-bit whole number.
    fn i16(&self, offset: usize) -> i16 {
        i16::from_le_bytes(self.at(offset))
    }

    /// A 32-bit whole number.
    fn i32(&self, offset: usize) -> i32 {
        i32::from_le_bytes(self.at(offset))
    }

    /// Number `index` of the array of reals at `offset`: f32 in NIfTI-1, f64 in NIfTI-2.
    fn real(&self, offset: [usize; 2], index: usize) -> f64 {
        if self.version == 1 {
            f64::from(f32::from_le_bytes(self.at(offset[0] + 4 * index)))
        } else {
            f64::from_le_bytes(self.at(offset[1] + 8 * index))
        }
    }

    /// `dim[index]`.
    fn dim(&self, index: usize) -> i64 {
        if self.version == 1 {
            i64::from(self.i16(40 + 2 * index))
        } else {
            i64::from_le_bytes(self.at(16 + 8 * index))
        }
    }

    /// A code that is 16 bits in NIfTI-1 and 32 bits in NIfTI-2.
    fn code(&self, offset: [usize; 2]) -> i32 {
        if self.version == 1 { i32::from(self.i16(offset[0])) } else { self.i32(offset[1]) }
    }
}

/// Parses the header at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Result<Header, Problem> {
    let remedy = "give a NIfTI file written by a current tool";
    let (version, big_endian) =
        sniff(bytes).ok_or_else(|| Problem::new("is not a NIfTI file (its first number is not 348 or 540)", remedy))?;
    let header_bytes = HEADER_BYTES[usize::from(version) - 1];
    if bytes.len() < header_bytes {
        let finding = format!("ends after {} bytes, within its NIfTI header of {header_bytes}", bytes.len());
        return Err(Problem::cut_short(finding));
    }
    let fields = Fields { bytes, version, big_endian };
    let magic = if version == 1 { &bytes[344..348] } else { &bytes[4..8] };
    let single_file = match magic {
        b"n+1\0" | b"n+2\0" => true,
        b"ni1\0" | b"ni2\0" => false,
        // ANALYZE has a number there, of the smallest voxel or nothing.
        [first, ..] if !first.is_ascii_alphabetic() => {
            let finding = "is an ANALYZE 7.5 header, which does not say which side of the body is which";
            return Err(Problem::new(finding, "convert it to NIfTI with a tool that knows where it comes from"));
        }
        _ => {
            let finding = format!("has NIfTI magic {:?}, wanted \"n+1\" or \"ni1\"", magic.escape_ascii().to_string());
            return Err(Problem::new(finding, remedy));
        }
    };
    let dims = parse_dims(&fields)?;
    let scalar = parse_scalar(fields.i16(if version == 1 { 70 } else { 12 }))?;
    let mut notes = Vec::new();
    let bits = fields.i16(if version == 1 { 72 } else { 14 });
    if bits as i64 != 8 * scalar.size() as i64 {
        notes.push(format!("the header says {bits} bits per voxel; {} was read as its type code says", scalar.name()));
    }
    let data_offset = parse_offset(&fields, single_file, header_bytes as u64)?;
    let scale = parse_scale(&fields, &mut notes)?;
    let affine = parse_affine(&fields, &mut notes)?;
    Ok(Header { version, big_endian, single_file, dims, scalar, data_offset, scale, affine, notes })
}

/// The shape, trailing axes of length 1 dropped.
fn parse_dims(fields: &Fields<'_>) -> Result<Vec<u64>, Problem> {
    let remedy = "write the file again with a valid shape";
    let axes = fields.dim(0);
    if !(1..=7).contains(&axes) {
        return Err(Problem::new(format!("has {axes} axes (dim[0]), wanted 1 to 7"), remedy));
    }
    let dims: Vec<i64> = (1..=axes as usize).map(|axis| fields.dim(axis)).collect();
    if let Some(dim) = dims.iter().find(|&&dim| dim < 1) {
        return Err(Problem::new(format!("has shape {dims:?} with an axis of length {dim}"), remedy));
    }
    if axes < 2 {
        return Err(Problem::new(format!("has one axis (shape {dims:?}), wanted three"), "give a volume"));
    }
    let mut dims: Vec<u64> = dims.into_iter().map(|dim| dim as u64).collect();
    dims.resize(dims.len().max(3), 1);
    while dims.len() > 3 && dims.last() == Some(&1) {
        dims.pop();
    }
    Ok(dims)
}

/// The element type of a NIfTI datatype code.
fn parse_scalar(code: i16) -> Result<Scalar, Problem> {
    let what = match code {
        2 => return Ok(Scalar::U8),
        4 => return Ok(Scalar::I16),
        8 => return Ok(Scalar::I32),
        16 => return Ok(Scalar::F32),
        64 => return Ok(Scalar::F64),
        256 => return Ok(Scalar::I8),
        512 => return Ok(Scalar::U16),
        768 => return Ok(Scalar::U32),
        1024 => return Ok(Scalar::I64),
        1280 => return Ok(Scalar::U64),
        32 | 1792 | 2048 => "complex numbers",
        128 | 2304 => "colours",
        1536 => "128-bit floats",
        1 => "single bits",
        _ => "no known type",
    };
    let finding = format!("has datatype code {code} ({what}), wanted an integer or float type of 8 to 64 bits");
    Err(Problem::new(finding, "convert the voxels to float32 or int16"))
}

/// Where the voxels start.
fn parse_offset(fields: &Fields<'_>, single_file: bool, header_bytes: u64) -> Result<u64, Problem> {
    let offset = if fields.version == 1 {
        f64::from(f32::from_le_bytes(fields.at(108)))
    } else {
        i64::from_le_bytes(fields.at(168)) as f64
    };
    // Four bytes that announce extensions follow the header in a single file.
    let offset_min = if single_file { header_bytes + 4 } else { 0 };
    if offset.is_finite() && offset >= offset_min as f64 && offset <= 2f64.powi(53) {
        return Ok(offset as u64);
    }
    let finding = format!("says that its voxels start at byte {offset} (vox_offset), wanted {offset_min} or more");
    Err(Problem::new(finding, "write the file again with a valid vox_offset"))
}

/// `scl_slope` and `scl_inter`; a slope of 0 or NaN means none, as nibabel has it.
fn parse_scale(fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<Scale, Problem> {
    let slope = fields.real([112, 176], 0);
    let intercept = fields.real([116, 184], 0);
    if slope == 0.0 || !slope.is_finite() {
        if !slope.is_finite() {
            notes.push(format!("scl_slope is {slope}; the voxels were taken unscaled"));
        }
        return Ok(Scale::NONE);
    }
    if !intercept.is_finite() {
        let finding = format!("has scl_slope {slope} but scl_inter {intercept}");
        return Err(Problem::new(finding, "write the file again with a finite scl_inter"));
    }
    Ok(Scale { slope, intercept })
}

/// The step of each stored axis: sform, else qform, else pixdim with x to the left (nibabel's order of trust).
fn parse_affine(fields: &Fields<'_>, notes: &mut Vec<String>) -> Result<Affine, Problem> {
    let qform_code = fields.code([252, 344]);
    let sform_code = fields.code([254, 348]);
    let mut spacing_known = true;
    let pixdim = [1, 2, 3].map(|axis| {
        let step = fields.real([76, 104], axis).abs();
        if step > 0.0 {
            return step;
        }
        spacing_known = false;
        1.0
    });
    let sform = [0, 1, 2].map(|axis| [0, 1, 2].map(|world| fields.real([280, 400], 4 * world + axis)));
    let units = if fields.version == 1 { i32::from(fields.bytes[123]) } else { fields.i32(500) };
    let to_mm = match units & 7 {
        1 => 1000.0,
        3 => 0.001,
        _ => 1.0,
    };
    let in_mm = |columns: [[f64; 3]; 3], spacing_known: bool, origin: Option<[f64; 3]>| Affine {
        columns: columns.map(|column| column.map(|x| x * to_mm)),
        spacing_known,
        origin: origin.map(|origin| origin.map(|x| x * to_mm)).filter(|origin| origin.iter().all(|x| x.is_finite())),
    };
    if let Some(step) = [1, 2, 3].map(|axis| fields.real([76, 104], axis)).into_iter().find(|step| !step.is_finite()) {
        return Err(Problem::new(
            format!("has a voxel size (pixdim) of {step}"),
            "write the file again with a finite one",
        ));
    }
    if sform_code > 0 {
        if is_sound(&sform) {
            notes.extend(qform_conflict(fields, &sform, pixdim));
            let origin = [0, 1, 2].map(|world| fields.real([280, 400], 4 * world + 3));
            return Ok(in_mm(sform, true, Some(origin)));
        }
        let finding = format!("has a singular or non-finite sform ({sform:?})");
        return Err(Problem::new(
            finding,
            "write the file again with a valid sform, or with sform_code 0 and a valid qform",
        ));
    }
    if !spacing_known {
        notes.push("the voxel size (pixdim) is not positive, so spacing is unknown".to_owned());
    }
    if qform_code > 0 {
        let columns = qform_columns(fields, pixdim).filter(is_sound);
        let columns = columns.ok_or_else(|| {
            Problem::new("has a qform that is no rotation", "write the file again with a valid sform or qform")
        })?;
        let origin = [0, 1, 2].map(|world| fields.real([268, 376], world));
        return Ok(in_mm(columns, spacing_known, Some(origin)));
    }
    notes.push("no sform and no qform: x was taken to run to the left, y anterior and z superior".to_owned());
    let [x, y, z] = pixdim;
    Ok(in_mm([[-x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, z]], spacing_known, None))
}

/// A note where the qform shows another side of the body than the sform that was taken.
fn qform_conflict(fields: &Fields<'_>, sform: &[[f64; 3]; 3], pixdim: [f64; 3]) -> Option<String> {
    let axes = |columns: &[[f64; 3]; 3]| {
        Some(super::Orientation::closest(columns, super::SliceOrder::SuperiorFirst).ok()?.source_axes)
    };
    let qform_code = fields.code([252, 344]);
    let sform_code = fields.code([254, 348]);
    let qform = (qform_code > 0).then(|| qform_columns(fields, pixdim)).flatten()?;
    let taken = axes(sform)?;
    let other = axes(&qform)?;
    (taken != other).then(|| {
        format!(
            "the sform (code {sform_code}) says that the axes are {taken} and the qform (code {qform_code}) says \
             {other}: the sform was taken, and programs that take the qform show another side"
        )
    })
}

/// Whether the columns are finite and span space.
fn is_sound(columns: &[[f64; 3]; 3]) -> bool {
    super::Orientation::closest(columns, super::SliceOrder::SuperiorFirst).is_ok()
}

/// The rotation of the quaternion b, c, d, scaled by the voxel size; `pixdim[0] < 0` mirrors the third axis.
fn qform_columns(fields: &Fields<'_>, pixdim: [f64; 3]) -> Option<[[f64; 3]; 3]> {
    let [b, c, d] = [0, 1, 2].map(|index| fields.real([256, 352], index));
    let a_squared = 1.0 - (b * b + c * c + d * d);
    // nibabel's threshold: f32 rounding of a unit quaternion, with room.
    if !a_squared.is_finite() || a_squared < -3.0 * f64::from(f32::EPSILON) {
        return None;
    }
    let a = a_squared.max(0.0).sqrt();
    let mirror = if fields.real([76, 104], 0) < 0.0 { -1.0 } else { 1.0 };
    let [x, y, z] = pixdim;
    let z = z * mirror;
    Some([
        [a * a + b * b - c * c - d * d, 2.0 * (b * c + a * d), 2.0 * (b * d - a * c)].map(|e| e * x),
        [2.0 * (b * c - a * d), a * a + c * c - b * b - d * d, 2.0 * (c * d + a * b)].map(|e| e * y),
        [2.0 * (b * d + a * c), 2.0 * (c * d - a * b), a * a + d * d - b * b - c * c].map(|e| e * z),
    ])
}
