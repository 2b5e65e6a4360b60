//! Who may ask, from where, and what nobody is told.
use crate::client::{Client, FORM, form};
use crate::rig::{QUESTION, Rig, scan};
use med2e3_server::Keys;
use serde_json::json;

fn with_host(rig: &Rig, head: &str) -> (u16, String) {
    let mut client = Client::connect(rig.address);
    client.send(format!("GET /v1/models HTTP/1.1\r\n{head}\r\n").as_bytes());
    let reply = client.reply();
    (reply.status, if reply.status == 200 { String::new() } else { reply.code() })
}

#[test]
fn a_page_of_another_site_gets_nothing() {
    let rig = Rig::with(|config| config.hosts = vec!["scans.example".into()]);
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "scans.example:443"] {
        assert_eq!(with_host(&rig, &format!("Host: {host}\r\n")).0, 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "[::1",
        "scans.example.evil",
    ] {
        assert_eq!(with_host(&rig, &format!("Host: {host}\r\n")), (421, "wrong_host".into()), "{host}");
    }
    for origin in ["https://evil.example", "null", "http://localhost:9999", "file://", "http://evil.example@localhost"]
    {
        let head = format!("Host: localhost\r\nOrigin: {origin}\r\n");
        assert_eq!(with_host(&rig, &head), (403, "wrong_origin".into()), "{origin}");
    }
    assert_eq!(with_host(&rig, "Host: localhost:80\r\nOrigin: http://localhost:80\r\n").0, 200);
    let reply = rig.get("/v1/models");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
}

#[test]
fn a_server_with_keys_may_be_called_by_any_name() {
    let keys = Keys::parse("ward ward-secret-0123456789").unwrap();
    let rig = Rig::with(|config| config.keys = keys);
    let head = "Host: scans.example\r\nAuthorization: Bearer ward-secret-0123456789\r\n";
    assert_eq!(with_host(&rig, head).0, 200);
    assert_eq!(with_host(&rig, "Host: scans.example\r\n").0, 401);
}

#[test]
fn nothing_is_fetched() {
    let rig = Rig::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/scan.npy", listener.local_addr().unwrap());
    for kind in ["image_url", "volume_url"] {
        let part = json!({ "type": kind, kind: { "url": url } });
        let reply = rig.post("/v1/chat/completions", &json!({ "messages": [{ "role": "user", "content": [part] }] }));
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains("/v1/files"));
    }
    assert!(listener.accept().is_err(), "somebody came");
}

#[test]
fn ids_of_requests_are_plain() {
    let rig = Rig::start();
    let id = |head: &str| rig.ask("GET", "/health", head, b"").header("x-request-id").unwrap().to_owned();
    assert_eq!(id("X-Request-Id: run-7.a:b_c\r\n"), "run-7.a:b_c");
    for bad in ["a b", "<script>", "{}", &"x".repeat(129), ""] {
        assert!(id(&format!("X-Request-Id: {bad}\r\n")).starts_with("req-"), "{bad}");
    }
    assert_ne!(id(""), id(""));
}

#[test]
fn files_in_the_spool_have_no_names() {
    let rig = Rig::start();
    let name = "ZEBRA^TEST.npy";
    let reply = rig.ask("POST", "/v1/files", FORM, &form(name, scan(), &[]));
    assert_eq!(reply.json()["filename"], name, "whoever sent it may see it");
    assert_eq!(std::fs::read_dir(rig.folder.path().join("spool")).unwrap().count(), 0);
    let question = format!("{QUESTION} ZEBRA^TEST");
    rig.post("/v1/chat/completions", &json!({ "volume": reply.json()["id"], "prompt": question }));
    let metrics = rig.get("/metrics").text();
    assert!(!metrics.contains("ZEBRA") && !metrics.contains("plane"), "{metrics}");
}
