//! Elements of a small DICOM file put in the place of others.

use crate::dicom_file::{DicomSlice, element};

/// An element to write instead of the one with its tag, or as a new one.
#[derive(Clone)]
pub struct Edit {
    pub tag: u32,
    pub element: Vec<u8>,
}

/// A sequence item around elements.
pub fn item(elements: &[u8]) -> Vec<u8> {
    [&[0xFE, 0xFF, 0x00, 0xE0], &(elements.len() as u32).to_le_bytes()[..], elements].concat()
}

/// The slice's file with `edits`, in rising order of tags.
pub fn edited(slice: &DicomSlice, edits: &[Edit]) -> (String, Vec<u8>) {
    let (name, bytes) = slice.file();
    let mut elements: Vec<Edit> = elements_of(&bytes[132..]);
    elements.retain(|old| edits.iter().all(|edit| edit.tag != old.tag));
    elements.extend(edits.iter().cloned());
    elements.sort_by_key(|element| element.tag);
    let elements = elements.into_iter().flat_map(|element| element.element);
    (name, bytes[..132].iter().copied().chain(elements).collect())
}

/// The elements of a data set in explicit VR little endian, without sequences.
fn elements_of(mut bytes: &[u8]) -> Vec<Edit> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let half = |at: usize| u32::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let head = if &bytes[4..6] == b"OW" { [12, half(8) | half(10) << 16] } else { [8, half(6)] };
        let (element, rest) = bytes.split_at((head[0] + head[1]) as usize);
        found.push(Edit { tag: half(0) << 16 | half(2), element: element.to_vec() });
        bytes = rest;
    }
    assert_eq!(found[1].element, element(0x0008_0060, b"CS", b"CT"), "the modality follows the syntax");
    found
}
