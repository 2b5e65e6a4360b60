//! `serve` as a process: its log, its signals, its limits, and what it says of patients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use med2e3_server::{CHAT_FIELDS, COMPLETION_FIELDS};
use serde_json::{Value, json};

use crate::signals::send;
use crate::{command, fail, succeed, text};

/// A server that runs, and what it logs.
struct Serving {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Serving {
    fn start(arguments: &[&str]) -> Self {
        let mut all = vec!["serve", "--demo", "--device", "cpu", "--port", "0"];
        all.extend(arguments);
        let mut child = command(&all).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        for line in lines.by_ref() {
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            *log.lock().unwrap() += &format!("{line}\n");
            address = address.or_else(|| entry["address"].as_str().map(str::to_owned));
            if entry["message"] == "ready" {
                break;
            }
        }
        let rest = log.clone();
        let reader = std::thread::spawn(move || lines.for_each(|line| *rest.lock().unwrap() += &format!("{line}\n")));
        Self { child, address: address.expect("it listens before it is ready"), log, reader: Some(reader) }
    }

    fn send(&self, method: &str, path: &str, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }

    /// The status and the body.
    fn ask(&self, method: &str, path: &str, head: &str, body: &[u8]) -> (u16, String) {
        let mut reply = String::new();
        self.send(method, path, head, body).read_to_string(&mut reply).unwrap();
        let status = reply.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, reply.split_once("\r\n\r\n").expect("a body").1.to_owned())
    }

    fn upload(&self, name: &str, file: &[u8]) -> Value {
        let (status, body) = self.ask("POST", "/v1/volumes", &format!("X-Filename: {name}\r\n"), file);
        assert_eq!(status, 201, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Sends a signal and waits for the end: the exit status, and all that was logged.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        send(signal, self.child.id());
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        (status.code(), std::mem::take(&mut self.log.lock().unwrap()))
    }
}

fn question(id: &Value, text: &str) -> Vec<u8> {
    json!({ "volume": id, "messages": [{ "role": "user", "content": text }], "stream": true }).to_string().into_bytes()
}

const JSON: &str = "Content-Type: application/json\r\n";

const SCAN: &str = "../../tests/data/golden/a/volume.npy";

fn scan() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(SCAN)).unwrap()
}

#[test]
fn signals_end_a_server_in_good_order() {
    for signal in ["-TERM", "-INT"] {
        let spool = tempfile::tempdir().unwrap();
        let serving = Serving::start(&["--spool", spool.path().to_str().unwrap(), "--drain", "20"]);
        let id = &serving.upload("a.npy", &scan())["id"];
        let streams: Vec<TcpStream> = (0..8)
            .map(|_| serving.send("POST", "/v1/chat/completions", JSON, &question(id, "Describe the scan.")))
            .collect();
        let mut streams = streams.into_iter();
        // One has begun, so that the others are on their way.
        let mut first = streams.next().unwrap();
        let mut start = [0; 12];
        first.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let (status, log) = serving.end(signal);
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("\"draining\"") && log.contains("\"ended\""), "{log}");
        for mut stream in [first].into_iter().chain(streams) {
            let mut reply = String::new();
            // A connection that was not accepted yet is reset.
            let _ = stream.read_to_string(&mut reply);
            let whole = reply.contains("data: [DONE]") || reply.contains("shutting_down");
            assert!(whole || reply.is_empty(), "{reply}");
        }
        assert_eq!(spool.path().read_dir().unwrap().count(), 0);
    }
}

#[test]
fn a_server_that_was_killed_leaves_no_upload() {
    let spool = tempfile::tempdir().unwrap();
    let serving = Serving::start(&["--spool", spool.path().to_str().unwrap()]);
    serving.upload("a.npy", &scan());
    // In the midst of another one.
    let mut stream = TcpStream::connect(&serving.address).unwrap();
    stream.write_all(b"POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\nabc").unwrap();
    serving.end("-KILL");
    assert_eq!(spool.path().read_dir().unwrap().count(), 0);
}

