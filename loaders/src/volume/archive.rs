//! A zip of a scan's files, read in place: nothing is unpacked to disk, and the names in it are only compared.
//!
//! With `rawzip`, which the checkpoints' reader brings: `zip` would be a second reader of the same format. What an
//! entry says of itself is checked before anything is unpacked, and then held to it.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};

use super::Problem;
use super::files::{Files, Stream, relative};
use super::names::listed;

/// First bytes of a zip with anything in it.
pub(crate) const MAGIC: &[u8] = b"PK\x03\x04";

/// Most entries, as many as a folder may have files.
const ENTRIES_MAX: usize = 100_000;
/// Most bytes of an entry, and of all together, when they are unpacked.
const ENTRY_BYTES_MAX: u64 = 4 << 30;
const UNPACKED_BYTES_MAX: u64 = 8 << 30;
/// How many times an entry may grow that is unpacked to more than the free bytes: scans shrink to a tenth, those with
/// nothing but air around a phantom to a hundredth.
const RATIO_MAX: u64 = 200;
const RATIO_FREE_BYTES: u64 = 1 << 20;
/// Deflate cannot shrink data more than this many times.
const DEFLATE_RATIO_MAX: u64 = 1032;
/// Holds the fields of one entry of the directory, of which three have up to 65 535 bytes.
const BUFFER_BYTES: usize = 1 << 18;

/// Where the bytes of the zip are.
pub(crate) type Place<'a> = Box<dyn ReaderAt + Send + Sync + 'a>;

/// The files of a zip.
pub(crate) struct ZipFiles<'a> {
    name: String,
    archive: ZipArchive<Place<'a>>,
    entries: Vec<Entry>,
}

struct Entry {
    /// As the zip has it; never a path of the system's.
    name: String,
    place: ZipArchiveEntryWayfinder,
    is_deflated: bool,
    bytes: u64,
}

