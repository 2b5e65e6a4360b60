//! One series that holds several volumes, on files put together here.

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;

use dicom_builder::{EXPLICIT_LITTLE, Elements};
use med2e3_loaders::volume::{Problem, RawVolume, VolumeOptions, parse_dicom_files};

const ACQUISITION_NUMBER: u32 = 0x0020_0012;
const ACQUISITION_TIME: u32 = 0x0008_0032;

fn files(slices: &[Elements]) -> Vec<(String, Vec<u8>)> {
    let named = slices.iter().enumerate();
    named.map(|(number, slice)| (format!("{number:03}.dcm"), slice.file(EXPLICIT_LITTLE))).collect()
}

fn read(slices: &[Elements], index: Option<usize>) -> Result<RawVolume, Problem> {
    parse_dicom_files(&files(slices), &VolumeOptions { index, ..VolumeOptions::default() })
}

/// What is said where no volume was chosen.
fn refused(slices: &[Elements]) -> String {
    let problem = read(slices, None).expect_err("there are several volumes, or none");
    format!("{}; {}", problem.finding, problem.remedy)
}

/// The first stored voxel of each slice of a volume, superior first.
fn firsts(slices: &[Elements], index: usize) -> Vec<u16> {
    let volume = read(slices, Some(index)).unwrap_or_else(|problem| panic!("{problem:?}"));
    volume.voxels.iter().step_by(48).map(|voxel| (voxel + 1000.0) as u16).collect()
}

/// Slice `place` of a volume whose stored voxels start at `base`, with an InstanceNumber that restarts.
fn slice(base: u16, place: u16) -> Elements {
    Elements::slice(u32::from(place) + 1, 2.0 * f64::from(place), base + 100 * place)
}

/// Two volumes at the same places, each slice changed by `with`, and mixed as a folder mixes them.
fn two(places: u16, with: impl Fn(u16, u16, Elements) -> Elements) -> Vec<Elements> {
    let mixed =
        (0..places).flat_map(|place| if place % 2 == 0 { [(0, place), (1, place)] } else { [(1, place), (0, place)] });
    mixed.map(|(volume, place)| with(volume, place, slice(5000 * volume, place))).collect()
}

const FIRST: [u16; 4] = [300, 200, 100, 0];
const SECOND: [u16; 4] = [5300, 5200, 5100, 5000];

/// Each of these separates two volumes whose instance numbers restart, and stands in the labels. Texts go by instance.
#[test]
fn volumes_of_one_series_are_told_apart() {
    let cases: [(u32, &str, [&str; 2], &str); 12] = [
        (ACQUISITION_NUMBER, "IS", ["2", "10"], "AcquisitionNumber 2; 1: "),
        (0x0020_0100, "IS", ["1", "2"], "TemporalPosition 1; 1: "),
        (0x0018_0086, "IS", ["1", "2"], "EchoNumber 1; 1: "),
        (0x0018_0081, "DS", ["4.6", "12"], "EchoTime 4.6; 1: "),
        (0x0018_0060, "DS", ["80", "140"], "KVP 80; 1: "),
        (0x0018_1210, "SH", ["B30f", "B70f"], "ConvolutionKernel B30f; 1: "),
        (0x0018_0010, "LO", ["", "Omnipaque"], "no ContrastBolusAgent; 1: "),
        (0x0008_0008, "CS", ["ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"], "ImageType ORIGINAL\\PRIMARY\\M; 1: "),
        (0x0008_103E, "LO", ["arterial", "venous"], "SeriesDescription arterial; 1: "),
        (ACQUISITION_TIME, "TM", ["095959.5", "100030"], "AcquisitionTime 095959.5; 1: "),
        (0x0008_0033, "TM", ["100000", "100030"], "ContentTime 100000; 1: "),
        (0x0018_1060, "DS", ["90", "1000"], "TriggerTime 90; 1: "),
    ];
    for (tag, representation, values, label) in cases {
        let slices = two(4, |volume, _, slice| slice.text(tag, representation, values[usize::from(volume)]));
        let text = refused(&slices);
        assert!(text.contains("holds 2 volumes (0: CT ") && text.contains(label), "{text}");
        assert!(text.contains("choose one with --index 0 to 1"), "{text}");
        assert_eq!((firsts(&slices, 0), firsts(&slices, 1)), (FIRST.to_vec(), SECOND.to_vec()), "{label}");
        let note = &read(&slices, Some(1)).expect("the second").info.notes[0];
        assert!(note.starts_with("this is volume 1 of 2: CT"), "{note}");
    }
}

