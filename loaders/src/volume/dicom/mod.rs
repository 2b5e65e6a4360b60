//! DICOM: one file or a folder of them, to one volume.

mod dataset;
mod image;
mod pixels;
mod series;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;

use super::orientation::{Orientation, reorder};
use super::scalar::voxel_count;
use super::{Parts, Problem, VolumeOptions};
use crate::memory;
use image::{Header, Part10, Rejection};
use series::{Slice, Stack};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Where the bytes of the files come from.
pub(crate) trait Files: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// The name to tell the user.
    fn name(&self, file: usize) -> String;
    /// The content.
    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem>;
}

impl Files for [PathBuf] {
    fn count(&self) -> usize {
        self.len()
    }

    fn name(&self, file: usize) -> String {
        self[file].display().to_string()
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        let bytes = std::fs::metadata(&self[file])?.len();
        if bytes > FILE_BYTES_MAX {
            let finding = format!("holds {bytes} bytes, more than {FILE_BYTES_MAX}");
            return Err(Problem::new(finding, "split it into several files"));
        }
        Ok(Cow::Owned(std::fs::read(&self[file])?))
    }
}

impl Files for [(String, Vec<u8>)] {
    fn count(&self) -> usize {
        self.len()
    }

    fn name(&self, file: usize) -> String {
        self[file].0.clone()
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        Ok(Cow::Borrowed(&self[file].1))
    }
}

/// Reads the volume that the files hold together.
pub(crate) fn read<F: Files + ?Sized>(files: &F, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut notes = Vec::new();
    let headers = scan(files, &mut notes)?;
    let mut volumes = Vec::new();
    for series in series::by_series(&headers) {
        volumes.extend(series::volumes(&series));
    }
    let list = || {
        let shown = volumes.iter().take(12).enumerate();
        let mut lines: Vec<String> =
            shown.map(|(index, slices)| format!("{index}: {}", series::label(slices))).collect();
        if volumes.len() > lines.len() {
            lines.push("...".to_owned());
        }
        lines.join("; ")
    };
    let index = super::pick(volumes.len() as u64, options, list)? as usize;
    let stack = series::stack(volumes.swap_remove(index), options)?;
    assemble(files, stack, notes, options)
}

/// Reads the header of every file; what is no image among several files is noted and left out.
fn scan<F: Files + ?Sized>(files: &F, notes: &mut Vec<String>) -> Result<Vec<(usize, String, Header)>, Problem> {
    let header = |file: usize| {
        let bytes = files.bytes(file)?;
        Ok(Part10::open(&bytes)?.image()?.header)
    };
    let scanned: Vec<Result<Header, Rejection>> = (0..files.count()).into_par_iter().map(header).collect();
    let mut headers = Vec::new();
    let mut left_out = Vec::new();
    for (file, scanned) in scanned.into_iter().enumerate() {
        let name = files.name(file);
        match scanned {
            Ok(header) => headers.push((file, name, header)),
            Err(Rejection::NotAnImage(problem)) => left_out.push(problem.blame(name)),
            Err(Rejection::Broken(problem)) => return Err(problem.blame(name)),
        }
    }
    if !left_out.is_empty() {
        notes.push(format!("{} files are no slices of a scan and were ignored", left_out.len()));
    }
    if headers.is_empty() {
        let nothing = || Problem::new("holds no DICOM image", "give the series of a scan");
        return Err(left_out.into_iter().next().unwrap_or_else(nothing));
    }
    Ok(headers)
}

/// Decodes the slices of a stack and turns them the way the body lies.
fn assemble<F: Files + ?Sized>(
    files: &F,
    stack: Stack<'_>,
    mut notes: Vec<String>,
    options: &VolumeOptions,
) -> Result<Parts, Problem> {
    let header = stack.slices[0].header;
    let dims = [usize::from(header.columns), usize::from(header.rows), stack.slices.len()];
    let count = voxel_count(&dims.map(|dim| dim as u64))?;
    let mut voxels = memory::filled(0.0, count)?;
    decode(files, &stack.slices, dims[0] * dims[1], &mut voxels)?;

    notes.extend(stack.notes);
    if header.modality.as_deref() != Some("CT") {
        let modality = header.modality.as_deref().unwrap_or("not given");
        notes.push(format!("the modality is {modality}; the model was trained on CT"));
    }
    let format = format!("DICOM ({})", header.syntax.name);
    let mut parts = match stack.columns {
        None => {
            let (voxels, dims) = reorder(voxels, dims, [2, 1, 0], [options.reverses(), false, false])?;
            Parts::new(format, voxels, dims)
        }
        Some(columns) => {
            let orientation = Orientation::closest(&columns, options.slice_order)?;
            let (voxels, dims) = reorder(voxels, dims, orientation.from_axis, orientation.flipped)?;
            let mut parts = Parts::new(format, voxels, dims);
            parts.info.spacing_mm = stack.spacing_known.then(|| orientation.spacing(&columns));
            notes.extend(orientation.note());
            parts.info.orientation = Some(orientation);
            parts
        }
    };
    let pixel = header.pixel;
    let sign = if pixel.signed { "int" } else { "uint" };
    let scale = stack.slices[0].frame().scale;
    let same_scale = stack.slices.iter().all(|slice| slice.frame().scale == scale);
    parts.info.source_dims = dims.to_vec();
    parts.info.dtype = format!("{sign}{} ({} bits stored)", pixel.bits_allocated, pixel.bits_stored);
    parts.info.rescale = same_scale.then_some([scale.slope, scale.intercept]);
    parts.info.modality = header.modality.clone();
    parts.info.series = header.description.clone();
    parts.info.notes = notes;
    Ok(parts)
}

/// Decodes each slice into its place; a file is read once, however many of its frames are wanted.
fn decode<F: Files + ?Sized>(files: &F, slices: &[Slice<'_>], plane: usize, out: &mut [f32]) -> Result<(), Problem> {
    let mut by_file: BTreeMap<usize, Vec<(Slice<'_>, &mut [f32])>> = BTreeMap::new();
    for (slice, out) in slices.iter().zip(out.chunks_mut(plane)) {
        by_file.entry(slice.file).or_default().push((*slice, out));
    }
    by_file.into_par_iter().try_for_each(|(file, wanted)| {
        let decode = || {
            let bytes = files.bytes(file)?;
            let part10 = Part10::open(&bytes).map_err(Rejection::problem)?;
            let image = part10.image().map_err(Rejection::problem)?;
            let header = &image.header;
            wanted.into_par_iter().try_for_each(|(slice, out)| {
                // The file may have changed since its header was read.
                let sizes = |header: &Header| (header.rows, header.columns, header.frames.len(), header.pixel);
                if sizes(header) != sizes(slice.header) {
                    return Err(Problem::new("changed while it was read", "try again"));
                }
                pixels::decode(&image, slice.index, out)
            })
        };
        decode().map_err(|problem: Problem| problem.blame(files.name(file)))
    })
}