#[test]
fn an_address_for_others_wants_keys() {
    let message = fail(&["serve", "--demo", "--host", "0.0.0.0", "--port", "0"], 2);
    assert!(message.contains("--api-key-file"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "ward short-secret\n").unwrap();
    let message = fail(&["serve", "--demo", "--api-key-file", keys.to_str().unwrap()], 3);
    assert!(message.contains("line 1") && !message.contains("secret"), "{message}");
    fail(&["serve", "--demo", "--api-key-file", "/nowhere/keys"], 3);
    fail(&["serve", "--demo", "--max-upload", "much"], 2);
    fail(&["serve"], 2);
    std::fs::write(&keys, "ward ward-secret-0123456789\n").unwrap();
    let serving = Serving::start(&["--host", "0.0.0.0", "--api-key-file", keys.to_str().unwrap()]);
    assert_eq!(serving.ask("GET", "/v1/models", "", b"").0, 401);
    assert_eq!(serving.ask("GET", "/v1/models", "Authorization: Bearer ward-secret-0123456789\r\n", b"").0, 200);
    let (_, log) = serving.end("-TERM");
    assert!(log.contains("\"key\":\"ward\"") && !log.contains("ward-secret"), "{log}");
}

/// Upload, eleven questions, streams, log-probabilities, 429 and coming back, deletion, by OpenAI's own client; and its
/// own types say which fields there are.
#[test]
fn openais_client_needs_no_change() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let serving = Serving::start(&["--batch", "1", "--queue", "1"]);
    let mut client = Command::new(python());
    client.arg(crate_folder.join("tests/python/openai_client.py")).arg(format!("http://{}", serving.address));
    let told = client.arg(crate_folder.join(SCAN)).arg("2").output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["answers"].as_array().unwrap().len(), 11);
    for (kind, table) in [("chat", CHAT_FIELDS), ("completions", COMPLETION_FIELDS)] {
        let named = told[kind].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        let unknown: Vec<&str> = named.filter(|name| table.iter().all(|field| field.name != *name)).collect();
        assert!(unknown.is_empty(), "{kind} has fields that no table names: {unknown:?}");
    }
    assert_eq!(told["files"], json!(["expires_after", "file", "purpose"]));
}

