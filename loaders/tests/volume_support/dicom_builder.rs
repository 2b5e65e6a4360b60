//! DICOM files put together element by element.

use std::collections::BTreeMap;

pub const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const RLE: &str = "1.2.840.10008.1.2.5";
pub const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
pub const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
pub const HTJ2K: &str = "1.2.840.10008.1.2.4.201";

/// Elements in explicit VR little endian, in the order of their tags.
#[derive(Clone, Default)]
pub struct Elements(BTreeMap<u32, Vec<u8>>);

impl Elements {
    /// Sets an element of any type, its value padded to an even length.
    pub fn value(mut self, tag: u32, representation: &str, value: &[u8]) -> Self {
        let mut bytes = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
        let padded = value.len().next_multiple_of(2);
        bytes.extend(representation.bytes());
        if ["OB", "OW", "SQ", "UN"].contains(&representation) {
            bytes.extend([0, 0]);
            bytes.extend((padded as u32).to_le_bytes());
        } else {
            bytes.extend((padded as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes.resize(bytes.len() + padded - value.len(), b' ');
        self.0.insert(tag, bytes);
        self
    }

    pub fn text(self, tag: u32, representation: &str, text: impl ToString) -> Self {
        self.value(tag, representation, text.to_string().as_bytes())
    }

    pub fn short(self, tag: u32, number: u16) -> Self {
        self.value(tag, "US", &number.to_le_bytes())
    }

    /// Sets a sequence.
    pub fn items(self, tag: u32, items: &[Elements]) -> Self {
        let item = |item: &Elements| {
            let content = item.bytes();
            [&b"\xfe\xff\x00\xe0"[..], &(content.len() as u32).to_le_bytes(), &content].concat()
        };
        let bytes = items.iter().flat_map(item).collect::<Vec<u8>>();
        self.value(tag, "SQ", &bytes)
    }

    /// Takes an element away.
    pub fn without(mut self, tag: u32) -> Self {
        self.0.remove(&tag);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.values().flatten().copied().collect()
    }

    /// The whole file in a transfer syntax.
    pub fn file(&self, syntax: &str) -> Vec<u8> {
        file_of(syntax, &self.bytes())
    }

    /// A CT slice of 6 rows and 8 columns in series 1, at `z` mm; its voxels rise from `first` - 1000.
    pub fn slice(instance: u32, z: f64, first: u16) -> Self {
        let voxels: Vec<u8> = (first..first + 48).flat_map(u16::to_le_bytes).collect();
        Self::default()
            .text(0x0008_0060, "CS", "CT")
            .text(0x0020_000E, "UI", "1.2.1")
            .text(0x0020_0011, "IS", 1)
            .text(0x0020_0013, "IS", instance)
            .text(0x0020_0032, "DS", format!("-10\\-20\\{z}"))
            .text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0")
            .short(0x0028_0002, 1)
            .text(0x0028_0004, "CS", "MONOCHROME2")
            .short(0x0028_0010, 6)
            .short(0x0028_0011, 8)
            .text(0x0028_0030, "DS", "0.5\\0.5")
            .short(0x0028_0100, 16)
            .short(0x0028_0101, 16)
            .short(0x0028_0102, 15)
            .short(0x0028_0103, 0)
            .text(0x0028_1052, "DS", -1000)
            .text(0x0028_1053, "DS", 1)
            .value(0x7FE0_0010, "OW", &voxels)
    }

    /// The same with another size, its voxels all alike but one.
    pub fn sized(self, rows: u16, columns: u16) -> Self {
        let mut voxels = vec![0; 2 * usize::from(rows) * usize::from(columns)];
        voxels[0] = 1;
        self.short(0x0028_0010, rows).short(0x0028_0011, columns).value(0x7FE0_0010, "OW", &voxels)
    }
}

/// A data set behind a preamble and a file header.
pub fn file_of(syntax: &str, dataset: &[u8]) -> Vec<u8> {
    let meta = Elements::default().text(0x0002_0010, "UI", syntax).bytes();
    [&[0; 128], &b"DICM"[..], &meta, dataset].concat()
}

/// Encapsulated pixels: an offset table and fragments.
pub fn encapsulated(table: &[u8], fragments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff".to_vec();
    for content in [&[table][..], fragments].concat() {
        bytes.extend(b"\xfe\xff\x00\xe0");
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
    }
    bytes.extend(b"\xfe\xff\xdd\xe0\0\0\0\0");
    bytes
}
