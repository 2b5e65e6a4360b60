//! Which window is applied: the user's, the model's, the scan's own or none; and what a caller's own volume may be.

#[path = "../../loaders/tests/volume_support/dicom_edits.rs"]
mod dicom_edits;
#[path = "../../loaders/tests/volume_support/dicom_file.rs"]
mod dicom_file;
#[path = "../../loaders/tests/volume_support/nifti_file.rs"]
mod nifti_file;

use dicom_edits::{Edit, edited, item};
use dicom_file::{DicomSlice, element};
use med2e3::{Cpu, Precision, prepare};
use med2e3_loaders::volume::write_npy;
use med2e3_loaders::volume::{
    AppliedWindow, RawVolume, Unit, VolumeInfo, VolumeKind, VolumeOptions, Window, WindowChoice, WindowSource,
    parse_dicom_files, parse_nifti_bytes,
};

const CPU: Cpu = Cpu { precision: Precision::Exact };

const SIZE: [usize; 3] = [3, 6, 8];

fn window(lo: f32, hi: f32) -> Window {
    Window::new(lo, hi).expect("rising")
}

fn options(window: WindowChoice, model_window: Option<Window>) -> VolumeOptions {
    VolumeOptions { window, model_window, ..VolumeOptions::default() }
}

fn text(tag: u32, value: &str) -> Edit {
    Edit { tag, element: element(tag, b"DS", value.as_bytes()) }
}

/// WindowCenter and WindowWidth as they are written.
fn own(center: &str, width: &str) -> Vec<Edit> {
    vec![text(0x0028_1050, center), text(0x0028_1051, width)]
}

/// A series of three slices from -900 to -653 HU, each with its edits.
fn series(edits: [Vec<Edit>; 3]) -> RawVolume {
    let files: Vec<_> =
        (1..).zip(&edits).map(|(instance, edits)| edited(&DicomSlice::axial(instance), edits)).collect();
    parse_dicom_files(&files, &VolumeOptions::default()).unwrap_or_else(|problem| panic!("{problem:?}"))
}

fn applied(raw: &RawVolume, options: &VolumeOptions) -> AppliedWindow {
    let prepared = prepare(&CPU, raw, SIZE, options).unwrap_or_else(|error| panic!("{error}"));
    let decision = raw.window(options).expect("as prepare");
    assert_eq!(decision.applied, prepared.window);
    assert!(prepared.warnings.ends_with(&decision.notes), "{:?}", prepared.warnings);
    prepared.window
}

fn from(source: WindowSource, lo: f32, hi: f32) -> AppliedWindow {
    AppliedWindow { from: source, window: window(lo, hi) }
}

