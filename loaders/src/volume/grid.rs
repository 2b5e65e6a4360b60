//! A grid of voxels in one stream, as the headers of NIfTI, NRRD and MetaImage describe it.

use super::identity::slices_of_grid;
use super::orientation::{Orientation, reorder};
use super::packed::Source;
use super::scalar::{Scalar, Scale, read_voxels, voxel_count};
use super::{Parts, Problem, Unit, VolumeOptions, fill};

/// Where voxels lie, in RAS coordinates (x to the right, y anterior, z superior), mm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    /// The step of each stored axis.
    pub(crate) columns: [[f64; 3]; 3],
    /// Whether their lengths are known.
    pub(crate) spacing_known: bool,
    /// The centre of the voxel that is stored first.
    pub(crate) origin: Option<[f64; 3]>,
}

/// What a header says, checked.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) format: String,
    /// The three axes of space, fastest first, and then those that count volumes.
    pub(crate) dims: Vec<u64>,
    pub(crate) scalar: Scalar,
    pub(crate) big_endian: bool,
    pub(crate) scale: Scale,
    pub(crate) affine: Affine,
    pub(crate) notes: Vec<String>,
}

/// Where the voxels of a stream begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    /// At this byte of the stream, of which `consumed` are gone.
    At { byte: u64, consumed: u64 },
    /// So that the last voxel ends the stream.
    BeforeEnd,
}

impl Grid {
    /// Reads the volume that is meant.
    pub(crate) fn read(
        mut self,
        mut source: Source<'_>,
        start: Start,
        options: &VolumeOptions,
    ) -> Result<Parts, Problem> {
        let space = [self.dims[0], self.dims[1], self.dims[2]];
        let count = voxel_count(&space)?;
        let volume_bytes = (count * self.scalar.size()) as u64;
        let volumes = self.dims[3..].iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let bytes = volumes.and_then(|volumes| volumes.checked_mul(volume_bytes));
        let end = bytes.and_then(|bytes| match start {
            Start::At { byte, .. } => bytes.checked_add(byte),
            Start::BeforeEnd => Some(bytes),
        });
        let (Some(volumes), Some(end)) = (volumes, end.filter(|&end| end <= source.bytes_max)) else {
            let held = if source.packed { "can hold at most" } else { "holds" };
            let want = end.map_or("an impossible number of".to_owned(), |end| end.to_string());
            let max = source.bytes_max;
            let finding = format!("{held} {max} bytes, but its header (shape {:?}) needs {want} bytes", self.dims);
            return Err(Problem::cut_short(finding));
        };
        let index = super::pick(volumes, options, || format!("shape {:?}", self.dims))?;
        let before = match start {
            Start::At { byte, consumed } => byte.saturating_sub(consumed),
            Start::BeforeEnd => source.bytes_max - end,
        };
        source.skip(before + index * volume_bytes)?;
        let voxels = read_voxels(&mut source.stream, count, self.scalar, self.big_endian, self.scale)?;
        if let (Start::At { .. }, false, left @ 1..) = (start, source.packed, source.bytes_max - end) {
            self.notes.push(format!("{left} bytes after the voxels were ignored"));
        }
        source.check_to_end((volumes - index - 1) * volume_bytes)?;
        self.turned(voxels, options)
    }

    /// The voxels in reading order, with what there is to know about them.
    fn turned(self, voxels: Vec<f32>, options: &VolumeOptions) -> Result<Parts, Problem> {
        let Affine { columns, spacing_known, .. } = self.affine;
        let orientation = Orientation::closest(&columns, options.slice_order)?;
        let dims = [0, 1, 2].map(|axis| self.dims[axis] as usize);
        let (voxels, dims) = reorder(voxels, dims, orientation.from_axis, orientation.flipped)?;
        let mut parts = Parts::new(self.format, voxels, dims);
        parts.info.source_dims = self.dims.iter().map(|&dim| dim as usize).collect();
        parts.info.dtype = self.scalar.name().to_owned();
        parts.info.spacing_mm = spacing_known.then(|| orientation.spacing(&columns));
        parts.info.rescale = Some([self.scale.slope, self.scale.intercept]);
        parts.info.notes = self.notes;
        parts.info.notes.extend(orientation.note());
        parts.info.notes.extend(fill::notes(&parts.voxels));
        parts.info.unit = Unit::Hounsfield;
        parts.info.slices = slices_of_grid(&self.affine, &orientation, dims[0]);
        parts.info.orientation = Some(orientation);
        Ok(parts)
    }
}
