//! Many clients at once: every one is answered as if it were alone, and nothing is lost.
use crate::rig::{Rig, patient};
use med2e3::{LoadOptions, Request};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const QUESTIONS: [&str; 3] =
    ["Which plane is shown?", "Describe the scan.", "What abnormality does this CT scan show?"];
const CLIENTS: usize = 64;

/// Requests of each client.
fn requests() -> usize {
    std::env::var("MED2E3_LONG").map_or(4, |_| 200)
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
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let client = &|number: usize| {
        for round in 0..requests() {
            let (scan, question) = ((number + round) % ids.len(), (number / 7 + round) % QUESTIONS.len());
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
    std::thread::scope(|scope| {
        (0..CLIENTS).for_each(|number| {
            scope.spawn(move || client(number));
        });
    });
    let [answered, refused] = [answered, refused].map(AtomicUsize::into_inner);
    assert_eq!(answered + refused, CLIENTS * requests());
    assert!(answered > CLIENTS, "{answered} were answered, {refused} refused");
    rig.wait("an idle engine", Rig::is_idle);
    assert_eq!(rig.metric("med2e3:num_requests_waiting"), 0.0);
}
