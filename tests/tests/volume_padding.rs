//! PixelPaddingValue and PixelPaddingRangeLimit, in files written by hand: every sign and depth, every modality.

#[path = "../../loaders/tests/volume_support/dicom_edits.rs"]
mod dicom_edits;
#[path = "../../loaders/tests/volume_support/dicom_file.rs"]
mod dicom_file;

use dicom_edits::{Edit, edited, item};
use dicom_file::{DicomSlice, element};
use med2e3::{Cpu, Precision, prepare};
use med2e3_loaders::volume::{Preset, RawVolume, VolumeOptions, Window, WindowChoice, parse_dicom_files};

const CPU: Cpu = Cpu { precision: Precision::Exact };

const PADDING: u32 = 0x0028_0120;
const LIMIT: u32 = 0x0028_0121;
const PIXELS: u32 = 0x7FE0_0010;

/// Pixels of a slice of 6 x 8: the first two are `padded`, the others rise from `first`.
fn words(padded: [u16; 2], first: u16) -> Vec<u8> {
    (0..48u16).map(|i| if i < 2 { padded[usize::from(i)] } else { first + i }).flat_map(u16::to_le_bytes).collect()
}

fn short(tag: u32, number: u16) -> Edit {
    Edit { tag, element: element(tag, b"US", &number.to_le_bytes()) }
}

fn text(tag: u32, representation: &[u8; 2], text: &str) -> Edit {
    Edit { tag, element: element(tag, representation, text.as_bytes()) }
}

/// Three axial slices with the same edits.
fn read(edits: &[Edit]) -> RawVolume {
    let files: Vec<_> = (1..=3).map(|instance| edited(&DicomSlice::axial(instance), edits)).collect();
    parse_dicom_files(&files, &VolumeOptions::default()).unwrap_or_else(|problem| panic!("{problem:?}"))
}

/// The first row of the first slice, which is the last file's.
fn row(volume: &RawVolume) -> [f32; 4] {
    [0, 1, 2, 3].map(|column| volume.voxels[column])
}

/// How pixels are stored, the padding as it is written, and the two pixels that hold it.
struct Case {
    bits: u16,
    signed: bool,
    representation: &'static [u8; 2],
    padding: u16,
    pixels: [u16; 2],
}

#[test]
fn padding_of_every_sign_and_depth_is_air_in_a_ct() {
    let minus = |number: i16| number as u16;
    let case = |bits, signed, representation, padding, pixels| Case { bits, signed, representation, padding, pixels };
    let same = |padding: u16| [padding; 2];
    let cases = [
        case(16, true, b"SS", minus(-2000), same(minus(-2000))),
        case(16, true, b"SS", minus(-3024), same(minus(-3024))),
        case(16, true, b"SS", minus(-32768), same(minus(-32768))),
        case(16, false, b"US", 63536, same(63536)),
        case(16, false, b"US", 0, same(0)),
        case(12, false, b"US", 4095, same(4095)),
        // The type says the other sign; the pixels' own counts.
        case(16, true, b"US", 63536, same(minus(-2000))),
        case(16, false, b"SS", minus(-2000), same(63536)),
        // The pixel with and without the bits above the stored ones.
        case(12, true, b"SS", minus(-2000), [minus(-2000), 0x0830]),
        case(12, true, b"US", 0x0830, [minus(-2000), 0x0830]),
        // More than the stored bits hold, in a container that does.
        case(12, true, b"SS", minus(-3024), same(minus(-3024))),
        case(12, false, b"US", 63536, same(63536)),
        // A type for bytes instead of numbers.
        case(16, true, b"OW", minus(-2000), same(minus(-2000))),
    ];
    for Case { bits, signed, representation, padding, pixels } in cases {
        let what = format!("{bits} bits, signed {signed}, {padding} as {}", representation.escape_ascii());
        let volume = read(&[
            short(0x0028_0101, bits),
            short(0x0028_0102, bits - 1),
            short(0x0028_0103, u16::from(signed)),
            Edit { tag: PADDING, element: element(PADDING, representation, &padding.to_le_bytes()) },
            Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words(pixels, 1000)) },
        ]);
        assert_eq!(row(&volume), [-1024.0, -1024.0, 2.0, 3.0], "{what}");
        assert_eq!(volume.info.range, [-1024.0, 47.0], "{what}");
        assert!(volume.info.notes.iter().any(|note| note.starts_with("4.2 % of the voxels are padding")), "{what}");
    }
}

