//! How pixels may be packed, how much each way can pack, and what unpacking costs.

use super::super::Problem;

/// How pixels are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Native,
    RunLength,
    Jpeg,
    JpegLs,
    Jpeg2000,
}

/// Memory that unpacking slices may take, all threads together.
pub(crate) const UNPACKING_BYTES_MAX: u64 = 512 << 20;

impl Codec {
    /// Most pixels that one packed byte can stand for, where a pixel takes `pixel_bytes`; `None` where nothing is
    /// packed. A header that promises more is lying.
    fn pixels_per_byte(self, pixel_bytes: u64) -> Option<u64> {
        match self {
            Self::Native => None,
            // Two bytes repeat one byte at most 128 times.
            Self::RunLength => Some((64 / pixel_bytes).max(1)),
            // A block of 8 by 8 pixels takes a bit or more; each pixel of a lossless stream does.
            Self::Jpeg => Some(8 * 64),
            // A bit of run mode covers at most 2^15 pixels (ITU-T T.87, table A.1 has J up to 15).
            Self::JpegLs => Some(8 << 15),
            // The bound of the decoder itself, far above what any picture reaches.
            Self::Jpeg2000 => Some(1 << 16),
        }
    }

    /// Bytes that unpacking takes for each pixel of a frame, beside the packed bytes and the voxels. Taken from the
    /// decoders' sources: JPEG holds planes, coefficients and twice the samples; JPEG 2000 holds 32-bit coefficients
    /// and samples of which several copies live at one time.
    fn bytes_per_pixel(self) -> u64 {
        match self {
            Self::Native => 0,
            Self::RunLength => 4,
            Self::JpegLs => 6,
            Self::Jpeg => 8,
            Self::Jpeg2000 => 32,
        }
    }

    /// What a frame begins with, where that tells it from the middle of another one.
    pub(crate) fn start_marks(self) -> &'static [u8] {
        match self {
            Self::Native | Self::RunLength => &[],
            Self::Jpeg | Self::JpegLs => &[0xff, 0xd8, 0xff],
            Self::Jpeg2000 => &[0xff, 0x4f, 0xff, 0x51],
        }
    }

    /// Memory that unpacking a frame of `pixels` takes.
    pub(crate) fn unpacking_bytes(self, pixels: u64) -> u64 {
        pixels.saturating_mul(self.bytes_per_pixel())
    }

    /// Compares what a header promises with the bytes at hand.
    pub(crate) fn check_promise(self, promise: &Promise) -> Result<(), Problem> {
        let Promise { frames, frame_pixels, pixel_bytes, packed_bytes } = *promise;
        let Some(pixels_per_byte) = self.pixels_per_byte(pixel_bytes) else { return Ok(()) };
        let pixels = frame_pixels.saturating_mul(frames);
        if pixels > packed_bytes.saturating_mul(pixels_per_byte) {
            let finding = format!("promises {pixels} pixels, more than its {packed_bytes} packed bytes can hold");
            return Err(Problem::cut_short(finding));
        }
        let needed = self.unpacking_bytes(frame_pixels);
        if needed > UNPACKING_BYTES_MAX {
            let finding = format!("has slices that take {needed} bytes to unpack, more than {UNPACKING_BYTES_MAX}");
            return Err(Problem::new(finding, "convert it to explicit VR little endian, uncompressed"));
        }
        Ok(())
    }
}

/// What a header promises, and the packed bytes that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) frames: u64,
    pub(crate) frame_pixels: u64,
    pub(crate) pixel_bytes: u64,
    pub(crate) packed_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that each codec can pack is accepted, and a pixel more is not.
    #[test]
    fn promises_are_held_to_the_bytes() {
        let of = |codec: Codec, frame_pixels: u64, pixel_bytes: u64| {
            codec.check_promise(&Promise { frames: 2, frame_pixels, pixel_bytes, packed_bytes: 200 })
        };
        for (codec, pixel_bytes, most) in
            [(Codec::RunLength, 1, 6400), (Codec::RunLength, 2, 3200), (Codec::Jpeg, 2, 51_200)]
        {
            assert_eq!(of(codec, most, pixel_bytes), Ok(()), "{codec:?}");
            let finding = of(codec, most + 1, pixel_bytes).expect_err("too many").finding;
            assert!(finding.contains("more than its 200 packed bytes can hold"), "{finding}");
        }
        for codec in [Codec::JpegLs, Codec::Jpeg2000] {
            assert!(of(codec, 1 << 28, 2).is_err(), "{codec:?}");
        }
        assert_eq!(of(Codec::Native, 1 << 40, 2), Ok(()));
    }

    #[test]
    fn a_slice_fits_the_memory_for_unpacking() {
        let huge = Promise { frames: 1, frame_pixels: 1 << 27, pixel_bytes: 2, packed_bytes: 1 << 30 };
        assert!(Codec::Jpeg.check_promise(&huge).expect_err("1 GiB").finding.contains("1073741824 bytes to unpack"));
        let large = Promise { frame_pixels: 4096 * 4096, ..huge };
        assert_eq!(Codec::Jpeg2000.check_promise(&large), Ok(()));
    }
}
