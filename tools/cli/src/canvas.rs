//! A picture in memory: plotters draws into it, `image` encodes it. Its font is compiled in.

use std::io::Cursor;
use std::sync::Once;

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, DrawingArea, IntoDrawingArea};
use plotters::style::{FontStyle, register_font};

use crate::failure::{Failure, Result};

/// The name under which the compiled-in font is known to plotters.
pub const FONT: &str = "sans-serif";

/// What plotters draws on.
pub type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Draws a picture of `width` by `height` pixels and encodes it as PNG.
pub fn png<E: std::fmt::Display>(
    [width, height]: [u32; 2],
    draw: impl FnOnce(&Area<'_>) -> std::result::Result<(), E>,
) -> Result<Vec<u8>> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // The bytes are a constant of this program; if they were no font, drawing text would say so.
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    let failed = |what: &str| Failure::runtime(format!("cannot draw the picture: {what}"));
    let mut pixels = vec![255; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        draw(&area).map_err(|error| failed(&error.to_string()))?;
        area.present().map_err(|error| failed(&error.to_string()))?;
    }
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new(&mut bytes)
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| failed(&error.to_string()))?;
    Ok(bytes.into_inner())
}
