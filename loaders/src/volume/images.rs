//! A folder of PNG or JPEG slices in M3D-Cap's layout: integer file stems, grey values as they are displayed.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;

use super::files::Files;
use super::names::{listed, name_of};
use super::orientation::flip;
use super::scalar::voxel_count;
use super::{Parts, Problem, Unit, VolumeOptions};
use crate::budget::{Budget, Permit};
use crate::memory;

/// Memory that decoding slices may take, all threads together: one of 8192 by 8192 pixels of 16-bit RGBA.
const DECODING_BYTES_MAX: u64 = 512 << 20;

/// What all threads together may take to decode slices.
static DECODING: Budget = Budget::new(DECODING_BYTES_MAX);

/// A slice before it is decoded.
#[derive(Debug, Clone)]
struct Shaped {
    file: usize,
    name: String,
    columns: u32,
    rows: u32,
}

/// Reads the slices `files` as M3D does: in the order of their stems, those of the most common shape, grey.
pub(crate) fn read<F: Files + ?Sized>(files: &F, options: &VolumeOptions) -> Result<Parts, Problem> {
    super::check_no_series(options)?;
    let numbered = |file: usize| Ok((stem_number(&files.name(file))?, file));
    let mut slices = (0..files.count()).map(numbered).collect::<Result<Vec<_>, Problem>>()?;
    slices.sort_unstable();
    if let Some(pair) = slices.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let finding = format!("has the same slice number as {}", files.name(pair[0].1));
        return Err(Problem::new(finding, "keep one file for each slice").blame(files.name(pair[1].1)));
    }
    let shaped: Vec<Shaped> = slices.par_iter().map(|&(_, file)| shape(files, file)).collect::<Result<_, Problem>>()?;
    let (columns, rows) = most_common(shaped.iter().map(|shaped| (shaped.columns, shaped.rows)));
    let (kept, dropped): (Vec<_>, Vec<_>) =
        shaped.into_iter().partition(|shaped| (shaped.columns, shaped.rows) == (columns, rows));
    let plane = columns as usize * rows as usize;
    let count = voxel_count(&[kept.len() as u64, u64::from(rows), u64::from(columns)])?;
    let mut voxels = memory::filled(0.0, count)?;
    voxels
        .par_chunks_mut(plane)
        .zip(&kept)
        .try_for_each(|(out, shaped)| decode(files, shaped.file, out).map_err(|problem| problem.blame(&shaped.name)))?;

    let dims = [kept.len(), rows as usize, columns as usize];
    if options.reverses() {
        flip(&mut voxels, dims, [true, false, false]);
    }
    let mut parts = Parts::new("image folder", voxels, dims);
    parts.info.source_dims = dims.to_vec();
    parts.info.unit = Unit::Grey;
    parts.info.dtype = "grey / 255".to_owned();
    let notes = &mut parts.info.notes;
    if !dropped.is_empty() {
        let names: Vec<String> = dropped.iter().map(|shaped| name_of(&shaped.name)).collect();
        let count = names.len();
        notes.push(format!("{count} slices of another size than {rows}x{columns} were left out: {}", listed(&names)));
    }
    let missing = slices.windows(2).find(|pair| pair[1].0 - pair[0].0 > 1);
    if let Some([before, after]) = missing {
        notes.push(format!("slice numbers jump from {} to {}", before.0, after.0));
    }
    Ok(parts)
}

/// The whole number that the file's name is.
fn stem_number(file: &str) -> Result<u64, Problem> {
    let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
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
fn open(bytes: &[u8]) -> Result<ImageReader<Cursor<&[u8]>>, Problem> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODING_BYTES_MAX);
    reader.limits(limits);
    Ok(reader)
}

/// Memory for `bytes`, once the other threads leave it.
fn room(bytes: u64) -> Result<Permit<'static>, Problem> {
    let permit = DECODING.take(bytes).ok_or_else(|| {
        let finding = format!("takes {bytes} bytes to decode, more than {DECODING_BYTES_MAX}");
        Problem::new(finding, "export the slices with fewer pixels")
    })?;
    memory::check_room(bytes)?;
    Ok(permit)
}

