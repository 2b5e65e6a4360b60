//! Small valid inputs of every format but DICOM.
use super::Seed;
use flate2::Compression;
use flate2::write::GzEncoder;
use med2e3_loaders::config::ConfigFiles;
use rawzip::{CompressionMethod, ZipArchiveWriter, ZipDataWriter};
use std::io::Write;

/// Three tensors of the three element types.
const SAFETENSORS_HEADER: &str = concat!(
    r#"{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"#,
    r#""b":{"dtype":"F16","shape":[],"data_offsets":[24,26]},"#,
    r#""c.bias":{"dtype":"BF16","shape":[3],"data_offsets":[26,32]}}"#
);
const SAFETENSORS_DATA_BYTES: usize = 32;

fn safetensors_file(header: Vec<u8>) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), &header, &[0x3c; SAFETENSORS_DATA_BYTES]].concat()
}

pub(super) fn safetensors() -> Vec<Seed> {
    let header = SAFETENSORS_HEADER.as_bytes().to_vec();
    vec![Seed::whole(safetensors_file(header.clone())), Seed::part(header, safetensors_file)]
}

/// `torch.save(OrderedDict(a=<2x3>, b=<transposed 2x3>))`: both tensors view one storage of six elements.
fn pickle() -> Vec<u8> {
    let text = |text: &str| [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat();
    let ordered = b"ccollections\nOrderedDict\n)R".to_vec();
    let storage = [b"(".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu")];
    let storage = [storage.concat(), b"K\x06tQ".to_vec()].concat();
    let tensor = |shape: &[u8], stride: &[u8]| {
        let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
        let view = [b"K\x00".as_slice(), shape, b"\x86", stride, b"\x86\x89"].concat();
        [rebuild, storage.clone(), view, ordered.clone(), b"tR".to_vec()].concat()
    };
    let items = [text("a"), tensor(b"K\x02K\x03", b"K\x03K\x01"), text("b"), tensor(b"K\x03K\x02", b"K\x01K\x03")];
    [b"\x80\x02".to_vec(), ordered.clone(), b"(".to_vec(), items.concat(), b"u.".to_vec()].concat()
}

/// The tensor `a` of [`pickle`] in protocol 4: one frame, strings with 1-byte lengths, and MEMOIZE opcodes.
fn pickle_of_protocol_4() -> Vec<u8> {
    let text = |text: &str| [b"\x8c", [text.len() as u8].as_slice(), text.as_bytes(), b"\x94"].concat();
    let named = |module: &str, name: &str| [text(module), text(name), b"\x93\x94".to_vec()].concat();
    let storage = [b"(".to_vec(), text("storage"), named("torch", "FloatStorage"), text("0"), text("cpu")].concat();
    let view = b"K\x06t\x94QK\x00K\x02K\x03\x86\x94K\x03K\x01\x86\x94\x89".to_vec();
    let hooks = [named("collections", "OrderedDict"), b")R\x94t\x94R\x94s.".to_vec()].concat();
    let rebuild = [named("torch._utils", "_rebuild_tensor_v2"), b"(".to_vec()].concat();
    let code = [b"}\x94".to_vec(), text("a"), rebuild, storage, view, hooks].concat();
    [b"\x80\x04\x95".as_slice(), &(code.len() as u64).to_le_bytes(), &code].concat()
}

/// A zip of stored entries with right checksums.
pub(super) fn zip<N: AsRef<str>, C: AsRef<[u8]>>(entries: &[(N, C)]) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, content) in entries {
        let entry = archive.new_file(name.as_ref()).compression_method(CompressionMethod::STORE);
        let (mut entry, config) = entry.start().expect("the name is valid");
        let mut data: ZipDataWriter<_> = config.wrap(&mut entry);
        data.write_all(content.as_ref()).expect("a vector takes all");
        let (_, descriptor) = data.finish().expect("a vector takes all");
        entry.finish(descriptor).expect("a vector takes all");
    }
    archive.finish().expect("a vector takes all")
}

fn torch_file(pickle: Vec<u8>) -> Vec<u8> {
    let entries: [(&str, &[u8]); 4] =
        [("m/data.pkl", &pickle), ("m/byteorder", b"little"), ("m/data/0", &[0; 24]), ("m/version", b"3\n")];
    zip(&entries)
}

pub(super) fn torch_zip() -> Vec<Seed> {
    let newer = Seed::part(pickle_of_protocol_4(), torch_file);
    vec![Seed::whole(torch_file(pickle())), Seed::part(pickle(), torch_file), newer]
}