/// A phase that covers less can be opened, and so can the others.
#[test]
fn a_phase_with_fewer_slices_is_a_volume() {
    let mut slices = two(4, |volume, _, slice| slice.text(ACQUISITION_NUMBER, "IS", volume + 1));
    let shorter: Vec<Elements> = slices.split_off(4);
    slices.push(shorter[0].clone());
    // Of places 2 and 3, only volume 0 has place 2.
    assert!(refused(&slices).contains("3 slices of 6x8, AcquisitionNumber 1; 1: "), "{}", refused(&slices));
    assert!(refused(&slices).contains("2 slices of 6x8, AcquisitionNumber 2)"), "{}", refused(&slices));
    assert_eq!((firsts(&slices, 0), firsts(&slices, 1)), (vec![200, 100, 0], vec![5100, 5000]));
}

/// InstanceNumber separates nothing, whether it restarts or runs on, and nor does what changes along the body.
#[test]
fn where_nothing_separates_no_volume_is_made_up() {
    let restarting = two(4, |_, _, slice| slice);
    let running_on = two(4, |volume, place, slice| slice.text(0x0020_0013, "IS", 1 + place + 4 * volume));
    let by_halves = two(4, |_, place, slice| slice.text(ACQUISITION_NUMBER, "IS", place / 2));
    let alternating =
        two(4, |volume, place, slice| slice.text(ACQUISITION_TIME, "TM", format!("1000{:02}", 2 * place + volume)));
    for slices in [restarting, running_on, by_halves, alternating] {
        let text = refused(&slices);
        let want = "and no acquisition, temporal position, echo, kernel or time puts them into different volumes";
        assert!(text.contains("is at the same place as 0") && text.contains(want), "{text}");
        assert!(read(&slices, Some(0)).is_err());
    }
}

/// Times that run on through each phase separate phases, with a pause between them or without; a shorter phase needs
/// the pause.
#[test]
fn times_of_slices_separate_phases_that_follow_one_another() {
    let at = |seconds: u16| format!("10{:02}{:02}", seconds / 60, seconds % 60);
    let with = |pause: u16| {
        two(4, move |volume, place, slice| slice.text(ACQUISITION_TIME, "TM", at(50 + place + (4 + pause) * volume)))
    };
    for slices in [with(0), with(20)] {
        assert_eq!((firsts(&slices, 0), firsts(&slices, 1)), (FIRST.to_vec(), SECOND.to_vec()));
    }
    assert!(refused(&with(20)).contains("AcquisitionTime 100050 to 100053; 1: "), "{}", refused(&with(20)));
    let mut shorter = with(20);
    shorter.retain(|slice| slice.bytes() != with(20)[0].bytes());
    assert_eq!((firsts(&shorter, 0), firsts(&shorter, 1)), (vec![300, 200, 100], SECOND.to_vec()));
}

/// Two kernels of two phases are four volumes, each with its own slices.
#[test]
fn separators_combine() {
    let kernels = |kernel: &'static str, base: u16| {
        two(3, move |volume, place, _| {
            slice(base + 5000 * volume, place).text(ACQUISITION_NUMBER, "IS", volume).text(0x0018_1210, "SH", kernel)
        })
    };
    let slices = [kernels("B30f", 0), kernels("B70f", 20_000)].concat();
    assert!(refused(&slices).contains("AcquisitionNumber 1, ConvolutionKernel B70f)"), "{}", refused(&slices));
    let lowest: Vec<u16> = (0..4).map(|index| firsts(&slices, index)[2]).collect();
    assert_eq!(lowest, [0, 20_000, 5000, 25_000]);
}

/// A thin and a thick reconstruction, and a volume that lies between the slices of another one.
#[test]
fn volumes_at_other_places_are_separated_too() {
    let thickness = |thickness: u16, place: u16| {
        slice(10_000 * thickness, place).text(0x0020_0032, "DS", format!("-10\\-20\\{}", thickness * place)).text(
            0x0018_0050,
            "DS",
            thickness,
        )
    };
    let thin = (0..9).map(|place| thickness(1, place));
    let thick = (0..3).map(|place| thickness(4, place));
    let slices: Vec<Elements> = thin.chain(thick).collect();
    assert!(refused(&slices).contains("9 slices of 6x8, SliceThickness 1; 1: "), "{}", refused(&slices));
    assert_eq!(firsts(&slices, 1), [40_200, 40_100, 40_000]);

    // Half a step further on: evenly spaced together, and yet two volumes.
    let between = two(4, |volume, place, slice| {
        let z = 2 * place + volume;
        slice.text(0x0020_0032, "DS", format!("-10\\-20\\{z}")).text(ACQUISITION_NUMBER, "IS", volume)
    });
    assert_eq!((firsts(&between, 0), firsts(&between, 1)), (FIRST.to_vec(), SECOND.to_vec()));
}

