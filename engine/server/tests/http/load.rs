//! Many clients at once: every one is answered as if it were alone, and nothing is lost.
use crate::client::{Client, FORM, JSON, form, request};
use crate::rig::{QUESTION, Rig, patient};
use med2e3::{LoadOptions, Request};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const QUESTIONS: [&str; 3] =
    ["Which plane is shown?", "Describe the scan.", "What abnormality does this CT scan show?"];
const CLIENTS: usize = 64;

/// Whether the tests have a night.
fn is_long() -> bool {
    std::env::var_os("MED2E3_LONG").is_some()
}

/// Requests of each client in each of two rounds.
fn requests() -> usize {
    if is_long() { 200 } else { 2 }
}

/// Pages of memory that the process, clients included, has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn many_clients_get_the_answers_that_one_gets() {
    let options = LoadOptions { batch: 16, volumes: 2, ..LoadOptions::default() };
    let rig = Rig::new(&options, |config| config.limits.questions = 48);
    let scans: Vec<Vec<u8>> = (0..4).map(patient).collect();
    let ids: Vec<String> = scans.iter().map(|scan| rig.upload(scan)).collect();
    let answer = |scan: &[u8], question: &str| rig.engine.ask(&rig.volume(scan), Request::new(question)).unwrap().text;
    let want: Vec<Vec<String>> =
        scans.iter().map(|scan| QUESTIONS.iter().map(|question| answer(scan, question)).collect()).collect();
    let answered = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    let client = &|number: usize| {
        for round in 0..requests() {
            let scan = (number + round) % ids.len();
            let question = (number / 7 + round) % QUESTIONS.len();
            let body = json!({
                "volume": ids[scan], "stream": true, "messages": [{ "role": "user", "content": QUESTIONS[question] }],
            });
            let reply = rig.post("/v1/chat/completions", &body);
            if reply.status == 429 {
                assert!(reply.header("retry-after").is_some() && reply.code() == "queue_full");
                refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let events = reply.events();
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{reply:?}");
            let parts = events[..events.len() - 1].iter().map(|part| serde_json::from_str::<Value>(part).unwrap());
            let text = parts.filter_map(|part| Some(part["choices"][0]["delta"]["content"].as_str()?.to_owned()));
            assert_eq!(text.collect::<String>(), want[scan][question]);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let all = || {
        std::thread::scope(|scope| {
            (0..CLIENTS).for_each(|number| {
                scope.spawn(move || client(number));
            });
        });
    };
    // Twice: what the first time takes, buffers and threads, the second finds.
    all();
    let before = resident();
    all();
    if is_long() {
        let after = resident();
        assert!(after as f64 <= 1.05 * before as f64, "resident memory grew from {before} to {after} pages");
    }
    let [answered, refused] = [answered, refused].map(AtomicUsize::into_inner);
    assert_eq!(answered + refused, 2 * CLIENTS * requests());
    assert!(answered > CLIENTS, "{answered} were answered, {refused} refused");
    rig.wait("an idle engine", Rig::is_idle);
    assert_eq!(rig.metric("med2e3:num_requests_waiting"), 0.0);
}

/// Clients that upload, ask, leave in the midst of an answer and delete, in an order that each one's number decides.
#[test]
fn clients_that_come_and_go_leave_nothing() {
    let rig = Rig::endless(|_| {});
    let scan = patient(5);
    let until = Instant::now() + Duration::from_secs(if is_long() { 600 } else { 4 });
    let client = &|number: u64| {
        // A generator of a line: the order matters, its quality does not.
        let mut state = number + 1;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        while Instant::now() < until {
            let reply = rig.ask("POST", "/v1/files", FORM, &form("a.npy", &scan, &[]));
            assert_eq!(reply.status, 200, "{reply:?}");
            let id = reply.json()["id"].as_str().unwrap().to_owned();
            for _ in 0..next(4) {
                let mut body = json!({ "volume": id, "stream": true });
                body["messages"] = json!([{ "role": "user", "content": QUESTION }]);
                body["max_tokens"] = (1 + next(100)).into();
                let mut client = Client::connect(rig.address);
                client.send(&request("POST", "/v1/chat/completions", JSON, body.to_string().as_bytes()));
                match next(3) {
                    0 => {}
                    1 => assert_eq!(client.head().status, 200),
                    _ => assert_eq!(client.reply().events().last().map(String::as_str), Some("[DONE]")),
                }
            }
            if next(4) > 0 {
                rig.ask("DELETE", &format!("/v1/files/{id}"), "", b"");
            }
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|number| {
            scope.spawn(move || client(number));
        });
    });
    rig.wait("an idle engine", Rig::is_idle);
    for file in rig.get("/v1/files").json()["data"].as_array().unwrap() {
        rig.ask("DELETE", &format!("/v1/files/{}", file["id"].as_str().unwrap()), "", b"");
    }
    assert_eq!(rig.metric("med2e3:spool_bytes"), 0.0);
    assert_eq!(rig.metric("med2e3:num_requests_waiting"), 0.0);
}