/// A pixel that only looks like padding once its upper bits are cut off is a measurement: 2096 is bone.
#[test]
fn values_that_are_not_padding_stay() {
    let edits = |padding: u16| {
        vec![
            short(0x0028_0101, 12),
            short(0x0028_0102, 11),
            short(PADDING, padding),
            Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words([0x0830; 2], 1000)) },
        ]
    };
    assert_eq!(row(&read(&edits(63536))), [1096.0, 1096.0, 2.0, 3.0]);
    assert_eq!(row(&read(&edits(0x0830))), [-1024.0, -1024.0, 2.0, 3.0]);
    // A limit alone means nothing.
    let limit_alone =
        [short(LIMIT, 2000), Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words([1500; 2], 1000)) }];
    assert_eq!(row(&read(&limit_alone)), [500.0, 500.0, 2.0, 3.0]);
}

/// The range has both its ends, whichever of the two is written as the limit.
#[test]
fn a_range_of_padding_goes_both_ways() {
    for (value, limit) in [(-2000i16, -1500i16), (-1500, -2000)] {
        let signed = |tag, number: i16| Edit { tag, element: element(tag, b"SS", &number.to_le_bytes()) };
        let pixels = |padded: [i16; 2]| {
            let padded = padded.map(|number| number as u16);
            Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words(padded, 1000)) }
        };
        let of = |padded| read(&[short(0x0028_0103, 1), signed(PADDING, value), signed(LIMIT, limit), pixels(padded)]);
        assert_eq!(row(&of([-2000, -1500])), [-1024.0, -1024.0, 2.0, 3.0]);
        assert_eq!(row(&of([-1800, -2001])), [-1024.0, -3001.0, 2.0, 3.0]);
        assert_eq!(row(&of([-1700, -1499])), [-1024.0, -2499.0, 2.0, 3.0]);
    }
}

/// Padding is compared before the rescale, and what replaces it is not rescaled.
#[test]
fn a_slope_does_not_move_padding() {
    for (slope, wanted) in [("2.5", [-1024.0, -1024.0, 1505.0, 1507.5]), ("-1", [-1024.0, -1024.0, -2002.0, -2003.0])] {
        let pixels = Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words([7; 2], 1000)) };
        let volume = read(&[text(0x0028_1053, b"DS", slope), short(PADDING, 7), pixels]);
        assert_eq!(row(&volume), wanted, "slope {slope}");
    }
}

/// Outside CT there is no -1024: padding takes the smallest value that was measured, here 52 of a slice of bytes.
#[test]
fn padding_elsewhere_is_the_smallest_measurement() {
    let bytes: Vec<u8> = (0..48u8).map(|i| if i < 2 { 255 } else { 50 + i }).collect();
    let eight_bits = [
        text(0x0008_0060, b"CS", "MR"),
        short(0x0028_0100, 8),
        short(0x0028_0101, 8),
        short(0x0028_0102, 7),
        text(0x0028_1052, b"DS", "0"),
        short(PADDING, 255),
        Edit { tag: PIXELS, element: element(PIXELS, b"OW", &bytes) },
    ];
    let volume = read(&eight_bits);
    assert_eq!((row(&volume), volume.info.range), ([52.0, 52.0, 52.0, 53.0], [52.0, 97.0]));
    assert!(volume.info.notes.iter().any(|note| note.contains("PixelPaddingValue 255")), "{:?}", volume.info.notes);

    // Of a series whose slices differ, the smallest of all of them; the slope is 0.5.
    let file = |instance: u32| {
        let pixels = words([60_000; 2], 100 * instance as u16);
        let edits = [
            text(0x0008_0060, b"CS", "MR"),
            text(0x0028_1053, b"DS", "0.5"),
            short(PADDING, 60_000),
            Edit { tag: PIXELS, element: element(PIXELS, b"OW", &pixels) },
        ];
        edited(&DicomSlice::axial(instance), &edits)
    };
    let files: Vec<_> = (1..=3).map(file).collect();
    let volume = parse_dicom_files(&files, &VolumeOptions::default()).expect("a series");
    assert_eq!(row(&volume), [-949.0, -949.0, -849.0, -848.5], "102 x 0.5 - 1000 in the first file");
}

