//! Volumes and preprocessing against MONAI 1.3 on real files (`m3d/golden_preprocess.json`).

#[path = "../../loaders/tests/volume_support/mod.rs"]
mod volume_support;

use std::path::Path;

use med2e3::{Cpu, Device, Emulation, Gpu, Precision, PreparedVolume, prepare};
use med2e3_kernels::DType;
use med2e3_kernels::ops::PreprocessVolume;
use med2e3_loaders::volume::write_npy;
use med2e3_loaders::volume::{
    RawVolume, SliceOrder, VolumeKind, VolumeOptions, Window, WindowChoice, parse_npy_bytes, read_volume,
};
use serde_json::Value;
use volume_support::{golden, shared_data};

const CPU: Cpu = Cpu { precision: Precision::Exact };

const IMG_SIZE: [usize; 3] = [32, 256, 256];

/// The bound; both sides compute in f32, whose own rounding here is below 1e-6.
const TOLERANCE: f64 = 1e-5;

fn prepared(path: &Path, options: &VolumeOptions) -> PreparedVolume {
    let raw = read_volume(path, options).unwrap_or_else(|error| panic!("{error}"));
    prepare(&CPU, &raw, IMG_SIZE, options).unwrap_or_else(|error| panic!("{error}"))
}

fn mean(voxels: &[f32]) -> f64 {
    voxels.iter().map(|&voxel| f64::from(voxel)).sum::<f64>() / voxels.len() as f64
}

fn assert_near(what: &str, got: f64, want: &Value) {
    let want = want.as_f64().expect("a golden number");
    assert!((got - want).abs() <= TOLERANCE, "{what}: got {got}, want {want}");
}

fn assert_matches(name: &str, got: &PreparedVolume, want: &Value) {
    assert_eq!(got.dims, IMG_SIZE, "{name}");
    assert_near(&format!("{name} mean"), mean(&got.voxels), &want["mean"]);
    let centre = mean(&got.voxels);
    let variance = got.voxels.iter().map(|&voxel| (f64::from(voxel) - centre).powi(2)).sum::<f64>();
    assert_near(&format!("{name} std"), (variance / got.voxels.len() as f64).sqrt(), &want["std"]);
    for (place, value) in want["points"].as_object().expect("points") {
        let index = place.split(',').fold(0, |index, number| index * 256 + number.parse::<usize>().expect("a number"));
        assert_near(&format!("{name} at {place}"), f64::from(got.voxels[index]), value);
    }
    for (slice, value) in want["slice_means"].as_array().expect("slice means").iter().enumerate() {
        let plane = &got.voxels[slice * 256 * 256..][..256 * 256];
        assert_near(&format!("{name} slice {slice}"), mean(plane), value);
    }
}

/// Every file and variant of the golden: .npy, every byte order and axis order of NIfTI, with and without a window.
#[test]
fn every_golden_volume_matches_monai() {
    let Some((folder, golden)) = golden("m3d/golden_preprocess.json") else { return };
    let mut checked = 0;
    for (file, variants) in golden["items"].as_object().expect("items") {
        for (variant, want) in variants.as_object().expect("variants") {
            let window = variant.strip_prefix("window ").map_or(WindowChoice::Full, |text| {
                let (low, high) = text.split_once(',').expect("a window");
                let window = Window::new(low.parse().expect("low"), high.parse().expect("high"));
                WindowChoice::Given(window.expect("a window"))
            });
            let options = VolumeOptions { window, ..VolumeOptions::default() };
            assert_matches(&format!("{file} {variant}"), &prepared(&folder.join(file), &options), want);
            checked += 1;
        }
    }
    assert_eq!(checked, 15);
}

/// M3D's own recipe on the PNG slices gives its prepared .npy, which is then taken as it is.
#[test]
fn the_png_folder_gives_the_prepared_npy() {
    let Some(folder) = shared_data() else { return };
    let options = VolumeOptions::default();
    let images = prepared(&folder.join("m3d/ct_case/000001/Axial_lung_window"), &options);
    let npy = read_volume(&folder.join("m3d/npys_256/ct_case/000001/Axial_lung_window.npy"), &options);
    let npy = npy.expect("a prepared volume");
    assert_eq!(npy.kind, VolumeKind::Prepared);
    let worst = images.voxels.iter().zip(&npy.voxels).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(f64::from(worst) <= TOLERANCE, "worst difference {worst}");
}

