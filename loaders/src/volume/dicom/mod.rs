//! DICOM: one file or a folder of them, to one volume.

mod codec;
mod dataset;
mod directory;
mod fragments;
mod frames;
mod image;
mod inflate;
mod marks;
mod origins;
mod padding;
mod pixels;
mod scan;
mod series;
mod split;
mod volumes;
mod window;

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::files::Files;
use super::names::{listed, name_of};
use super::orientation::{Orientation, reorder};
use super::scalar::voxel_count;
use super::{Parts, Problem, Unit, VolumeOptions};
use crate::memory;
pub(crate) use directory::{files_of, may_be_directory};
pub(crate) use image::sniff;
use image::{Header, Part10, Rejection};
use series::{Slice, Stack};
use volumes::Volumes;

/// Reads the volume that the files hold together. A damaged file fails the series that it belongs to; it and whatever
/// else is not read is named in the notes.
pub(crate) fn read<F: Files + ?Sized>(files: &F, options: &VolumeOptions) -> Result<Parts, Problem> {
    let scan::Scan { images, broken, mut notes } = scan::scan(files)?;
    let chosen = Volumes::of(&images).choose(options)?;
    if let Some(problem) = scan::reason_to_refuse(&broken, &chosen) {
        return Err(problem);
    }
    if !broken.is_empty() {
        let named: Vec<String> = broken.iter().map(|broken| broken.problem.named_finding()).collect();
        notes.push(format!("{} files cannot be read and were left out: {}", named.len(), listed(&named)));
    }
    notes.extend(chosen.notes);
    let stack = series::stack(chosen.volume.slices, options)?;
    assemble(files, stack, notes, options)
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
    let is_ct = header.modality.as_deref() == Some("CT");
    if let Some(padding) = stack.slices.iter().find_map(|slice| slice.frame().padding) {
        notes.extend(padding::replace(&mut voxels, padding, is_ct)?);
    }

    notes.extend(stack.notes.iter().cloned());
    notes.extend(notes_of_files(&stack.slices));
    if !is_ct {
        let modality = header.modality.as_deref().unwrap_or("not given");
        notes.push(format!("the modality is {modality}; the model was trained on CT"));
    }
    let format = format!("DICOM ({})", header.syntax.name);
    let slices = origins::slices_of(&stack, options)?;
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
    if is_ct {
        parts.info.unit = Unit::Hounsfield;
    }
    parts.info.window = window::most_frequent(stack.slices.iter().map(|slice| slice.frame().window));
    parts.info.source_dims = dims.to_vec();
    parts.info.dtype = format!("{sign}{} ({} bits stored)", pixel.bits_allocated, pixel.bits_stored);
    parts.info.rescale = same_scale.then_some([scale.slope, scale.intercept]);
    parts.info.modality = header.modality.clone();
    parts.info.series = header.description.clone();
    parts.info.identity = origins::identity_of(&stack.slices);
    parts.info.slices = slices;
    parts.info.notes = notes;
    Ok(parts)
}

/// What is odd about the files of the slices, each once with the names of those it is true of.
fn notes_of_files(slices: &[Slice<'_>]) -> Vec<String> {
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for slice in slices.iter().filter(|slice| seen.insert(slice.file)) {
        slice.header.notes.iter().for_each(|note| named.entry(note).or_default().push(name_of(slice.name)));
    }
    named.into_iter().map(|(note, names)| format!("{note}: {}", listed(&names))).collect()
}

/// A slice and where its voxels go.
type Wanted<'a, 'out> = (Slice<'a>, &'out mut [f32]);

/// Decodes each slice into its place. A file is read once for all of its frames, and files are read in batches that
/// bound the memory they take.
fn decode<F: Files + ?Sized>(files: &F, slices: &[Slice<'_>], plane: usize, out: &mut [f32]) -> Result<(), Problem> {
    let mut by_file: BTreeMap<usize, Vec<Wanted<'_, '_>>> = BTreeMap::new();
    for (slice, out) in slices.iter().zip(out.chunks_mut(plane)) {
        by_file.entry(slice.file).or_default().push((*slice, out));
    }
    let sizes: Vec<u64> = by_file.values().map(|wanted| wanted[0].0.header.bytes).collect();
    let mut by_file = by_file.into_iter();
    for batch in scan::batches(sizes.into_iter()) {
        let batch: Vec<_> = by_file.by_ref().take(batch.len()).collect();
        batch.into_par_iter().try_for_each(|(file, wanted)| {
            decode_file(files, file, wanted).map_err(|problem| problem.blame(files.name(file)))
        })?;
    }
    Ok(())
}

/// Decodes the wanted slices of one file.
fn decode_file<F: Files + ?Sized>(files: &F, file: usize, wanted: Vec<Wanted<'_, '_>>) -> Result<(), Problem> {
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
}