/// Each frame's own padding counts, then the shared one, then the data set's.
#[test]
fn frames_have_their_own_padding() {
    let groups = |tag, items: &[Vec<u8>]| Edit { tag, element: element(tag, b"SQ", &items.concat()) };
    let transformation = |padding: Option<u16>| {
        let padding = padding.map_or(Vec::new(), |padding| element(PADDING, b"US", &padding.to_le_bytes()));
        let scale = [element(0x0028_1052, b"DS", b"-1000"), element(0x0028_1053, b"DS", b"1")].concat();
        item(&element(0x0028_9145, b"SQ", &item(&[padding, scale].concat())))
    };
    let two_frames = [words([5, 6], 1000), words([5, 6], 1000)].concat();
    let read = |frames: [Option<u16>; 2]| {
        let edits = [
            text(0x0028_0008, b"IS", "2"),
            short(PADDING, 6),
            groups(0x5200_9230, &frames.map(transformation)),
            Edit { tag: PIXELS, element: element(PIXELS, b"OW", &two_frames) },
        ];
        let volume = parse_dicom_files(&[edited(&DicomSlice::axial(1), &edits)], &VolumeOptions::default());
        let volume = volume.unwrap_or_else(|problem| panic!("{problem:?}"));
        [[volume.voxels[0], volume.voxels[1]], [volume.voxels[48], volume.voxels[49]]]
    };
    assert_eq!(read([None, None]), [[-995.0, -1024.0], [-995.0, -1024.0]]);
    assert_eq!(read([Some(5), None]), [[-1024.0, -994.0], [-995.0, -1024.0]]);
}

/// What is nothing but padding is refused with a sentence; every window sees padding as the same air.
#[test]
fn padding_is_gone_under_every_window() {
    let pixels = Edit { tag: PIXELS, element: element(PIXELS, b"OW", &[7, 0].repeat(48)) };
    let files: Vec<_> =
        (1..=2).map(|instance| edited(&DicomSlice::axial(instance), &[short(PADDING, 7), pixels.clone()])).collect();
    let problem = parse_dicom_files(&files, &VolumeOptions::default()).expect_err("nothing but padding");
    assert!(problem.finding.contains("nothing but padding (PixelPaddingValue 7)"), "{problem:?}");

    let with = |padded: u16, padding: &[Edit]| {
        let pixels = Edit { tag: PIXELS, element: element(PIXELS, b"OW", &words([padded; 2], 1000)) };
        let edits: Vec<Edit> = [short(0x0028_0103, 1), text(0x0028_1052, b"DS", "-1024"), pixels]
            .into_iter()
            .chain(padding.iter().cloned())
            .collect();
        read(&edits)
    };
    let padding = Edit { tag: PADDING, element: element(PADDING, b"SS", &(-32768i16).to_le_bytes()) };
    let padded = with(0x8000, &[padding]);
    let air = with(0, &[]);
    let window = Window::new(-20.0, 10.0).expect("a window");
    for window in [
        WindowChoice::Auto,
        WindowChoice::Full,
        WindowChoice::Given(window),
        WindowChoice::Preset(Preset::Lung),
        WindowChoice::Preset(Preset::Soft),
    ] {
        let options = VolumeOptions { window, ..VolumeOptions::default() };
        let [padded, air] = [&padded, &air].map(|raw| prepare(&CPU, raw, [3, 6, 8], &options).expect("prepared"));
        assert_eq!((padded.voxels, padded.window), (air.voxels, air.window), "{window}");
    }
}
