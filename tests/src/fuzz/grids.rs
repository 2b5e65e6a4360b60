//! NRRD and MetaImage: headers of text, alone with their voxels behind them or beside a file of voxels.
use super::{Seed, case_folder, numbered, of_number, seeds, volumes, write};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use med2e3_loaders::volume::{VolumeOptions, read_bytes, read_volume};
use std::io::Write;

/// Whether the voxels stand behind the header or in a file beside it.
const PLACES: [&str; 2] = ["behind", "beside"];
const VOXELS_FILE: &str = "voxels.raw";

fn voxels() -> Vec<u8> {
    (0i16..24).flat_map(i16::to_le_bytes).collect()
}

fn nrrd(encoding: &str, place: &str) -> Vec<u8> {
    format!(
        "NRRD0004\n# written by hand\ntype: short\ndimension: 4\nspace: left-posterior-superior\nsizes: 4 3 2 1\n\
         space directions: (0.5,0,0) (0,0.5,0) (0,0.1,2) none\nkinds: domain domain domain list\nendian: little\n\
         encoding: {encoding}\nspace origin: (-3,4,5)\nkey:=value\n{place}"
    )
    .into_bytes()
}

pub(super) fn nrrd_seeds() -> Vec<Seed> {
    let packed = [nrrd("gzip", "\n"), seeds::gzip(voxels())].concat();
    let plain = [nrrd("raw", "byte skip: 0\n\n"), voxels()].concat();
    let beside = nrrd("raw", &format!("data file: {VOXELS_FILE}\n"));
    vec![numbered(0, packed), numbered(0, plain), numbered(1, beside)]
}

fn metaimage(packed: bool, place: &str) -> Vec<u8> {
    let packed = if packed { "True" } else { "False" };
    format!(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {packed}\n\
         TransformMatrix = 0 1 0 1 0 0 0 0 1\nOffset = -3 4 5\nElementSpacing = 0.5 0.5 2\nDimSize = 4 3 2\n\
         ElementType = MET_SHORT\nElementDataFile = {place}\n"
    )
    .into_bytes()
}

pub(super) fn metaimage_seeds() -> Vec<Seed> {
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&voxels()).expect("a vector takes all");
    let packed = [metaimage(true, "LOCAL"), zlib.finish().expect("a vector takes all")].concat();
    let plain = [metaimage(false, "LOCAL"), voxels()].concat();
    vec![numbered(0, packed), numbered(0, plain), numbered(1, metaimage(false, VOXELS_FILE))]
}

/// One whole file of each format.
pub(super) fn whole_seeds() -> Vec<Seed> {
    let files = [nrrd("raw", "\n"), metaimage(false, "LOCAL")];
    files.into_iter().map(|header| Seed::whole([header, voxels()].concat())).collect()
}

pub(super) fn read_nrrd(bytes: &[u8]) -> Result<(), String> {
    read(bytes, "scan.nrrd", "scan.nhdr")
}

pub(super) fn read_metaimage(bytes: &[u8]) -> Result<(), String> {
    read(bytes, "scan.mha", "scan.mhd")
}

/// Reads a file in memory, or the header of sound voxels in a folder.
fn read(bytes: &[u8], whole: &str, header: &str) -> Result<(), String> {
    let Some((place, content)) = of_number(&PLACES, bytes) else { return Err("is empty; give a file".into()) };
    if place == 0 {
        return volumes::settle(read_bytes(whole, content, &VolumeOptions::default()));
    }
    let folder = case_folder();
    write(folder.path().join(VOXELS_FILE), voxels());
    write(folder.path().join(header), content);
    volumes::settle(read_volume(&folder.path().join(header), &VolumeOptions::default()))
}