/// Acquisitions that follow one another along the body are one volume, and so are slices with times of their own.
#[test]
fn one_volume_is_not_split() {
    let stepped: Vec<Elements> =
        (0..8).map(|place| slice(0, place).text(ACQUISITION_NUMBER, "IS", place / 4)).collect();
    let timed: Vec<Elements> =
        (0..8).map(|place| slice(0, place).text(ACQUISITION_TIME, "TM", format!("10000{}", place % 2))).collect();
    for slices in [stepped, timed] {
        assert_eq!(read(&slices, None).expect("one volume").dims, [8, 6, 8]);
    }
}

/// A multi-frame file says in its functional groups which frame belongs where.
#[test]
fn frames_are_told_apart() {
    fn long(tag: u32, value: &[u32]) -> Elements {
        let bytes: Vec<u8> = value.iter().flat_map(|value| value.to_le_bytes()).collect();
        Elements::default().value(tag, "UL", &bytes)
    }
    type Content = dyn Fn(u32, u32) -> (u32, Elements);
    let contents: [(&str, &Content); 6] = [
        ("TemporalPosition 1;", &|volume, _| (0x0020_9111, long(0x0020_9128, &[volume + 1]))),
        ("StackID 1;", &|volume, _| (0x0020_9111, Elements::default().text(0x0020_9056, "SH", volume + 1))),
        ("AcquisitionNumber 1;", &|volume, _| (0x0020_9111, Elements::default().short(0x0020_9156, volume as u16 + 1))),
        ("DimensionIndex 1 1;", &|volume, place| (0x0020_9111, long(0x0020_9157, &[volume + 1, place + 1]))),
        ("DimensionIndex 2 1;", &|volume, place| (0x0020_9111, long(0x0020_9157, &[place + 1, volume + 1]))),
        ("ConvolutionKernel K0;", &|volume, _| {
            (0x0018_9314, Elements::default().text(0x0018_1210, "SH", format!("K{volume}")))
        }),
    ];
    for (label, content) in contents {
        let frames = [(1, 0), (0, 1), (0, 0), (1, 1)];
        let groups: Vec<Elements> = frames
            .iter()
            .map(|&(volume, place)| {
                let (sequence, item) = content(volume, place);
                let at = Elements::default().text(0x0020_0032, "DS", format!("-10\\-20\\{}", 3 * place));
                Elements::default().items(0x0020_9113, &[at]).items(sequence, &[item])
            })
            .collect();
        let voxels: Vec<u8> = frames
            .iter()
            .flat_map(|&(volume, place)| {
                (0..48).flat_map(move |v| (5000 * volume + 100 * place + v).to_le_bytes()[..2].to_vec())
            })
            .collect();
        let file = slice(0, 0).text(0x0028_0008, "IS", 4).items(0x5200_9230, &groups).value(0x7FE0_0010, "OW", &voxels);
        let text = refused(std::slice::from_ref(&file));
        assert!(text.contains(label), "{text}");
        assert_eq!((firsts(std::slice::from_ref(&file), 0), firsts(&[file], 1)), (vec![100, 0], vec![5100, 5000]));
    }
}

/// The places of the body in each shape: a coronal stack beside an axial one, in one series.
#[test]
fn stacks_of_two_directions_are_two_volumes() {
    let coronal = (0..3u16).map(|place| {
        slice(5000, place).text(0x0020_0037, "DS", "1\\0\\0\\0\\0\\-1").text(
            0x0020_0032,
            "DS",
            format!("-10\\{}\\0", 3 * place),
        )
    });
    let slices: Vec<Elements> = (0..4).map(|place| slice(0, place)).chain(coronal).collect();
    let text = refused(&slices);
    assert!(text.contains("4 slices of 6x8, axial; 1: CT \"no description\", 3 slices of 6x8, coronal)"), "{text}");
    assert_eq!(firsts(&slices, 0), FIRST);
}
