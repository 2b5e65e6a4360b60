//! DICOMDIR: the list of the files of a disc (DICOM PS3.10 §8.6, PS3.3 F).

use super::super::Problem;
use super::dataset::{self as tag, Dataset};
use super::image::{Part10, Rejection};

/// Most parts of a file's name, and most characters of a part (PS3.10 §8.2), with room for writers who have more.
const PARTS_MAX: usize = 16;
const PART_CHARS_MAX: usize = 64;

/// MediaStorageSOPClassUID of a DICOMDIR, which stands near the beginning of the file.
const DIRECTORY_CLASS: &[u8] = b"1.2.840.10008.1.3.10";

/// Whether `start`, the first kilobyte of a file, may be that of a DICOMDIR.
pub(crate) fn may_be_directory(start: &[u8]) -> bool {
    start.windows(DIRECTORY_CLASS.len()).any(|window| window == DIRECTORY_CLASS)
}

/// The files that the DICOMDIR `bytes` lists, each as its folders and its name, below the folder of the DICOMDIR;
/// `None` where the bytes are those of another file.
pub(crate) fn files_of(bytes: &[u8]) -> Result<Option<Vec<Vec<String>>>, Problem> {
    let Ok(part10) = Part10::open(bytes) else { return Ok(None) };
    if !part10.is_directory() {
        return Ok(None);
    }
    let dataset = part10.dataset().map_err(Rejection::problem)?;
    let names = dataset.items(tag::DIRECTORY_RECORDS).iter().filter_map(name_of_record);
    names.map(checked).collect::<Result<Vec<_>, Problem>>().map(Some)
}

/// The file that a record stands for; records of patients, studies and series have none.
fn name_of_record(record: &Dataset<'_>) -> Option<String> {
    record.text(tag::REFERENCED_FILE)
}

/// The parts of a file's name, none of which leads out of the folder.
fn checked(name: String) -> Result<Vec<String>, Problem> {
    let parts: Vec<String> = name.split('\\').map(|part| part.trim().to_owned()).collect();
    let is_sound = |part: &String| {
        !part.is_empty() && part.len() <= PART_CHARS_MAX && part.bytes().all(|byte| byte != b'/' && byte != 0)
    };
    let stays =
        parts.len() <= PARTS_MAX && parts.iter().all(|part| is_sound(part) && ![".", ".."].contains(&&part[..]));
    if stays {
        return Ok(parts);
    }
    let finding = format!("is a DICOMDIR that lists {:?}, which is no file below its own folder", tag::shown(&name));
    Err(Problem::new(finding, "give the folder of the images"))
}
