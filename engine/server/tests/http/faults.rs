//! What goes wrong, and what must go on.
use crate::client::{Client, FORM, JSON, form, request};
use crate::rig::{QUESTION, Rig, gated, patient, scan};
use med2e3::{LoadOptions, Request};
use med2e3_server::Limits;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn question(id: &str) -> Value {
    json!({ "volume": id, "messages": [{ "role": "user", "content": QUESTION }] })
}

/// A question, to a model that is endless.
fn long(id: &str) -> Value {
    json!({ "volume": id, "messages": [{ "role": "user", "content": QUESTION }], "stream": true })
}

fn long_tokens(rig: &Rig) -> usize {
    rig.engine.ask(&rig.volume(scan()), Request::new(QUESTION)).unwrap().token_ids.len()
}

fn is_well(rig: &Rig, id: &str) {
    let mut body = question(id);
    body["max_tokens"] = 3.into();
    let reply = rig.post("/v1/chat/completions", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(rig.get("/health").status, 200);
}

#[test]
fn what_is_no_request_is_refused_in_one_shape() {
    let rig = Rig::start();
    let id = rig.upload(scan());
    let chat = "/v1/chat/completions";
    for body in ["", "{", "[]", "3", "\"a\"", "{\"messages\":", "{\"a\":1e999}", "\u{0}", "nul"] {
        let reply = rig.ask("POST", chat, JSON, body.as_bytes());
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(rig.ask("POST", chat, JSON, deep.as_bytes()).status, 400);
    assert_eq!(rig.ask("POST", chat, JSON, &[0xff, 0xfe]).status, 400);
    assert_eq!(rig.ask("POST", chat, "Content-Type: text/plain\r\n", b"{}").code(), "content_type");
    let gzip = format!("{JSON}Content-Encoding: gzip\r\n");
    assert_eq!(rig.ask("POST", chat, &gzip, b"{}").code(), "content_encoding");
    assert_eq!(rig.get("/nowhere").code(), "no_route");
    let wrong = rig.ask("PUT", "/v1/files", "", b"");
    assert_eq!((wrong.status, wrong.code().as_str()), (405, "wrong_method"));
    assert_eq!(rig.get("/v1/files/%ff").status, 400);
    assert_eq!(rig.get("/v1/files/..%2f..%2fetc%2fpasswd").code(), "file_not_found");
    assert_eq!(rig.post(chat, &question("file-0")).code(), "file_not_found");
    let mut other = question(&id);
    other["model"] = json!("gpt");
    assert_eq!(rig.post(chat, &other).code(), "model_not_found");
    is_well(&rig, &id);
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    let rig = Rig::start();
    let id = rig.upload(scan());
    let refused = |name: &str, value: Value| {
        let mut body = question(&id);
        body[name] = value.clone();
        let reply = rig.post("/v1/chat/completions", &body);
        assert_eq!((reply.status, &reply.json()["error"]["param"]), (400, &json!(name)), "{name}: {value}");
    };
    for value in [json!(-1), json!(2.5), json!("1"), json!(1e300)] {
        refused("temperature", value);
    }
    for value in [json!(0), json!(-1), json!(1.5), json!(1u64 << 40), json!("a")] {
        refused("max_tokens", value);
    }
    refused("top_p", json!(0));
    refused("top_logprobs", json!(2));
    refused("n", json!(2));
    refused("stop", json!(vec!["a"; 17]));
    refused("seed", json!(0.5));
    refused("index", json!(-1));
    refused("window", json!("wide"));
    refused("series", json!(3));
    refused("stream_options", json!({ "include_usage": true }));
    refused("structured_outputs", json!({ "json": {} }));
    refused("structured_outputs", json!("A"));
    refused("volume", json!(3));
    let long = "word ".repeat(50_000);
    let body = json!({ "volume": id, "messages": [{ "role": "user", "content": long }] });
    assert_eq!(rig.post("/v1/chat/completions", &body).status, 400, "a prompt that no cache holds");
    for stop in [json!([""]), json!(["x".repeat(257)])] {
        let mut body = question(&id);
        body["stop"] = stop;
        assert_eq!(rig.post("/v1/chat/completions", &body).status, 400);
    }
    is_well(&rig, &id);
}

#[test]
fn a_client_that_leaves_ends_its_question() {
    let rig = Rig::endless(|_| {});
    let id = rig.upload(scan());
    let whole = long_tokens(&rig);
    assert!(whole > 100, "{whole} tokens are too few for the test");
    let before = rig.engine.stats().tokens;
    let mut client = Client::connect(rig.address);
    client.send(&request("POST", "/v1/chat/completions", JSON, long(&id).to_string().as_bytes()));
    assert_eq!(client.head().status, 200);
    client.chunk().expect("the first part");
    assert!(!rig.is_idle());
    drop(client);
    rig.wait("an idle engine", Rig::is_idle);
    let given = rig.engine.stats().tokens - before;
    assert!(given < whole as u64, "all {given} tokens were given to nobody");
    is_well(&rig, &id);
    // Before a whole answer, too.
    let mut body = long(&id);
    body["stream"] = false.into();
    let mut client = Client::connect(rig.address);
    client.send(&request("POST", "/v1/chat/completions", JSON, body.to_string().as_bytes()));
    rig.wait("the question", |rig| rig.engine.stats().running > 0);
    let before = rig.engine.stats().tokens;
    drop(client);
    rig.wait("an idle engine", Rig::is_idle);
    assert!(rig.engine.stats().tokens - before < whole as u64);
}

#[test]
fn a_client_that_reads_nothing_holds_nobody_up() {
    let rig = Rig::endless(|_| {});
    let id = rig.upload(scan());
    let mut client = Client::connect(rig.address);
    client.send(&request("POST", "/v1/chat/completions", JSON, long(&id).to_string().as_bytes()));
    rig.wait("the question", |rig| !rig.is_idle());
    rig.wait("an idle engine", Rig::is_idle);
    is_well(&rig, &id);
    assert_eq!(client.reply().events().last().map(String::as_str), Some("[DONE]"));
}

#[test]
fn a_full_queue_is_told_and_empties() {
    let gate = tempfile::tempdir().unwrap();
    let flag = gate.path().join("open");
    std::fs::write(&flag, "").unwrap();
    let rig = Rig::with(|config| {
        config.reader = gated(&flag);
        config.limits.questions = 1;
    });
    let id = rig.upload(scan());
    std::fs::remove_file(&flag).unwrap();
    // A window of its own has the scan read anew, which now takes until the gate opens.
    let mut body = question(&id);
    body["window"] = json!("0,1");
    let mut first = Client::connect(rig.address);
    first.send(&request("POST", "/v1/chat/completions", JSON, body.to_string().as_bytes()));
    rig.wait("the first question", |rig| rig.metric("med2e3:num_requests_waiting") == 1.0);
    let second = rig.post("/v1/chat/completions", &question(&id));
    assert_eq!((second.status, second.code().as_str()), (429, "queue_full"));
    assert_eq!(second.header("retry-after"), Some("1"));
    std::fs::write(&flag, "").unwrap();
    assert_eq!(first.reply().status, 200);
    is_well(&rig, &id);
    assert_eq!(rig.metric("med2e3:requests_rejected_total{reason=\"queue_full\"}"), 1.0);
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs() {
    let gate = tempfile::tempdir().unwrap();
    let flag = gate.path().join("open");
    std::fs::write(&flag, "").unwrap();
    let rig = Rig::with(|config| {
        config.reader = gated(&flag);
        config.limits.question = Duration::from_secs(4);
    });
    let id = rig.upload(scan());
    std::fs::remove_file(&flag).unwrap();
    let mut body = question(&id);
    body["window"] = json!("0,1");
    let reply = rig.post("/v1/chat/completions", &body);
    assert_eq!((reply.status, reply.code().as_str()), (504, "deadline_exceeded"));
    is_well(&rig, &id);
    rig.wait("an idle engine", Rig::is_idle);
}

#[test]
fn a_deadline_in_a_stream_is_an_event() {
    let rig = Rig::endless(|config| config.limits.question = Duration::from_secs(1));
    let id = rig.upload(scan());
    let started = Instant::now();
    long_tokens(&rig);
    // So many others that the turn of this one comes long after its deadline.
    let others = 8 + (8.0 / started.elapsed().as_secs_f64()) as usize;
    let volume = rig.volume(scan());
    let others: Vec<_> = (0..others).map(|_| rig.engine.submit(&volume, Request::new(QUESTION)).unwrap()).collect();
    let reply = rig.post("/v1/chat/completions", &long(&id));
    assert_eq!(reply.status, 200, "{reply:?}");
    let last: Value = serde_json::from_str(reply.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "deadline_exceeded");
    drop((others, volume));
    rig.wait("an idle engine", Rig::is_idle);
}

#[test]
fn an_upload_that_is_cut_leaves_nothing() {
    let rig = Rig::start();
    let body = form("a.npy", scan(), &[]);
    for (path, head) in [("/v1/files", FORM), ("/v1/volumes", "")] {
        let bytes = request("POST", path, head, &body);
        let mut client = Client::connect(rig.address);
        client.send(&bytes[..bytes.len() / 2]);
        rig.wait("a part of the file", |rig| rig.metric("med2e3:spool_bytes") >= 0.0);
        drop(client);
    }
    // A chunked body that ends in the midst of a form.
    let mut client = Client::connect(rig.address);
    let half = &body[..body.len() / 2];
    let head = format!("POST /v1/files HTTP/1.1\r\nHost: localhost\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n");
    client.send(head.as_bytes());
    client.send(format!("{:x}\r\n", half.len()).as_bytes());
    client.send(half);
    client.send(b"\r\n0\r\n\r\n");
    assert_eq!(client.reply().code(), "invalid_request");
    rig.wait("an empty spool", |rig| rig.metric("med2e3:spool_bytes") == 0.0);
    assert_eq!(std::fs::read_dir(rig.folder.path().join("spool")).unwrap().count(), 0);
    is_well(&rig, &rig.upload(scan()));
}

#[test]
fn bodies_have_limits() {
    let rig = Rig::with(|config| {
        config.limits = Limits { upload: 100_000, body: 2 << 20, spool: 2 << 20, files: 1, ..Limits::default() };
        config.limits.idle = Duration::from_millis(300);
    });
    let chat = "/v1/chat/completions";
    let body = format!("{{\"guide\":\"{}\"}}", "x".repeat(3 << 20));
    let reply = rig.ask("POST", chat, JSON, body.as_bytes());
    assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"));
    let large = form("a", &vec![1; 100_001], &[]);
    for (path, head) in [("/v1/files", FORM), ("/v1/volumes", "")] {
        let reply = rig.ask("POST", path, head, &large);
        assert_eq!((reply.status, reply.code().as_str()), (413, "too_large"), "{path}");
    }
    // Without end, and without a length.
    let mut client = Client::connect(rig.address);
    client.send(b"POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let part = [format!("{:x}\r\n", 50_000).into_bytes(), vec![b'x'; 50_000], b"\r\n".to_vec()].concat();
    (0..5).for_each(|_| client.send(&part));
    assert_eq!(client.reply().code(), "too_large");
    // A client that stops sending.
    let mut client = Client::connect(rig.address);
    client.send(b"POST /v1/volumes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\nabc");
    assert_eq!(client.reply().code(), "timeout");
    let mut client = Client::connect(rig.address);
    client.send(format!("POST {chat} HTTP/1.1\r\nHost: localhost\r\n{JSON}Content-Length: 50\r\n\r\n{{").as_bytes());
    assert_eq!(client.reply().code(), "timeout");
    // One that says nothing at all, or nothing more.
    for said in [&b""[..], b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /health"] {
        let mut quiet = TcpStream::connect(rig.address).unwrap();
        quiet.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        quiet.write_all(said).unwrap();
        quiet.read_to_end(&mut Vec::new()).expect("the server hangs up");
    }
    // More headers, and longer ones, than a request has.
    for head in ["X-A: b\r\n".repeat(200), format!("X-A: {}\r\n", "b".repeat(1_000_000))] {
        assert_eq!(rig.ask("GET", "/health", &head, b"").status, 431);
    }
    assert_eq!(rig.get("/health").status, 200);
}

#[test]
fn what_is_kept_has_limits() {
    let rig = Rig::with(|config| {
        config.limits.spool = 4 << 20;
        config.limits.files = 1;
    });
    let id = rig.upload(&patient(1)[..]);
    let full = rig.ask("POST", "/v1/files", FORM, &form("a", scan(), &[]));
    assert_eq!((full.status, full.code().as_str()), (507, "too_many_files"));
    rig.ask("DELETE", &format!("/v1/files/{id}"), "", b"");
    let file = vec![7; 5 << 20];
    let reply = rig.ask("POST", "/v1/volumes", "", &file);
    assert_eq!((reply.status, reply.code().as_str()), (507, "spool_full"));
    is_well(&rig, &rig.upload(scan()));
}

#[test]
fn a_scan_that_is_none_is_refused_and_a_reader_that_dies_is_survived() {
    let rig = Rig::start();
    for body in [&b""[..], b"nonsense", b"\x93NUMPY\x01\x00", b"PK\x03\x04", &scan()[..1000]] {
        let reply = rig.ask("POST", "/v1/files", FORM, &form("a", body, &[]));
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_volume"), "{body:?}");
        let message = reply.text();
        assert!(!message.contains("/proc") && !message.contains("--"), "{message}");
    }
    let deaths = ["kill -SEGV $$", "kill -ABRT $$", "exit 1", "exit 0", "echo nonsense", "echo '{\"read\":{}}'"];
    for script in deaths {
        let rig = Rig::with(|config| {
            config.reader.program = "/bin/sh".into();
            config.reader.arguments = ["-c", script, "sh"].map(Into::into).to_vec();
        });
        let reply = rig.ask("POST", "/v1/files", FORM, &form("a", scan(), &[]));
        assert!([422, 500].contains(&reply.status), "{script}: {reply:?}");
        assert_eq!(rig.metric("med2e3:spool_bytes"), 0.0);
    }
    let rig = Rig::with(|config| {
        config.reader.program = "/bin/sleep".into();
        config.reader.arguments = vec!["100".into()];
        config.limits.decode_time = Duration::from_secs(1);
    });
    let reply = rig.ask("POST", "/v1/files", FORM, &form("a", scan(), &[]));
    assert_eq!(reply.code(), "invalid_volume");
}

#[test]
fn a_reader_has_no_more_memory_than_it_may() {
    let header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (64, 512, 512), }";
    let mut npy = header.to_vec();
    npy.resize(127, b' ');
    npy.push(b'\n');
    npy.resize(128 + 64 * 512 * 512 * 4, 0);
    let refused = |memory| {
        let rig = Rig::with(|config| config.limits.decode_memory = memory);
        let reply = rig.ask("POST", "/v1/volumes", "", &npy);
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_volume"));
        is_well(&rig, &rig.upload(scan()));
        reply.text()
    };
    // With room it is read, and there is nothing to see.
    assert!(refused(2 << 30).contains("constant"));
    assert!(refused(48 << 20).contains("memory"));
}

#[test]
fn a_server_without_its_model_is_not_ready() {
    let rig = Rig::without_model(&LoadOptions::default(), |_| {});
    for path in ["/health", "/health/ready", "/v2/health/ready", "/v1/models"] {
        let reply = rig.get(path);
        assert_eq!((reply.status, reply.code().as_str()), (503, "loading"), "{path}");
        assert!(reply.header("retry-after").is_some());
    }
    assert_eq!(rig.post("/v1/chat/completions", &question("file-0")).code(), "loading");
    assert_eq!(rig.ask("POST", "/v1/files", FORM, &form("a", scan(), &[])).code(), "loading");
    assert_eq!((rig.get("/health/live").status, rig.get("/metrics").status), (200, 200));
    rig.server.set_engine(rig.engine.clone(), None);
    is_well(&rig, &rig.upload(scan()));
}

#[test]
fn a_server_that_ends_lets_answers_end() {
    let mut rig = Rig::endless(|config| config.limits.drain = Duration::from_secs(600));
    let id = rig.upload(scan());
    // Four at a time, so that there is work for as long as the test looks.
    let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(rig.address)).collect();
    for client in &mut clients {
        client.send(&request("POST", "/v1/chat/completions", JSON, long(&id).to_string().as_bytes()));
    }
    for client in &mut clients {
        assert_eq!(client.head().status, 200);
    }
    rig.stop();
    rig.wait("the drain", |rig| rig.get("/health").status == 503);
    assert_eq!(rig.post("/v1/chat/completions", &question(&id)).code(), "shutting_down");
    for client in &mut clients {
        let rest: Vec<u8> = std::iter::from_fn(|| client.chunk()).flatten().collect();
        assert!(String::from_utf8(rest).unwrap().ends_with("data: [DONE]\n\n"));
    }
    rig.ended();
}

#[test]
fn a_server_that_must_end_says_so_in_its_streams() {
    let mut rig = Rig::endless(|config| config.limits.drain = Duration::ZERO);
    let id = rig.upload(scan());
    let mut client = Client::connect(rig.address);
    client.send(&request("POST", "/v1/chat/completions", JSON, long(&id).to_string().as_bytes()));
    client.head();
    client.chunk().unwrap();
    rig.stop();
    rig.ended();
    let mut rest = Vec::new();
    while let Some(part) = client.chunk() {
        rest.extend(part);
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("\"shutting_down\"") && !rest.contains("[DONE]"), "{rest}");
    rig.wait("an idle engine", Rig::is_idle);
}
