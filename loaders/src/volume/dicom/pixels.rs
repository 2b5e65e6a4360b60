//! Stored pixels of one frame, unpacked and turned into intensities.
//!
//! JPEG (8 and 12 bit, lossless), JPEG-LS and JPEG 2000 go through `openreadout-codecs`: safe Rust that checks sizes
//! before it allocates. `charls` needs CMake, which building this project may not; `jpeg-decoder` alone stops at 8-bit
//! lossy samples; `hayro-jpeg2000` scales samples to 8 bits.

use openreadout_codecs::{CodecError, Raster};
use openreadout_codecs::{jpeg_decode_limited, jpeg2000_decode_limited, jpegls_decode_limited};

use super::super::Problem;
use super::codec::{Codec, Promise, UNPACKING_BYTES_MAX};
use super::image::{Image, PixelFormat, Pixels};
use super::padding::{Meaning, StoredPixel, number};
use crate::budget::Budget;
use crate::guard::guarded;
use crate::memory;

/// What all threads together may take to unpack slices.
static UNPACKING: Budget = Budget::new(UNPACKING_BYTES_MAX);

/// Decodes frame `index` of `image` into `out`, rows by columns.
pub(crate) fn decode(image: &Image<'_>, index: usize, out: &mut [f32]) -> Result<(), Problem> {
    let header = &image.header;
    let format = header.pixel;
    let frame = header.frames.get(index);
    let meaning = Meaning { scale: frame.scale, padding: frame.padding };
    let big_endian = header.syntax.encoding.big_endian;
    match &image.pixels {
        Pixels::Native(bytes) => {
            let frame_bytes = out.len() * usize::from(format.bits_allocated / 8);
            // The header's check has seen that all frames are there.
            unpack(
                &bytes[index * frame_bytes..][..frame_bytes],
                format.bits_allocated,
                big_endian,
                format,
                meaning,
                out,
            );
        }
        Pixels::Fragments(fragments) => {
            let frame = fragments.frame(index);
            let codec = header.syntax.codec;
            let pixels = out.len() as u64;
            let pixel_bytes = u64::from(format.bits_allocated / 8);
            codec.check_promise(&Promise {
                frames: 1,
                frame_pixels: pixels,
                pixel_bytes,
                packed_bytes: frame.len() as u64,
            })?;
            let _permit = UNPACKING.take(codec.unpacking_bytes(pixels));
            memory::check_room(codec.unpacking_bytes(pixels))?;
            if header.syntax.codec == Codec::RunLength {
                let bytes = run_length(&frame, format, out.len())?;
                unpack(&bytes, format.bits_allocated, true, format, meaning, out);
                return Ok(());
            }
            let stream = to_end_mark(&frame).ok_or_else(|| {
                let finding = format!("has {} pixels that end without their end mark", header.syntax.name);
                Problem::cut_short(finding)
            })?;
            let raster = unpack_stream(header.syntax.codec, stream, out.len())?;
            let rows = u32::from(header.rows);
            let columns = u32::from(header.columns);
            if (raster.height, raster.width, raster.channels) != (rows, columns, 1) {
                let found = [raster.height, raster.width, raster.channels];
                let name = header.syntax.name;
                let finding = format!(
                    "has a {name} stream of {found:?} rows, columns and channels, wanted [{rows}, {columns}, 1]"
                );
                return Err(Problem::new(finding, "export the file again"));
            }
            unpack(&raster.data, raster.bits_per_sample as u16, false, format, meaning, out);
        }
    }
    Ok(())
}

/// Bytes that may follow the end mark of a stream, beside padding.
const AFTER_END_BYTES_MAX: usize = 64;

/// A JPEG, JPEG-LS or JPEG 2000 stream to its end mark, or nothing where that is missing: all three end with the bytes
/// FF D9, which stand nowhere within their pixels, and decoders quietly invent what is missing from a stream that is
/// cut.
fn to_end_mark(stream: &[u8]) -> Option<&[u8]> {
    let end = stream.iter().rposition(|byte| !matches!(byte, 0 | 0xff))? + 1;
    let from = end.saturating_sub(2 + AFTER_END_BYTES_MAX);
    let mark = stream[from..end].windows(2).rposition(|pair| pair == [0xff, 0xd9])?;
    Some(&stream[..from + mark + 2])
}

/// Decodes a JPEG, JPEG-LS or JPEG 2000 stream of at most `pixels` pixels.
fn unpack_stream(codec: Codec, stream: &[u8], pixels: usize) -> Result<Raster, Problem> {
    let bytes_max = pixels * 2;
    let decode = || match codec {
        Codec::JpegLs => jpegls_decode_limited(stream, bytes_max),
        Codec::Jpeg2000 => jpeg2000_decode_limited(stream, bytes_max),
        _ => jpeg_decode_limited(stream, bytes_max),
    };
    let refused = |finding: String| Problem::new(finding, "copy or export the file again, uncompressed if need be");
    // The decoders are others' code; should one panic on a damaged stream, the file is still only a bad file.
    let decoded: Result<Raster, CodecError> =
        guarded(decode).ok_or_else(|| refused("has pixels that its decoder cannot make sense of".to_owned()))?;
    decoded.map_err(|error| refused(format!("has pixels that cannot be decoded ({error})")))
}

