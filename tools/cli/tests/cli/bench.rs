//! `bench latency` on a tiny model: what it reports, not how fast it is.

use serde_json::Value;

use crate::{fail, json as run_json, succeed, tiny_model};

#[test]
fn latency_reports_every_figure() {
    let line = ["bench", "latency", "--model", tiny_model(), "--runs", "1", "--questions", "2", "--new-tokens", "3"];
    let report: Value = run_json(&[&line[..], &["--json"]].concat());
    assert_eq!((report["questions"].as_u64(), report["new_tokens"].as_u64()), (Some(2), Some(3)), "{report}");
    assert!(
        report["cached_tokens"].as_u64() > Some(0)
            && report["cached_tokens"].as_u64() < report["prompt_tokens"].as_u64()
    );
    let timings = report["timings_ms"].as_object().expect("an object");
    let keys = [
        "encode",
        "first",
        "follow_up",
        "eleven_prompts_alone",
        "eleven_prompts_together",
        "eleven_first_tokens_together",
        "eleven_alone",
        "eleven_together",
        "longest_unit_ms",
        "longest_gap_ms",
    ];
    assert_eq!(timings.len(), keys.len());
    for key in keys {
        assert!(timings[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {report}");
    }
    let shown = succeed(&line);
    assert!(shown.lines().count() == 12 && shown.contains("first token of a second question"), "{shown}");
    assert!(fail(&["bench", "latency", "--model", "nowhere"], 3).contains("nowhere"));
}