#[test]
fn auto_takes_the_models_then_a_cts_own_then_none() {
    let raw = series([own("-700", "200"), own("-700", "200"), own("-700", "200")]);
    let models = Some(window(-850.0, 300.0));
    let auto = WindowChoice::Auto;
    assert_eq!(applied(&raw, &options(auto, models)), from(WindowSource::Model, -850.0, 300.0));
    assert_eq!(applied(&raw, &options(auto, None)), from(WindowSource::File, -800.0, -600.0));
    let plain = series([const { Vec::new() }; 3]);
    assert_eq!(applied(&plain, &options(auto, None)), from(WindowSource::None, -900.0, -653.0));
    let notes = plain.window(&options(auto, None)).expect("none").notes;
    assert!(
        notes.len() == 1 && notes[0].contains("full range, -900 to -653") && notes[0].contains("--window"),
        "{notes:?}"
    );
    // What the user says goes before all of them.
    let given = WindowChoice::Given(window(-750.0, -650.0));
    assert_eq!(applied(&raw, &options(given, models)), from(WindowSource::User, -750.0, -650.0));
    assert_eq!(applied(&raw, &options(WindowChoice::Full, models)), from(WindowSource::None, -900.0, -653.0));
    assert_eq!(applied(&raw, &options(WindowChoice::File, models)), from(WindowSource::File, -800.0, -600.0));
    let refused =
        prepare(&CPU, &plain, SIZE, &options(WindowChoice::File, models)).expect_err("it has none").to_string();
    assert!(refused.contains("holds no window"), "{refused}");
    let shown = serde_json::to_string(&applied(&raw, &options(auto, None))).expect("JSON");
    assert_eq!(shown, r#"{"from":"file","lo":-800.0,"hi":-600.0}"#);
}

#[test]
fn a_windows_first_values_count_and_broken_ones_are_none() {
    let of = |center: &str, width: &str| series([0; 3].map(|_| own(center, width))).info.window;
    assert_eq!(of("40\\-600", "400\\1500"), Window::new(-160.0, 240.0));
    assert_eq!(of(" 40 ", "1"), Window::new(39.5, 40.5));
    for (center, width) in [
        ("40", "0"),
        ("40", "-400"),
        ("40", ""),
        ("", "400"),
        ("\\40", "400"),
        ("wide", "400"),
        ("40", "NaN"),
        ("1e300", "400"),
        ("40", "inf"),
    ] {
        assert_eq!(of(center, width), None, "{center:?} {width:?}");
    }
    // A window that shows nothing of the scan is passed over, unless it was asked for.
    let beside = series([0; 3].map(|_| own("5000", "10")));
    let auto = options(WindowChoice::Auto, None);
    assert_eq!(applied(&beside, &auto).from, WindowSource::None);
    let notes = beside.window(&auto).expect("none").notes;
    assert_eq!(notes[0], "the scan's own window, 4995 to 5005, shows nothing of it and was not used");
    let error =
        prepare(&CPU, &beside, SIZE, &options(WindowChoice::File, None)).expect_err("nothing to see").to_string();
    assert!(error.contains("4995,5005 leaves nothing of the volume's range -900..-653"), "{error}");
}

#[test]
fn the_most_frequent_window_is_the_series_own() {
    let lung = own("-600", "1500");
    let soft = own("40", "400");
    assert_eq!(series([soft.clone(), lung.clone(), lung.clone()]).info.window, Window::new(-1350.0, 150.0));
    assert_eq!(series([Vec::new(), lung.clone(), Vec::new()]).info.window, Window::new(-1350.0, 150.0));
    // Of two series in a folder, that of the chosen one.
    let files: Vec<_> = (1..=4)
        .map(|instance| {
            let slice = DicomSlice { series: 1 + instance % 2, ..DicomSlice::axial(instance) };
            edited(&slice, if slice.series == 1 { &lung } else { &soft })
        })
        .collect();
    for (index, wanted) in [(0, window(-1350.0, 150.0)), (1, window(-160.0, 240.0))] {
        let one = VolumeOptions { index: Some(index), ..VolumeOptions::default() };
        assert_eq!(parse_dicom_files(&files, &one).expect("a series").info.window, Some(wanted));
    }
}

#[test]
fn frames_have_their_own_windows() {
    let voi = |center: &str, width: &str| {
        let window = own(center, width).into_iter().flat_map(|edit| edit.element).collect::<Vec<u8>>();
        item(&element(0x0028_9132, b"SQ", &item(&window)))
    };
    let frames = [voi("40", "400"), voi("-600", "1500"), voi("-600", "1500")].concat();
    let pixels: Vec<u8> = (0..144u16).flat_map(|pixel| (500 + pixel).to_le_bytes()).collect();
    let edits = [
        Edit { tag: 0x0028_0008, element: element(0x0028_0008, b"IS", b"3") },
        text(0x0028_1050, "7"),
        text(0x0028_1051, "8"),
        Edit { tag: 0x5200_9230, element: element(0x5200_9230, b"SQ", &frames) },
        Edit { tag: 0x7FE0_0010, element: element(0x7FE0_0010, b"OW", &pixels) },
    ];
    let volume = parse_dicom_files(&[edited(&DicomSlice::axial(1), &edits)], &VolumeOptions::default());
    assert_eq!(volume.expect("three frames").info.window, Window::new(-1350.0, 150.0));
}

/// An MR's window is in no unit that a model could know; it is used where it is asked for.
#[test]
fn a_window_of_an_mr_is_used_on_demand_alone() {
    let mr = Edit { tag: 0x0008_0060, element: element(0x0008_0060, b"CS", b"MR") };
    let raw = series([0; 3].map(|_| [own("-700", "200"), vec![mr.clone()]].concat()));
    assert_eq!(raw.info.unit, Unit::Unknown);
    let auto = options(WindowChoice::Auto, None);
    assert_eq!(applied(&raw, &auto).from, WindowSource::None);
    assert!(raw.window(&auto).expect("none").notes[0].contains("-800 to -600, is not in Hounsfield units"));
    assert_eq!(applied(&raw, &options(WindowChoice::File, None)), from(WindowSource::File, -800.0, -600.0));
}

/// A NIfTI file of the voxels, rising but for the first `count`, which are `fill`.
fn nifti(count: usize, fill: i16) -> Vec<u8> {
    let mut bytes = nifti_file::nifti(1);
    bytes[352..352 + 2 * count].copy_from_slice(&fill.to_le_bytes().repeat(count));
    bytes
}

#[test]
fn what_lies_below_air_is_air_unless_all_is_wanted() {
    let raw = parse_nifti_bytes(&nifti(1, -2000), &VolumeOptions::default()).expect("a volume");
    assert_eq!((raw.info.unit, raw.info.range), (Unit::Hounsfield, [-2000.0, 119.0]));
    let auto = options(WindowChoice::Auto, None);
    assert_eq!(applied(&raw, &auto), from(WindowSource::None, -1024.0, 119.0));
    let notes = raw.window(&auto).expect("none").notes;
    assert!(notes[0].starts_with("0.8 % of the voxels lie below -1024 HU, down to -2000"), "{notes:?}");
    assert_eq!(applied(&raw, &options(WindowChoice::Full, None)), from(WindowSource::None, -2000.0, 119.0));

    let air = parse_nifti_bytes(&nifti(1, -1024), &VolumeOptions::default()).expect("a volume");
    let voxels = |raw, window| prepare(&CPU, raw, [6, 5, 4], &options(window, None)).expect("prepared").voxels;
    assert_eq!(voxels(&raw, WindowChoice::Auto), voxels(&air, WindowChoice::Full));
    assert_ne!(voxels(&raw, WindowChoice::Full), voxels(&air, WindowChoice::Full));

    // Units that are not Hounsfield's, all of them below: the way on is named.
    let low: Vec<u8> = (0..120i16).flat_map(|voxel| (voxel - 5000).to_le_bytes()).collect();
    let mut bytes = nifti_file::nifti(1);
    bytes[352..].copy_from_slice(&low);
    let raw = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
    let error = prepare(&CPU, &raw, SIZE, &auto).expect_err("nothing above air").to_string();
    assert!(error.contains("-1024") && error.contains("--window full"), "{error}");
    assert!(prepare(&CPU, &raw, SIZE, &options(WindowChoice::Full, None)).is_ok());
}

#[test]
fn a_fill_value_of_a_nifti_is_named() {
    let notes = |bytes: &[u8]| parse_nifti_bytes(bytes, &VolumeOptions::default()).expect("a volume").info.notes;
    let found = notes(&nifti(12, -3024));
    let wanted = "10.0 % of the voxels are -3024, and the next value is 3036 higher";
    assert!(found.iter().any(|note| note.starts_with(wanted) && note.contains("--window")), "{found:?}");
    let found = notes(&nifti(12, 20_000));
    assert!(found.iter().any(|note| note.starts_with("10.0 % of the voxels are 20000,")), "{found:?}");
    assert_eq!(notes(&nifti(1, -3024)), [""; 0], "one voxel of 120");
    // The slope is not a number: the voxels are taken unscaled, and their fill value is named all the same.
    let mut unscaled = nifti(12, -3024);
    unscaled[112..116].copy_from_slice(&f32::NAN.to_le_bytes());
    let found = notes(&unscaled);
    assert!(found.iter().any(|note| note.contains("scl_slope is NaN")), "{found:?}");
    assert!(found.iter().any(|note| note.starts_with(wanted)), "{found:?}");
    // With a slope, what counts is the value that comes out.
    let mut scaled = nifti(12, -600);
    scaled[112..116].copy_from_slice(&2f32.to_le_bytes());
    assert!(notes(&scaled).iter().any(|note| note.starts_with("10.0 % of the voxels are -1200,")));
}

fn volume(dims: [usize; 3], voxels: Vec<f32>, kind: VolumeKind) -> RawVolume {
    RawVolume { voxels, dims, kind, info: VolumeInfo::default() }
}

/// Whatever a caller puts together, `prepare` answers or says why not.
#[test]
fn a_callers_volume_never_panics() {
    let rising = |count: usize| (0..count).map(|voxel| voxel as f32).collect::<Vec<f32>>();
    let intensity = VolumeKind::Intensity;
    let refused = [
        (volume([10, 11, 10], rising(810), intensity), "has 810 voxels, but its sizes are [10, 11, 10]"),
        (volume([9, 9, 9], rising(810), intensity), "has 810 voxels"),
        (volume([usize::MAX, 2, 1], rising(2), intensity), "has 2 voxels"),
        (volume([1 << 32, 1 << 32, 1], Vec::new(), intensity), "has 0 voxels"),
        (volume([0, 5, 5], Vec::new(), intensity), "no finite voxel"),
        (volume([1, 1, 3], vec![f32::NAN; 3], intensity), "no finite voxel"),
        (volume([1, 1, 3], vec![f32::INFINITY; 3], VolumeKind::Prepared), "no finite voxel"),
        (volume([1, 1, 3], vec![7.0; 3], intensity), "is constant"),
        (volume([1, 1, 3], rising(3), VolumeKind::Prepared), "holds values from 0 to 2"),
    ];
    let auto = VolumeOptions::default();
    for (raw, wanted) in refused {
        let error = prepare(&CPU, &raw, [2, 2, 2], &auto).expect_err(wanted).to_string();
        assert!(error.contains(wanted) && error.contains(';'), "{error}");
        assert!(raw.window(&auto).is_err(), "{wanted}");
    }
    for size in [[0, 2, 2], [usize::MAX, 2, 2], [1 << 20, 1 << 20, 1 << 20], [1 << 30, 1, 1]] {
        let error =
            prepare(&CPU, &volume([1, 1, 3], rising(3), intensity), size, &auto).expect_err("a size").to_string();
        assert!(error.contains("cannot be resized"), "{error}");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = write_npy(&folder.path().join("a.npy"), [2, usize::MAX, 2], &[0.0; 4]).expect_err("sizes");
    assert!(error.to_string().contains("4 voxels"), "{error}");
}

/// Voxels that are not finite are repaired as the readers repair them, with the same words.
#[test]
fn a_callers_non_finite_voxels_are_repaired() {
    let wide = WindowChoice::Full;
    for (bad, kind) in [
        (f32::NAN, VolumeKind::Intensity),
        (f32::INFINITY, VolumeKind::Intensity),
        (f32::NEG_INFINITY, VolumeKind::Prepared),
    ] {
        let raw = |hole: f32| volume([1, 2, 2], vec![0.25, hole, 1.0, 0.5], kind);
        let repaired = prepare(&CPU, &raw(bad), [1, 2, 2], &options(wide, None)).expect("repaired");
        let wanted = prepare(&CPU, &raw(0.25), [1, 2, 2], &options(wide, None)).expect("prepared");
        assert_eq!(repaired.voxels, wanted.voxels, "{bad}");
        let warning = "1 voxels were not finite and took the volume's minimum, 0.25";
        assert_eq!(repaired.warnings[0], warning);
    }
}
