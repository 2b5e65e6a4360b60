//! torch.save files made to mislead: each is refused for the right reason, without recursion or large allocations.

use std::io::Write;
use std::path::Path;

use med2e3_loaders::tensor::{Data, Entry};
use med2e3_loaders::torch_zip;

/// A zip entry's name and content.
type Named<'a> = (&'a str, &'a [u8]);

/// A zip of uncompressed entries.
fn zip(entries: &[Named]) -> Vec<u8> {
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in entries {
        let (mut entry, config) = archive.new_file(name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    torch_zip::read_table(Path::new("x"), bytes).map_err(|error| error.to_string())
}

/// Reads a file with this pickle and one storage of 24 bytes under key 0.
fn read_pickle(pickle: &[u8]) -> Result<Vec<Entry>, String> {
    read(&zip(&[("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &[0; 24])]))
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

fn int(value: i32) -> Vec<u8> {
    [b"J".as_slice(), &value.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(".as_slice(), &items.concat(), b"t"].concat()
}

fn storage(class: &str, key: &str, elements: i32) -> Vec<u8> {
    let class = format!("ctorch\n{class}\n").into_bytes();
    let id = tuple(&[text("storage"), class, text(key), text("cpu"), int(elements)]);
    [id.as_slice(), b"Q"].concat()
}

fn tensor(storage: Vec<u8>, offset: i32, shape: &[i32], stride: &[i32]) -> Vec<u8> {
    let ints = |values: &[i32]| tuple(&values.iter().map(|&value| int(value)).collect::<Vec<_>>());
    let hooks = b"ccollections\nOrderedDict\n)R".to_vec();
    let arguments = tuple(&[storage, int(offset), ints(shape), ints(stride), b"\x89".to_vec(), hooks]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n".as_slice(), &arguments, b"R"].concat()
}

fn dict(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = pairs.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [b"\x80\x02}(".as_slice(), &items, b"u."].concat()
}

fn floats(elements: i32) -> Vec<u8> {
    storage("FloatStorage", "0", elements)
}

#[test]
fn what_these_helpers_make_is_what_torch_makes() {
    let entries = read_pickle(&dict(&[("t", tensor(floats(6), 2, &[2, 2], &[2, 1]))])).unwrap();
    assert_eq!((entries.len(), entries[0].name.as_str(), entries[0].shape.as_slice()), (1, "t", [2, 2].as_slice()));
    assert!(matches!(&entries[0].data, Data::InFile(range) if range.len() == 16));
}

#[test]
fn tensors_that_do_not_fit_their_storage_are_refused() {
    let beyond = "reaches beyond its storage of 6 elements";
    let cases = [
        (tensor(floats(7), 0, &[6], &[1]), "has a storage of 7 elements of 4 bytes in 24 bytes"),
        (tensor(floats(5), 0, &[5], &[1]), "has a storage of 5 elements of 4 bytes in 24 bytes"),
        (tensor(floats(6), 1, &[6], &[1]), beyond),
        (tensor(floats(6), 0, &[7], &[1]), beyond),
        (tensor(floats(6), 0, &[2], &[6]), beyond),
        (tensor(floats(6), 0, &[1 << 30, 1 << 30, 1 << 30], &[0, 0, 0]), beyond),
        (tensor(floats(6), 0, &[1, 2], &[0, i32::MAX]), beyond),
        (tensor(floats(6), 0, &[100], &[0]), beyond),
        (tensor(floats(6), 0, &[2, 2], &[1]), "has 2 dimensions but 1 strides"),
        (tensor(floats(6), -1, &[2], &[1]), "has a tensor at a negative offset"),
        (tensor(floats(6), 0, &[-2], &[1]), "has a tensor of negative size"),
        (tensor(floats(6), 0, &[1; 9], &[1; 9]), "has a tensor of 9 dimensions"),
        (tensor(floats(-6), 0, &[1], &[1]), "names a storage of negative size"),
        (tensor(storage("FloatStorage", "1", 6), 0, &[6], &[1]), "refers to zip entry \"data/1\", which is missing"),
        (tensor(storage("QInt8Storage", "0", 24), 0, &[24], &[1]), "has elements of class \"QInt8Storage\""),
        (text("not a tensor"), "holds something other than a tensor under \"t\""),
    ];
    for (value, want) in cases {
        let error = read_pickle(&dict(&[("t", value)])).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
    let twice = dict(&[("t", tensor(floats(6), 0, &[6], &[1])), ("t", tensor(floats(6), 0, &[6], &[1]))]);
    assert!(read_pickle(&twice).unwrap_err().contains("holds \"t\" twice"));
}

/// A storage of 24 bytes that hundreds of tensors name, each in another order, would grow without bound.
#[test]
fn copies_are_bounded_by_the_files_size() {
    let pairs: Vec<(String, Vec<u8>)> = (0..2000).map(|i| (i.to_string(), b"h\x05".to_vec())).collect();
    let pairs: Vec<(&str, Vec<u8>)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend(tensor(floats(6), 0, &[3, 2], &[1, 3]));
    pickle.extend(b"q\x05");
    pickle.extend(&dict(&pairs)[2..]);
    let error = read_pickle(&pickle).unwrap_err();
    assert!(error.contains("shares its storage with too many other layouts"), "{error}");
}

#[test]
fn pickles_that_are_not_tables_of_tensors_are_refused() {
    let cases: [(&[u8], &str); 21] = [
        (b"", "ends in the middle"),
        (b"\x80\x02", "ends in the middle"),
        (b"\x80\x06}.", "pickle of protocol 6"),
        (b"\x80\x01}.", "pickle of protocol 1"),
        (b"\x80\x02.", "takes more values from its stack"),
        (b"\x80\x02N.", "holds something other than a dictionary"),
        (b"\x80\x02}K\x01Ns.", "has a key that is not a name"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "asks for os.system, which"),
        (b"\x80\x02cbuiltins\neval\n.", "asks for builtins.eval, which"),
        (b"\x80\x02ctorch\nload\n.", "asks for torch.load, which"),
        (b"\x80\x02ctorch\n../Storage\n.", "asks for torch.../Storage, which"),
        (b"\x80\x02ios\nsystem\n.", "uses pickle opcode 0x69"),
        (b"\x80\x02\x93.", "takes more values from its stack"),
        (b"\x80\x02h\x00.", "reads memo slot 0 before it is set"),
        (b"\x80\x02q\x00.", "takes more values from its stack"),
        (b"\x80\x02}}t.", "takes more values from its stack"),
        (b"\x80\x02}Ns.", "sets items on something other than a dictionary"),
        (b"\x80\x02NNb.", "sets attributes on something other than a dictionary"),
        (b"\x80\x02NQ.", "has something else where a tuple belongs"),
        (b"\x80\x02ccollections\nOrderedDict\nN\x85R.", "calls a function with arguments that torch.save does not"),
        (b"\x80\x02X\xff\xff\xff\xffabc.", "ends in the middle"),
    ];
    for (pickle, want) in cases {
        let error = read_pickle(pickle).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
    let wide = [b"\x80\x02\x8a\x09".as_slice(), &[1; 9], b"."].concat();
    assert!(read_pickle(&wide).unwrap_err().contains("integer of 9 bytes"));
}

/// A million tuples, each around the last: nothing may recurse over them, not even to free them.
#[test]
fn deep_nesting_is_flat_here() {
    let nested = [b"\x80\x02)".as_slice(), &vec![0x85; 1_000_000], b"."].concat();
    assert!(read_pickle(&nested).unwrap_err().contains("holds something other than a dictionary"));
    let long = [b"\x80\x02".as_slice(), &vec![b'N'; 5 << 20], b"."].concat();
    assert!(read_pickle(&long).unwrap_err().contains("but at most 4194304 are read"));
}

#[test]
fn zips_that_torch_does_not_write_are_refused() {
    let pickle = dict(&[]);
    let pickle = pickle.as_slice();
    assert_eq!(read(&zip(&[("a/data.pkl", pickle)])), Ok(vec![]), "byteorder is new in PyTorch 2");
    let cases: [(&[Named], &str); 6] = [
        (&[], "is a zip archive without data.pkl"),
        (&[("a/other", pickle)], "is a zip archive without data.pkl"),
        (&[("data.pkl", pickle)], "has zip entry \"data.pkl\" outside a folder"),
        (&[("a/data.pkl", pickle), ("b/data/0", b"")], "in several folders, \"a\" and \"b\""),
        (&[("a/data.pkl", pickle), ("a/data.pkl", pickle)], "has zip entry \"a/data.pkl\" twice"),
        (&[("a/data.pkl", pickle), ("a/byteorder", b"big")], "in byte order \"big\""),
    ];
    for (entries, want) in cases {
        let error = read(&zip(entries)).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
}

/// Position of the `index`-th record of the zip's central directory in `bytes`.
fn directory_record(bytes: &[u8], index: usize) -> usize {
    bytes.windows(4).enumerate().filter(|(_, four)| four == b"PK\x01\x02").nth(index).unwrap().0
}

#[test]
fn a_directory_that_contradicts_its_file_is_refused() {
    let pickle = dict(&[("t", tensor(floats(6), 0, &[6], &[1]))]);
    let whole = zip(&[("a/data.pkl", &pickle), ("a/data/0", &[1; 24]), ("a/data/1", &[2; 24])]);
    assert_eq!(read(&whole).unwrap().len(), 1);
    let pickle_record = directory_record(&whole, 0);
    let first = directory_record(&whole, 1);
    let second = directory_record(&whole, 2);

    let mut compressed = whole.clone();
    compressed[first + 10] = 8;
    assert!(read(&compressed).unwrap_err().contains("\"a/data/0\" compressed or encrypted"));

    let mut encrypted = whole.clone();
    encrypted[first + 8] |= 1;
    assert!(read(&encrypted).unwrap_err().contains("\"a/data/0\" compressed or encrypted"));

    // The first storage's entry is sent to the second's bytes: a silently wrong tensor, were it not for the overlap.
    let mut moved = whole.clone();
    let target: Vec<u8> = whole[second + 42..second + 46].to_vec();
    moved[first + 42..first + 46].copy_from_slice(&target);
    assert!(read(&moved).unwrap_err().contains("has zip entries that overlap"));

    let mut resized = whole.clone();
    resized[first + 24] += 1;
    assert!(read(&resized).unwrap_err().contains("with two different sizes"));

    let mut unchecked = whole.clone();
    unchecked[pickle_record + 16] ^= 1;
    assert!(read(&unchecked).unwrap_err().contains("has a data.pkl that differs from its checksum"));
}