/// An ellipsoid of waves in air, so that the box is a part and no slice is like another.
fn phantom([slices, rows, columns]: [usize; 3]) -> RawVolume {
    let place = |index: usize, size: usize| (2 * index + 1) as f64 / size as f64 - 1.0;
    let mut voxels = Vec::with_capacity(slices * rows * columns);
    for (n, y, x) in (0..slices).flat_map(|n| (0..rows).flat_map(move |y| (0..columns).map(move |x| (n, y, x)))) {
        let a = place(n, slices) - 0.1;
        let b = place(y, rows) + 0.05;
        let c = place(x, columns);
        let is_inside = a * a / 0.9 + b * b / 0.4 + c * c / 0.6 < 1.0;
        let wave = 400.0 * (9.0 * a).sin() + 300.0 * (13.0 * b).cos() * (7.0 * c).sin() + 100.0;
        voxels.push(if is_inside { wave as f32 } else { -1000.0 });
    }
    RawVolume::from_slices(&voxels, [slices, rows, columns], VolumeKind::Intensity).expect("a phantom")
}

/// The emulated GPU prepares to the bit what the processor prepares, which the goldens compare with MONAI.
#[test]
fn devices_prepare_alike() {
    let gpu = Gpu::emulated(Emulation::default());
    let narrow = WindowChoice::Given(Window::new(-160.0, 240.0).expect("rising"));
    for (dims, size, window) in [
        ([40, 90, 70], [8, 32, 32], WindowChoice::Full),
        ([12, 33, 47], [16, 24, 20], narrow),
        ([1, 17, 130], [4, 16, 16], WindowChoice::Auto),
    ] {
        let raw = phantom(dims);
        let options = VolumeOptions { window, ..VolumeOptions::default() };
        let [got, want] = [&gpu as &dyn Device, &CPU].map(|device| prepare(device, &raw, size, &options));
        assert_eq!(got.expect("prepared"), want.expect("prepared"), "{dims:?}");
    }
}

/// 160 MB of voxels are three slabs and more; the result is that of the whole volume in one call.
#[test]
fn slabs_are_joined() {
    let dims = [40, 1024, 1024];
    let raw = phantom(dims);
    for size in [[32, 16, 16], [7, 16, 16], [90, 8, 8]] {
        let got = prepare(&CPU, &raw, size, &VolumeOptions::default()).expect("prepared");
        let cpu: &dyn Device = &CPU;
        let mut slab = cpu.tensor(&dims, DType::F32).expect("memory");
        cpu.write(&mut slab, &raw.voxels).expect("sizes agree");
        let mut out = cpu.tensor(&size, DType::F32).expect("memory");
        let scale = Some(raw.info.range);
        let crop = got.crop;
        let op = PreprocessVolume { slab: slab.view(), first_slice: 0, scale, crop, out: out.view_mut() };
        cpu.preprocess_volume(op).expect("valid");
        assert_eq!(got.voxels, cpu.read(out.view()).expect("readable"), "{size:?}");
    }
}

/// What `write_npy` writes is read back to the bit, and the slices that contribute to each are named.
#[test]
fn a_written_npy_is_read_back() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("volume.npy");
    let voxels: Vec<f32> = (0..6 * 4 * 5).map(|i| i as f32 / 119.0).collect();
    write_npy(&path, [6, 4, 5], &voxels).expect("written");
    let options = VolumeOptions::default();
    let raw = read_volume(&path, &options).expect("read back");
    assert_eq!((raw.dims, &raw.voxels, raw.kind), ([6, 4, 5], &voxels, VolumeKind::Prepared));
    assert_eq!(raw.info.source_dims, [1, 6, 4, 5]);
    // The first slice keeps its voxels above 0, so nothing is cropped; 3 of 6 slices blend two each.
    let small = prepare(&CPU, &raw, [3, 4, 5], &options).expect("prepared");
    assert_eq!(small.crop, [[0, 6], [0, 4], [0, 5]]);
    assert_eq!(small.source_slices, [[0, 1], [2, 3], [4, 5]]);
    let reversed = VolumeOptions { slice_order: SliceOrder::InferiorFirst, ..options };
    let last_first = read_volume(&path, &reversed).expect("read reversed");
    assert_eq!(last_first.voxels[..20], voxels[100..]);
}