/// The size of a slice, compared with the bytes at hand.
fn shape<F: Files + ?Sized>(files: &F, file: usize) -> Result<Shaped, Problem> {
    let shape = || {
        let _permit = room(files.size(file))?;
        let content = files.bytes(file)?;
        let reader = open(&content)?;
        let is_png = reader.format() == Some(ImageFormat::Png);
        let bytes = content.len() as u64;
        let decoder = reader.into_decoder().map_err(undecodable)?;
        let (columns, rows) = decoder.dimensions();
        let row_bits = u64::from(columns) * u64::from(decoder.original_color_type().bits_per_pixel());
        // Deflate packs at most 1032 bytes into one; a block of 8 by 8 pixels of a JPEG takes a bit or more.
        let fits = if is_png {
            u64::from(rows) * row_bits.div_ceil(8) <= bytes.saturating_mul(1032)
        } else {
            u64::from(rows) * u64::from(columns) <= bytes.saturating_mul(8 * 64)
        };
        if !fits {
            let finding = format!("promises {rows} rows of {columns} pixels, more than its {bytes} bytes can hold");
            return Err(Problem::new(finding, "copy or export the slice again"));
        }
        Ok(Shaped { file, name: files.name(file), columns, rows })
    };
    shape().map_err(|problem: Problem| problem.blame(files.name(file)))
}

/// A slice that its decoder refuses. Some of its messages end in a line break.
fn undecodable(error: ImageError) -> Problem {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::OutOfMemory => error.into(),
        error => {
            let reason = error.to_string();
            let finding = format!("cannot be decoded as an image ({})", reason.trim_end());
            Problem::new(finding, "copy or export the slice again")
        }
    }
}

/// Decodes one slice to grey values in 0..1.
fn decode<F: Files + ?Sized>(files: &F, file: usize, out: &mut [f32]) -> Result<(), Problem> {
    memory::check_room(files.size(file))?;
    let content = files.bytes(file)?;
    let reader = open(&content)?;
    let is_png = reader.format() == Some(ImageFormat::Png);
    let decoder = reader.into_decoder().map_err(undecodable)?;
    let (columns, rows) = decoder.dimensions();
    if u64::from(columns) * u64::from(rows) != out.len() as u64 {
        return Err(Problem::new("changed its size while it was read", "try again"));
    }
    let color = decoder.color_type();
    let bytes = decoder.total_bytes();
    // A progressive JPEG is held as coefficients of 16 bits, for up to four colours, until its last scan.
    let coefficients = if is_png { 0 } else { 8 * out.len() as u64 };
    let _permit = room(bytes + coefficients)?;
    let mut samples = memory::filled(0u8, bytes as usize)?;
    decoder.read_image(&mut samples).map_err(undecodable)?;
    grey(color, &samples, out)
}

/// The grey values of decoded samples.
fn grey(color: ColorType, samples: &[u8], out: &mut [f32]) -> Result<(), Problem> {
    let channels = usize::from(color.channel_count());
    let eight_bits = |index: usize| u32::from(samples[index]);
    let sixteen_bits = |index: usize| u32::from(u16::from_ne_bytes([samples[2 * index], samples[2 * index + 1]]));
    // 65535 levels on 255, rounded to the nearest.
    let top_byte = |index: usize| (sixteen_bits(index) + 128) / 257;
    let plain = |out: &mut [f32], of: &dyn Fn(usize) -> u32, white: f32| {
        out.iter_mut().enumerate().for_each(|(pixel, voxel)| *voxel = of(pixel * channels) as f32 / white);
    };
    let coloured = |out: &mut [f32], of: &dyn Fn(usize) -> u32| {
        for (pixel, voxel) in out.iter_mut().enumerate() {
            let [r, g, b] = [0, 1, 2].map(|channel| of(pixel * channels + channel));
            // Pillow's grey, to the bit: ITU-R 601 weights in 16-bit fixed point.
            let grey = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
            *voxel = grey as f32 / 255.0;
        }
    };
    match color {
        ColorType::L8 | ColorType::La8 => plain(out, &eight_bits, 255.0),
        ColorType::L16 | ColorType::La16 => plain(out, &sixteen_bits, 65535.0),
        ColorType::Rgb8 | ColorType::Rgba8 => coloured(out, &eight_bits),
        ColorType::Rgb16 | ColorType::Rgba16 => coloured(out, &top_byte),
        other => return Err(Problem::not_ours(format!("holds pixels of type {other:?}"))),
    }
    Ok(())
}