/// Writes `value` at `at`.
pub(super) fn put(bytes: &mut [u8], at: usize, value: impl AsRef<[u8]>) {
    let value = value.as_ref();
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// NIfTI-1, little-endian, int16, 4 x 3 x 2 with a slope and an affine.
pub(super) fn nifti_1() -> Vec<u8> {
    let mut file = vec![0; 352];
    put(&mut file, 0, 348i32.to_le_bytes());
    for (axis, size) in [3i16, 4, 3, 2, 1, 1, 1, 1].into_iter().enumerate() {
        put(&mut file, 40 + 2 * axis, size.to_le_bytes());
        put(&mut file, 76 + 4 * axis, 1f32.to_le_bytes());
    }
    put(&mut file, 70, 4i16.to_le_bytes());
    put(&mut file, 72, 16i16.to_le_bytes());
    put(&mut file, 108, 352f32.to_le_bytes());
    put(&mut file, 112, 2f32.to_le_bytes());
    put(&mut file, 116, (-1024f32).to_le_bytes());
    put(&mut file, 254, 1i16.to_le_bytes());
    for axis in 0..3 {
        put(&mut file, 280 + 20 * axis, 1f32.to_le_bytes());
    }
    put(&mut file, 344, b"n+1\0");
    file.extend((0i16..24).flat_map(i16::to_le_bytes));
    file
}

/// NIfTI-2, big-endian, float32, 4 x 3 x 2 with an affine.
pub(super) fn nifti_2() -> Vec<u8> {
    let mut file = vec![0; 544];
    put(&mut file, 0, 540i32.to_be_bytes());
    put(&mut file, 4, b"n+2\0\r\n\x1a\n");
    put(&mut file, 12, 16i16.to_be_bytes());
    put(&mut file, 14, 32i16.to_be_bytes());
    for (axis, size) in [3i64, 4, 3, 2, 1, 1, 1, 1].into_iter().enumerate() {
        put(&mut file, 16 + 8 * axis, size.to_be_bytes());
        put(&mut file, 104 + 8 * axis, 1f64.to_be_bytes());
    }
    put(&mut file, 168, 544i64.to_be_bytes());
    put(&mut file, 176, 1f64.to_be_bytes());
    put(&mut file, 348, 1i32.to_be_bytes());
    for axis in 0..3 {
        put(&mut file, 400 + 40 * axis, 1f64.to_be_bytes());
    }
    file.extend((0..24).flat_map(|voxel: u8| f32::from(voxel).to_be_bytes()));
    file
}

pub(super) fn gzip(bytes: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// The last two voxels are no numbers.
fn nifti_with_holes() -> Vec<u8> {
    let mut file = nifti_2();
    let end = file.len();
    put(&mut file, end - 8, f32::NAN.to_be_bytes());
    put(&mut file, end - 4, f32::NEG_INFINITY.to_be_bytes());
    file
}

pub(super) fn nifti() -> Vec<Seed> {
    vec![
        Seed::whole(nifti_1()),
        Seed::whole(nifti_2()),
        Seed::whole(gzip(nifti_1())),
        Seed::part(nifti_1(), gzip),
        Seed::whole(nifti_with_holes()),
    ]
}

fn npy_file(header: Vec<u8>) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    let voxels: Vec<u8> = (0..24).flat_map(|voxel: u8| (f32::from(voxel) / 32.0).to_le_bytes()).collect();
    [b"\x93NUMPY\x01\0".as_slice(), &length, &header, &voxels].concat()
}

pub(super) fn npy() -> Vec<Seed> {
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3, 4), }";
    let header = format!("{text:<117}\n").into_bytes();
    vec![Seed::whole(npy_file(header.clone())), Seed::part(header, npy_file)]
}

/// The files of a small model of the goldens.
pub(super) fn config_files() -> ConfigFiles {
    let file = |bytes: &[u8]| Some(bytes.to_vec());
    ConfigFiles {
        root: "model".into(),
        args: include_bytes!("../../data/golden/models/a_score15/args_config.json").to_vec(),
        llm: file(include_bytes!("../../data/golden/a/llm/config.json")),
        vision_2d: file(include_bytes!("../../data/golden/a/vision2d_model/config.json")),
        vision_3d: file(include_bytes!("../../data/golden/a/vision3d_model/config.json")),
    }
}

pub(super) fn config() -> Vec<Seed> {
    let files = config_files();
    let parts = [Some(files.args), files.llm, files.vision_2d, files.vision_3d];
    parts.into_iter().flatten().map(Seed::whole).collect()
}