impl<'a> ZipFiles<'a> {
    /// Reads the directory of the zip called `name` of `len` bytes.
    pub(crate) fn open(name: &str, place: Place<'a>, len: u64) -> Result<Self, Problem> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let archive =
            ZipLocator::new().locate_in_reader(place, &mut buffer, len).map_err(|(_, error)| broken(error))?;
        let mut entries = Vec::new();
        let mut unpacked = 0u64;
        let mut directory = archive.entries(&mut buffer);
        let mut count = 0;
        while let Some(header) = directory.next_entry().map_err(broken)? {
            count += 1;
            if count > ENTRIES_MAX {
                let finding = format!("is a zip of more than {ENTRIES_MAX} entries");
                return Err(Problem::new(finding, "zip the folder of one series"));
            }
            if header.is_dir() {
                continue;
            }
            let name = String::from_utf8_lossy(header.file_path().as_ref()).into_owned();
            let bytes = header.uncompressed_size_hint();
            let packed = header.compressed_size_hint();
            if header.flags().is_encrypted() {
                return Err(Problem::new("is an encrypted zip", "unpack it with its password and give the folder"));
            }
            let is_deflated = match header.compression_method() {
                CompressionMethod::STORE => false,
                CompressionMethod::DEFLATE => true,
                method => {
                    let finding = format!("is a zip packed with {method}, wanted deflate or plain entries");
                    return Err(Problem::new(finding, "unpack it and give the folder"));
                }
            };
            check_size(&name, bytes, packed, is_deflated)?;
            unpacked += bytes;
            entries.push(Entry { name, place: header.wayfinder(), is_deflated, bytes });
        }
        if unpacked > UNPACKED_BYTES_MAX {
            let finding = format!("is a zip that unpacks to {unpacked} bytes, more than {UNPACKED_BYTES_MAX}");
            return Err(Problem::new(finding, "zip the folder of one series"));
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let found = Self { name: name.to_owned(), archive, entries };
        found.check_places(len)?;
        Ok(found)
    }

    /// Entries lie behind each other within the file: those that share their bytes unpack to more than they should.
    fn check_places(&self, len: u64) -> Result<(), Problem> {
        let range = |entry: &Entry| {
            let (start, end) = self.archive.get_entry(entry.place).map_err(broken)?.compressed_data_range();
            if end <= len { Ok([start, end]) } else { Err(Problem::cut_short("is a zip whose entries are cut off")) }
        };
        let mut ranges = self.entries.iter().map(range).collect::<Result<Vec<_>, Problem>>()?;
        ranges.sort_unstable();
        if ranges.windows(2).any(|pair| pair[1][0] < pair[0][1]) {
            return Err(Problem::new("is a zip whose entries overlap", "zip the folder again"));
        }
        Ok(())
    }

    /// Whether it is what `numpy.savez` writes: arrays, and nothing but these.
    pub(crate) fn is_npz(&self) -> bool {
        let all = !self.entries.is_empty() && self.entries.iter().all(|entry| entry.name.ends_with(".npy"));
        all && (self.entries.len() > 1 || self.name.to_lowercase().ends_with(".npz"))
    }

    /// Names of the first entries.
    pub(crate) fn names(&self) -> String {
        listed(&self.entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>())
    }

    /// The folder of an entry, as the zip has it.
    pub(crate) fn folder(&self, file: usize) -> &str {
        folder_of(&self.entries[file].name)
    }
}

/// What stands before the last slash.
fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn broken(error: rawzip::Error) -> Problem {
    Problem::cut_short(format!("is not a complete zip archive ({error})"))
}

/// Compares what an entry says of its sizes with what there can be.
fn check_size(name: &str, bytes: u64, packed: u64, is_deflated: bool) -> Result<(), Problem> {
    let fits = if is_deflated { bytes <= packed.saturating_mul(DEFLATE_RATIO_MAX) } else { bytes == packed };
    if !fits {
        let finding = format!("is a zip in which {name:?} promises {bytes} bytes in {packed}");
        return Err(Problem::cut_short(finding));
    }
    if bytes > ENTRY_BYTES_MAX {
        let finding = format!("is a zip in which {name:?} unpacks to {bytes} bytes, more than {ENTRY_BYTES_MAX}");
        return Err(Problem::new(finding, "unpack it and give the folder"));
    }
    if bytes > RATIO_FREE_BYTES && bytes > packed.saturating_mul(RATIO_MAX) {
        let finding = format!("is a zip in which {name:?} unpacks to more than {RATIO_MAX} times its {packed} bytes");
        return Err(Problem::new(finding, "unpack it and give the folder, if you trust it"));
    }
    Ok(())
}

impl Files for ZipFiles<'_> {
    fn count(&self) -> usize {
        self.entries.len()
    }

    fn name(&self, file: usize) -> String {
        format!("{}/{}", self.name, self.entries[file].name)
    }

    fn size(&self, file: usize) -> u64 {
        self.entries[file].bytes
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        let mut bytes = Vec::new();
        self.stream(file)?.bytes.read_to_end(&mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    fn stream(&self, file: usize) -> Result<Stream<'_>, Problem> {
        let Entry { place, is_deflated, bytes, .. } = self.entries[file];
        let entry = self.archive.get_entry(place).map_err(broken)?;
        // The verifier ends the stream with an error at the first byte past the promised size, or at a wrong checksum.
        let stream: Box<dyn Read + '_> = if is_deflated {
            Box::new(entry.verifying_reader(DeflateDecoder::new(entry.reader())))
        } else {
            Box::new(entry.verifying_reader(entry.reader()))
        };
        Ok(Stream { name: self.name(file), bytes: stream, len: bytes })
    }

    fn beside(&self, file: usize, name: &str) -> Result<Option<Stream<'_>>, Problem> {
        relative(name)?;
        let parts = folder_of(&self.entries[file].name).split('/').chain(name.split('/'));
        let wanted: Vec<&str> = parts.filter(|part| !matches!(*part, "" | ".")).collect();
        let is_wanted =
            |entry: &Entry| entry.name.split('/').filter(|part| !part.is_empty()).eq(wanted.iter().copied());
        let mut found = (0..self.entries.len()).filter(|&other| is_wanted(&self.entries[other]));
        match (found.next(), found.next()) {
            (Some(only), None) => self.stream(only).map(Some),
            (Some(_), Some(_)) => {
                Err(Problem::new(format!("is in a zip that holds {name:?} twice"), "zip the folder again"))
            }
            _ => Ok(None),
        }
    }
}