/// A .npy of `descr` and `data` with the shape (2, 2, 2), written by hand.
fn npy(descr: &str, fortran: &str, data: &[u8]) -> Vec<u8> {
    let dict = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': (2, 2, 2), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.bytes());
    bytes.extend(data);
    bytes
}

/// Each dtype in both byte orders, C and Fortran order, on the values 1 to 8.
#[test]
fn every_npy_dtype_is_read() {
    let numbers = 1..=8u8;
    let f16_of = |n: u8| half::f16::from_f32(f32::from(n)).to_le_bytes().to_vec();
    let wide = |size: usize, n: u8| [vec![n], vec![0; size - 1]].concat();
    type Encode = Box<dyn Fn(u8) -> Vec<u8>>;
    let encoders: [(&str, Encode); 11] = [
        ("u1", Box::new(move |n| wide(1, n))),
        ("i1", Box::new(move |n| wide(1, n))),
        ("u2", Box::new(move |n| wide(2, n))),
        ("i2", Box::new(move |n| wide(2, n))),
        ("u4", Box::new(move |n| wide(4, n))),
        ("i4", Box::new(move |n| wide(4, n))),
        ("u8", Box::new(move |n| wide(8, n))),
        ("i8", Box::new(move |n| wide(8, n))),
        ("f2", Box::new(f16_of)),
        ("f4", Box::new(|n| f32::from(n).to_le_bytes().to_vec())),
        ("f8", Box::new(|n| f64::from(n).to_le_bytes().to_vec())),
    ];
    let rising: Vec<f32> = (1..=8).map(|n| n as f32).collect();
    // Fortran order stores the slice axis fastest.
    let transposed = [1.0, 5.0, 3.0, 7.0, 2.0, 6.0, 4.0, 8.0];
    for (kind, encode) in &encoders {
        let little: Vec<u8> = numbers.clone().flat_map(encode).collect();
        let big: Vec<u8> = numbers.clone().flat_map(|n| encode(n).into_iter().rev().collect::<Vec<_>>()).collect();
        let options = VolumeOptions::default();
        for (descr, data) in [(format!("<{kind}"), &little), (format!(">{kind}"), &big)] {
            let raw = parse_npy_bytes(&npy(&descr, "False", data), &options).expect("a volume");
            assert_eq!((&raw.voxels, raw.kind), (&rising, VolumeKind::Intensity), "{descr}");
            let raw = parse_npy_bytes(&npy(&descr, "True", data), &options).expect("a volume");
            assert_eq!(raw.voxels, transposed, "{descr} in Fortran order");
        }
    }
}

/// Non-finite voxels take the minimum, with a warning; nothing to see, and windows that leave nothing, are errors.
#[test]
fn odd_values_are_repaired_or_refused() {
    let floats = |values: [f32; 8]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
    let options = VolumeOptions::default();
    let data = floats([-5.0, 2.0, f32::NAN, 4.0, f32::INFINITY, 6.0, f32::NEG_INFINITY, 8.0]);
    let raw = parse_npy_bytes(&npy("<f4", "False", &data), &options).expect("repaired");
    assert_eq!(raw.voxels, [-5.0, 2.0, -5.0, 4.0, -5.0, 6.0, -5.0, 8.0]);
    assert!(raw.info.notes.iter().any(|note| note.contains("3 voxels were not finite")), "{:?}", raw.info.notes);

    let constant = parse_npy_bytes(&npy("<f4", "False", &floats([0.5; 8])), &options).expect_err("constant");
    assert!(constant.finding.contains("constant"), "{constant:?}");
    let nothing = parse_npy_bytes(&npy("<f4", "False", &floats([f32::NAN; 8])), &options).expect_err("not finite");
    assert!(nothing.finding.contains("no finite voxel"), "{nothing:?}");

    for [lo, hi] in [[240.0, -160.0], [1.0, 1.0], [f32::NAN, 1.0], [0.0, f32::INFINITY]] {
        assert_eq!(Window::new(lo, hi), None);
    }
    let beside = Window::new(100.0, 200.0).expect("a window");
    let options = VolumeOptions { window: WindowChoice::Given(beside), ..VolumeOptions::default() };
    let error = prepare(&CPU, &raw, [2, 2, 2], &options).expect_err("nothing to see");
    assert!(error.to_string().contains("the window 100,200 leaves nothing of the volume's range -5..8"), "{error}");
}
