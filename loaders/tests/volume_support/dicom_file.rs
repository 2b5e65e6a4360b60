//! Small DICOM files written by hand, to be changed, cut and bent.

/// An element in explicit VR little endian, its value padded to an even length.
pub fn element(tag: u32, representation: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let mut bytes = [((tag >> 16) as u16).to_le_bytes(), (tag as u16).to_le_bytes()].concat();
    let padded = value.len().next_multiple_of(2);
    bytes.extend(representation);
    if [b"OW", b"SQ"].contains(&representation) {
        bytes.extend([0, 0]);
        bytes.extend((padded as u32).to_le_bytes());
    } else {
        bytes.extend((padded as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes.resize(bytes.len() + padded - value.len(), b' ');
    bytes
}

/// What differs from slice to slice.
#[derive(Clone)]
pub struct DicomSlice {
    pub position: [f64; 3],
    pub instance: u32,
    pub series: u32,
    pub columns: u16,
    pub orientation: &'static str,
}

impl DicomSlice {
    /// Slice `instance` of an axial series, 2 mm apart.
    pub fn axial(instance: u32) -> Self {
        let position = [-10.0, -20.0, 2.0 * f64::from(instance)];
        Self { position, instance, series: 1, columns: 8, orientation: "1\\0\\0\\0\\1\\0" }
    }

    /// The slice as a CT file of 6 rows, named after its instance; voxels rise from 100 times the instance.
    pub fn file(&self) -> (String, Vec<u8>) {
        let mut bytes = vec![0; 128];
        bytes.extend(b"DICM");
        bytes.extend(element(0x0002_0010, b"UI", b"1.2.840.10008.1.2.1"));
        let text = |tag, representation, text: String| element(tag, representation, text.as_bytes());
        let short = |tag, number: u16| element(tag, b"US", &number.to_le_bytes());
        let [x, y, z] = self.position;
        let pixels = 6 * self.columns;
        let first = 100 * self.instance as u16;
        let data: Vec<u8> = (first..first + pixels).flat_map(|voxel| voxel.to_le_bytes()).collect();
        bytes.extend(
            [
                text(0x0008_0060, b"CS", "CT".to_owned()),
                text(0x0020_000E, b"UI", format!("1.2.{}", self.series)),
                text(0x0020_0011, b"IS", self.series.to_string()),
                text(0x0020_0013, b"IS", self.instance.to_string()),
                text(0x0020_0032, b"DS", format!("{x}\\{y}\\{z}")),
                text(0x0020_0037, b"DS", self.orientation.to_owned()),
                short(0x0028_0002, 1),
                text(0x0028_0004, b"CS", "MONOCHROME2".to_owned()),
                short(0x0028_0010, 6),
                short(0x0028_0011, self.columns),
                text(0x0028_0030, b"DS", "0.5\\0.5".to_owned()),
                short(0x0028_0100, 16),
                short(0x0028_0101, 16),
                short(0x0028_0102, 15),
                short(0x0028_0103, 0),
                text(0x0028_1052, b"DS", "-1000".to_owned()),
                text(0x0028_1053, b"DS", "1".to_owned()),
                element(0x7FE0_0010, b"OW", &data),
            ]
            .concat(),
        );
        (format!("{:03}.dcm", self.instance), bytes)
    }
}