/// Decodes DICOM's RLE (PS3.5, annex G): one PackBits segment for each byte of a pixel, most significant first.
fn run_length(frame: &[u8], format: PixelFormat, pixels: usize) -> Result<Vec<u8>, Problem> {
    let bad = |what: String| Problem::new(format!("has RLE pixels {what}"), "copy or export the file again");
    let header = frame.first_chunk::<64>().ok_or_else(|| bad("shorter than their header".to_owned()))?;
    let (words, _) = header.as_chunks::<4>();
    let word = |index: usize| u32::from_le_bytes(words[index]) as usize;
    let segments = word(0);
    let want = usize::from(format.bits_allocated / 8);
    if segments != want {
        return Err(bad(format!("of {segments} segments, wanted {want}")));
    }
    let mut bytes = memory::filled(0, pixels * segments)?;
    for segment in 0..segments {
        let end = if segment + 1 < segments { word(segment + 2) } else { frame.len() };
        let packed = frame.get(word(segment + 1)..end).ok_or_else(|| bad("with offsets past their end".to_owned()))?;
        let plane = bytes.iter_mut().skip(segment).step_by(segments);
        let missing = unpack_runs(packed, plane);
        if missing > 0 {
            return Err(bad(format!("of {} pixels, wanted {pixels}", pixels - missing)));
        }
    }
    Ok(bytes)
}

/// Fills `out` from PackBits: a byte n up to 127 stands before n + 1 plain bytes, one above 128 before a byte that is
/// repeated 257 - n times, and 128 for nothing. How many bytes of `out` were not there.
fn unpack_runs<'a>(packed: &[u8], mut out: impl ExactSizeIterator<Item = &'a mut u8>) -> usize {
    let mut packed = packed.iter();
    while let Some(&control) = packed.next() {
        match control {
            0..=127 => {
                let plain = packed.as_slice();
                let count = plain.len().min(usize::from(control) + 1);
                plain[..count].iter().zip(out.by_ref()).for_each(|(value, byte)| *byte = *value);
                packed = plain[count..].iter();
            }
            128 => {}
            _ => match packed.next() {
                Some(&value) => out.by_ref().take(257 - usize::from(control)).for_each(|byte| *byte = value),
                None => break,
            },
        }
    }
    out.len()
}

/// Turns containers of `bits` into intensities: the stored bits, their sign, what they mean.
fn unpack(bytes: &[u8], bits: u16, big_endian: bool, format: PixelFormat, meaning: Meaning, out: &mut [f32]) {
    let intensity = |container: u32| {
        // What lies beside the stored bits is dropped.
        let stored = number(container >> format.shift, u32::from(format.bits_stored), format.signed);
        meaning.intensity(StoredPixel { stored, container: number(container, u32::from(bits), format.signed) })
    };
    match bits {
        8 => out.iter_mut().zip(bytes).for_each(|(voxel, byte)| *voxel = intensity(u32::from(*byte))),
        16 => {
            let of = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
            let (words, _) = bytes.as_chunks::<2>();
            out.iter_mut().zip(words).for_each(|(voxel, word)| *voxel = intensity(u32::from(of(*word))));
        }
        _ => {
            let of = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
            let (words, _) = bytes.as_chunks::<4>();
            out.iter_mut().zip(words).for_each(|(voxel, word)| *voxel = intensity(of(*word)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::scalar::Scale;

    #[test]
    fn stored_bits_are_cut_out_and_their_sign_extended() {
        let unpacked = |bits_stored, shift, signed, value: u16| {
            let format = PixelFormat { bits_allocated: 16, bits_stored, shift, signed };
            let mut out = [0.0];
            let meaning = Meaning { scale: Scale { slope: 2.0, intercept: 1.0 }, padding: None };
            unpack(&value.to_le_bytes(), 16, false, format, meaning, &mut out);
            out[0]
        };
        assert_eq!(unpacked(12, 0, false, 0xf123), 2.0 * 291.0 + 1.0);
        assert_eq!(unpacked(12, 0, true, 0x0fff), -2.0 + 1.0);
        assert_eq!(unpacked(12, 4, true, 0xfff7), -2.0 + 1.0);
        assert_eq!(unpacked(16, 0, true, 0x8000), 2.0 * -32768.0 + 1.0);
    }

    #[test]
    fn run_lengths_fill_most_significant_bytes_first() {
        let format = PixelFormat { bits_allocated: 16, bits_stored: 16, shift: 0, signed: false };
        let mut frame = vec![0; 64];
        for (word, value) in [2u32, 64, 66].into_iter().enumerate() {
            frame[4 * word..][..4].copy_from_slice(&value.to_le_bytes());
        }
        // Three times 1, then the literals 7, 8, 9.
        frame.extend([254, 1, 2, 7, 8, 9]);
        assert_eq!(run_length(&frame, format, 3).unwrap(), [1, 7, 1, 8, 1, 9]);
        assert!(run_length(&frame[..68], format, 3).is_err());
        assert!(run_length(&frame[..40], format, 3).is_err());
    }
}
