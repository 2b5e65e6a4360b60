//! A folder of PNG or JPEG slices in M3D-Cap's layout: integer file stems, grey values as they are displayed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageReader, Limits};
use rayon::prelude::*;

use super::orientation::flip;
use super::scalar::voxel_count;
use super::{Parts, Problem, VolumeOptions};

/// Memory that decoding one slice may take: 8192 by 8192 pixels of 16-bit RGBA.
const SLICE_BYTES_MAX: u64 = 512 << 20;

/// Whether `start`, the first bytes of a file, are those of a PNG or JPEG image.
pub(crate) fn is_image(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(&[0xff, 0xd8, 0xff])
}

/// Reads the slices `files` as M3D does: in the order of their stems, those of the most common shape, grey.
pub(crate) fn read_files(files: &[PathBuf], options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut slices = files.iter().map(|file| Ok((stem_number(file)?, file))).collect::<Result<Vec<_>, Problem>>()?;
    slices.sort();
    if let Some(pair) = slices.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let finding = format!("has the same slice number as {}", pair[0].1.display());
        return Err(Problem::new(finding, "keep one file for each slice").blame(pair[1].1));
    }
    let shaped: Vec<_> = slices
        .par_iter()
        .map(|(number, file)| {
            let shape = open(file)?.into_dimensions().map_err(|error| undecodable(file, error))?;
            Ok((*number, *file, shape))
        })
        .collect::<Result<_, Problem>>()?;
    let (columns, rows) = most_common(shaped.iter().map(|(_, _, shape)| *shape));
    let kept: Vec<_> = shaped.iter().filter(|(_, _, shape)| *shape == (columns, rows)).collect();
    let plane = columns as usize * rows as usize;
    let count = voxel_count(&[kept.len() as u64, u64::from(rows), u64::from(columns)])?;
    let mut voxels = vec![0.0; count];
    voxels.par_chunks_mut(plane).zip(&kept).try_for_each(|(out, (_, file, _))| decode(file, out))?;

    let dims = [kept.len(), rows as usize, columns as usize];
    if options.reverses() {
        flip(&mut voxels, dims, [true, false, false]);
    }
    let mut parts = Parts::new("image folder", voxels, dims);
    parts.info.source_dims = dims.to_vec();
    parts.info.dtype = "grey / 255".to_owned();
    let notes = &mut parts.info.notes;
    if kept.len() < shaped.len() {
        let dropped = shaped.len() - kept.len();
        notes.push(format!("{dropped} slices of another size than {rows}x{columns} were left out"));
    }
    let missing = slices.windows(2).find(|pair| pair[1].0 - pair[0].0 > 1);
    if let Some([before, after]) = missing {
        notes.push(format!("slice numbers jump from {} to {}", before.0, after.0));
    }
    Ok(parts)
}

/// The whole number that the file's name is.
fn stem_number(file: &Path) -> Result<u64, Problem> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|_| {
        let finding = format!("is a slice whose name {stem:?} is not a number, so its place is unknown");
        Problem::new(finding, "name the slices 0.png, 1.png, ... from first to last").blame(file)
    })
}

/// The shape that occurs most often; the first of them where several do.
fn most_common(shapes: impl Iterator<Item = (u32, u32)> + Clone) -> (u32, u32) {
    let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
    for shape in shapes.clone() {
        *counts.entry(shape).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or_default();
    shapes.into_iter().find(|shape| counts[shape] == most).unwrap_or_default()
}

/// A reader that goes by the file's content and bounds its memory.
fn open(file: &Path) -> Result<ImageReader<std::io::BufReader<std::fs::File>>, Problem> {
    let reader = ImageReader::open(file).and_then(ImageReader::with_guessed_format);
    let mut reader = reader.map_err(|error| Problem::from(error).blame(file))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(SLICE_BYTES_MAX);
    reader.limits(limits);
    Ok(reader)
}

/// A slice that its decoder refuses.
fn undecodable(file: &Path, error: image::ImageError) -> Problem {
    Problem::new(format!("cannot be decoded as an image ({error})"), "copy or export the slice again").blame(file)
}

/// Decodes one slice to grey values in 0..1.
fn decode(file: &Path, out: &mut [f32]) -> Result<(), Problem> {
    let image = open(file)?.decode().map_err(|error| undecodable(file, error))?;
    let wrong = || Problem::new("changed its size while it was read", "try again").blame(file);
    if image.width() as usize * image.height() as usize != out.len() {
        return Err(wrong());
    }
    match &image {
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            let grey = image.to_luma16();
            out.iter_mut().zip(grey.as_raw()).for_each(|(voxel, &grey)| *voxel = f32::from(grey) / 65535.0);
        }
        DynamicImage::ImageLuma8(_) | DynamicImage::ImageLumaA8(_) => {
            let grey = image.to_luma8();
            out.iter_mut().zip(grey.as_raw()).for_each(|(voxel, &grey)| *voxel = f32::from(grey) / 255.0);
        }
        _ => {
            let colour = image.to_rgb8();
            for (voxel, pixel) in out.iter_mut().zip(colour.pixels()) {
                let [r, g, b] = pixel.0.map(u32::from);
                // Pillow's grey, to the bit: ITU-R 601 weights in 16-bit fixed point.
                let grey = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
                *voxel = grey as f32 / 255.0;
            }
        }
    }
    Ok(())
}
