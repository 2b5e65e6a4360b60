//! Files: listed, shown, deleted, expired, and known to their key alone.
use crate::client::{FORM, form};
use crate::rig::{QUESTION, Rig, scan};
use med2e3_server::Keys;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

const WARD: &str = "Authorization: Bearer ward-secret-0123456789\r\n";
const LAB: &str = "authorization: bearer lab-secret-0123456789\r\n";

fn two_keys() -> Rig {
    let keys = Keys::parse("ward ward-secret-0123456789\nlab lab-secret-0123456789").unwrap();
    Rig::with(|config| config.keys = keys)
}

#[test]
fn files_are_listed_in_pages_and_deleted() {
    let rig = Rig::start();
    let ids: Vec<String> = (0..3).map(|_| rig.upload(scan())).collect();
    let list = |query: &str| {
        let found = rig.get(&format!("/v1/files{query}")).json();
        let ids = found["data"].as_array().unwrap().iter().map(|file| file["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), found["has_more"].as_bool().unwrap())
    };
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list(""), (newest.clone(), false));
    assert_eq!(list("?order=asc&limit=2"), (ids[..2].to_vec(), true));
    assert_eq!(list(&format!("?after={}", newest[0])), (newest[1..].to_vec(), false));
    assert_eq!(list("?purpose=vision"), (vec![], false));
    assert_eq!(rig.get("/v1/files?limit=0").code(), "invalid_request");
    assert_eq!(rig.get("/v1/files?colour=red").code(), "invalid_request");
    let shown = rig.get(&format!("/v1/files/{}", ids[1]));
    assert_eq!((shown.status, &shown.json()["bytes"]), (200, &json!(scan().len())));
    assert_eq!(rig.get(&format!("/v1/files/{}/content", ids[1])).code(), "not_handed_out");
    let deleted = rig.ask("DELETE", &format!("/v1/files/{}", ids[1]), "", b"");
    assert_eq!(deleted.json(), json!({ "id": ids[1], "object": "file", "deleted": true }));
    assert_eq!(rig.get(&format!("/v1/files/{}", ids[1])).code(), "file_not_found");
    assert_eq!(rig.ask("DELETE", &format!("/v1/files/{}", ids[1]), "", b"").status, 404);
    for id in [&ids[0], &ids[2]] {
        rig.ask("DELETE", &format!("/v1/volumes/{id}"), "", b"");
    }
    assert_eq!(rig.metric("med2e3:spool_bytes"), 0.0, "nothing stays on disk");
}

#[test]
fn a_file_ends_when_it_expires() {
    let rig = Rig::start();
    let expires = [("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "1")];
    let reply = rig.ask("POST", "/v1/files", FORM, &form("a.npy", scan(), &expires)).json();
    assert_eq!(reply["expires_at"].as_u64().unwrap(), reply["created_at"].as_u64().unwrap() + 1);
    let path = format!("/v1/files/{}", reply["id"].as_str().unwrap());
    rig.wait("the end of the file", |rig| rig.get(&path).status == 404);
    rig.wait("an empty spool", |rig| rig.metric("med2e3:spool_bytes") == 0.0);
    for bad in ["0", "-1", "2592001", "1e3", "9999999999999999999999"] {
        let reply = rig.ask("POST", "/v1/files", FORM, &form("a", scan(), &[("expires_after[seconds]", bad)]));
        assert_eq!(reply.json()["error"]["param"], "expires_after[seconds]", "{bad}");
    }
}

#[test]
fn a_file_is_known_to_its_key_alone() {
    let rig = two_keys();
    let upload = rig.ask("POST", "/v1/files", &format!("{FORM}{WARD}"), &form("a.npy", scan(), &[]));
    let id = upload.json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/files/{id}");
    let mine = rig.ask("GET", &path, WARD, b"");
    assert_eq!(mine.status, 200);
    for method in ["GET", "DELETE"] {
        let other = rig.ask(method, &path, LAB, b"");
        let none = rig.ask(method, "/v1/files/file-00000000000000000000000000000000", LAB, b"");
        assert_eq!((other.code(), none.code()), ("file_not_found".into(), "file_not_found".into()));
    }
    assert_eq!(rig.ask("GET", "/v1/files", LAB, b"").json()["data"], json!([]));
    let body = json!({ "volume": id, "messages": [{ "role": "user", "content": QUESTION }] }).to_string();
    let ask = |key: &str| {
        let head = format!("{}{key}", crate::client::JSON);
        rig.ask("POST", "/v1/chat/completions", &head, body.as_bytes())
    };
    assert_eq!((ask(LAB).code(), ask(WARD).status), ("file_not_found".into(), 200));
    // The hash of what is in a file opens nothing.
    let hash = mine.header("x-volume-id").unwrap();
    assert_eq!(rig.ask("GET", &format!("/v1/files/{hash}"), WARD, b"").code(), "file_not_found");
    for head in ["", "Authorization: Bearer nonsense\r\n", "Authorization: Basic d2FyZA==\r\n"] {
        let reply = rig.ask("GET", "/v1/files", head, b"");
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"));
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    for open in ["/health", "/health/live", "/v2/health/ready", "/metrics"] {
        assert_eq!(rig.get(open).status, 200, "{open}");
    }
}

/// Files that no reader should choke on: those of the fuzz targets and, where there are any, of the field trials.
#[test]
fn a_broken_file_is_refused_and_the_server_goes_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("MED2E3_SHARED_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let mut files = Vec::new();
    list(&root.join("tests/corpus"), &mut files);
    assert!(!files.is_empty());
    if shared.join("fieldtrials").is_dir() {
        list(&shared.join("fieldtrials"), &mut files);
    } else {
        eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
    }
    let rig = Rig::with(|config| config.limits.decode_time = Duration::from_secs(30));
    for path in files {
        let file = std::fs::read(&path).unwrap();
        let reply = rig.ask("POST", "/v1/volumes", "", &file);
        match reply.status {
            201 => {
                let id = reply.json()["id"].as_str().unwrap().to_owned();
                assert_eq!(rig.ask("DELETE", &format!("/v1/files/{id}"), "", b"").status, 200);
            }
            status => assert_eq!((status, reply.code().as_str()), (422, "invalid_volume"), "{}", path.display()),
        }
        assert_eq!(rig.get("/health/ready").status, 200, "{}", path.display());
    }
    assert_eq!(rig.metric("med2e3:spool_bytes"), 0.0);
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    // Longer ones are scans of real size, which other tests read.
    const BYTES_MAX: u64 = 4 << 20;
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            list(&path, files);
        } else if path.metadata().unwrap().len() <= BYTES_MAX {
            files.push(path);
        }
    }
}

#[test]
fn forms_say_what_they_may_say() {
    let rig = Rig::start();
    let refused = |more: &[(&str, &str)], param: &str| {
        let reply = rig.ask("POST", "/v1/files", FORM, &form("a.npy", scan(), more));
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!(param)), "{reply:?}");
    };
    refused(&[("purpose", "user_data")], "purpose");
    refused(&[("colour", "red")], "colour");
    refused(&[("window", "wide")], "window");
    refused(&[("index", "-1")], "index");
    refused(&[("expires_after[anchor]", "now")], "expires_after[anchor]");
    let many: Vec<(&str, &str)> = (0..100_000).map(|_| ("window", "full")).collect();
    let reply = rig.ask("POST", "/v1/files", FORM, &form("a.npy", scan(), &many));
    assert_eq!(reply.status, 400);
    for body in [&b""[..], b"--cut\r\n", b"--cut--\r\n", b"nonsense"] {
        let reply = rig.ask("POST", "/v1/files", FORM, body);
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{body:?}");
    }
    assert_eq!(rig.ask("POST", "/v1/files", "", b"").code(), "invalid_request");
    let good = form("a.npy", scan(), &[("window", "full"), ("index", "0"), ("slice_order", "inferior-first")]);
    assert_eq!(rig.ask("POST", "/v1/files", FORM, &good).status, 200);
}