/// In Chromium, where it is installed: a scan, slices by keys and wheel, questions, weights, windows, at two widths.
#[test]
fn the_page_can_be_used() {
    let mut browsers = ["chromium", "chromium-browser", "google-chrome"].into_iter();
    let is_there = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|told| told.status.success());
    let Some(browser) = browsers.find(is_there) else {
        eprintln!("not run: no Chromium (install chromium)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join("patient.nii.gz");
    succeed(&["phantom", "--seed", "3000000", "--out", text(&scan)]);
    let serving = Serving::start(&[]);
    let which = Command::new("which").arg(browser).output().unwrap();
    let mut page = Command::new(python());
    page.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/page.py"));
    page.arg(format!("http://{}", serving.address)).arg(&scan);
    let told = page.arg(String::from_utf8(which.stdout).unwrap().trim()).arg(folder.path()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(folder.path().join("page-390.png").is_file());
}

/// The tests' own Python.
fn python() -> String {
    let python = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../setup-python")).output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
    String::from_utf8(python.stdout).unwrap().trim().to_owned()
}

/// A patient's name in the files, a file's name and a question; an audit beside them.
#[test]
fn what_is_said_of_a_patient_stands_nowhere() {
    const NAME: &str = "ZEBRA^TEST";
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let audit = audit.to_str().unwrap();
    let serving = Serving::start(&["--audit", audit]);
    let series: Vec<Vec<u8>> = (0..4).map(dicom).collect();
    assert!(series.iter().all(|slice| slice.windows(NAME.len()).any(|part| part == NAME.as_bytes())));
    let told = serving.upload("scan.zip", &stored_zip(&series));
    assert_eq!(told["format"], "DICOM (explicit VR little endian) in a zip", "{told}");
    assert!(!told.to_string().contains("ZEBRA"));
    serving.upload("ZEBRA^TEST.npy", &scan());
    let (status, reply) =
        serving.ask("POST", "/v1/chat/completions", JSON, &question(&told["id"], "Is ZEBRA^TEST well?"));
    assert!(status == 200 && reply.contains("[DONE]") && !reply.contains("ZEBRA"), "{reply}");
    serving.ask("POST", "/v1/chat/completions", JSON, b"{\"ZEBRA^TEST\":1}");
    serving.ask("GET", "/v1/files/ZEBRA%5ETEST", "", b"");
    serving.ask("POST", "/v1/volumes", "X-Filename: ZEBRA\r\n", &series[0][..400]);
    let metrics = serving.ask("GET", "/metrics", "", b"").1;
    assert!(metrics.contains("audit_lines 2") && !metrics.contains("ZEBRA"), "{metrics}");
    let (_, log) = serving.end("-TERM");
    assert!(!log.contains("ZEBRA") && log.contains("/v1/files/{id}"), "{log}");
    let record = std::fs::read_to_string(audit).unwrap();
    assert!(record.lines().count() == 2 && !record.contains("ZEBRA"), "{record}");
    let told = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = told.into_iter().find(|entry| entry["message"] == "audit").expect("head and count");
    let head = told["head"].as_str().unwrap().to_owned();
    let lines = told["lines"].to_string();
    succeed(&["audit", "verify", audit, "--head", &head, "--lines", &lines]);
    std::fs::write(audit, record.lines().next().unwrap().to_owned() + "\n").unwrap();
    let message = fail(&["audit", "verify", audit, "--head", &head, "--lines", &lines], 3);
    assert!(message.contains("tail is missing"), "{message}");
    succeed(&["audit", "verify", audit]);
}

/// A CT slice of 16 by 16, explicit little endian.
fn dicom(place: u16) -> Vec<u8> {
    let mut meta = Vec::new();
    element(&mut meta, 0x0002_0010, b"UI", b"1.2.840.10008.1.2.1\0");
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    element(&mut bytes, 0x0002_0000, b"UL", &(meta.len() as u32).to_le_bytes());
    bytes.extend(meta);
    let z = f64::from(place) * 2.0;
    let texts: [(u32, &[u8; 2], String); 16] = [
        (0x0008_0016, b"UI", "1.2.840.10008.5.1.4.1.1.2".into()),
        (0x0008_0018, b"UI", format!("1.2.3.{place}")),
        (0x0008_0060, b"CS", "CT".into()),
        (0x0010_0010, b"PN", "ZEBRA^TEST".into()),
        (0x0020_000d, b"UI", "1.2.4".into()),
        (0x0020_000e, b"UI", "1.2.5".into()),
        (0x0020_0013, b"IS", place.to_string()),
        (0x0020_0032, b"DS", format!("0\\0\\{z}")),
        (0x0020_0037, b"DS", "1\\0\\0\\0\\1\\0".into()),
        (0x0028_0004, b"CS", "MONOCHROME2".into()),
        (0x0028_0030, b"DS", "1\\1".into()),
        (0x0028_1052, b"DS", "-1000".into()),
        (0x0028_1053, b"DS", "1".into()),
        (0x0018_0050, b"DS", "2".into()),
        (0x0008_103e, b"LO", "chest".into()),
        (0x0010_0020, b"LO", "ZEBRA^TEST".into()),
    ];
    let numbers = [
        (0x0028_0002, 1u16),
        (0x0028_0010, 16),
        (0x0028_0011, 16),
        (0x0028_0100, 16),
        (0x0028_0101, 16),
        (0x0028_0102, 15),
        (0x0028_0103, 0),
    ];
    let texts = texts.into_iter().map(|(tag, kind, text)| (tag, *kind, text.into_bytes()));
    let numbers = numbers.into_iter().map(|(tag, number)| (tag, *b"US", number.to_le_bytes().to_vec()));
    let mut all: Vec<(u32, [u8; 2], Vec<u8>)> = texts.chain(numbers).collect();
    all.sort();
    for (tag, kind, mut value) in all {
        if value.len() % 2 == 1 {
            value.push(if &kind == b"UI" { 0 } else { b' ' });
        }
        element(&mut bytes, tag, &kind, &value);
    }
    let pixels: Vec<u8> = (0..256u16).flat_map(|pixel| (pixel * 4 + place * 100).to_le_bytes()).collect();
    bytes.extend([0xe0, 0x7f, 0x10, 0x00]);
    bytes.extend(b"OW\0\0");
    bytes.extend((pixels.len() as u32).to_le_bytes());
    bytes.extend(pixels);
    bytes
}

fn element(bytes: &mut Vec<u8>, tag: u32, kind: &[u8; 2], value: &[u8]) {
    bytes.extend(((tag >> 16) as u16).to_le_bytes());
    bytes.extend((tag as u16).to_le_bytes());
    bytes.extend(kind);
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(value);
}

/// A zip of files as they are.
fn stored_zip(files: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let name = format!("{number}.dcm");
        let mut crc = flate2::Crc::new();
        crc.update(file);
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend((file.len() as u32).to_le_bytes());
        common.extend((file.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&common);
        bytes.extend(name.as_bytes());
        bytes.extend(file);
    }
    let at = bytes.len() as u32;
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((files.len() as u16).to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}
