//! The page, as far as it can be seen without a browser.
use crate::rig::{Rig, scan};
use med2e3_server::Keys;

#[test]
fn a_browser_may_load_the_pages_own_files_alone() {
    let keys = Keys::parse("ward ward-secret-0123456789").unwrap();
    let rig = Rig::with(|config| config.keys = keys);
    for (path, kind) in [("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")] {
        let reply = rig.get(path);
        assert_eq!(reply.status, 200, "{path} needs no key");
        assert!(reply.header("content-type").unwrap().starts_with(kind));
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let text = reply.text();
        assert!(!text.contains("http://") && !text.contains("https://"), "{path} leads elsewhere");
    }
    let page = rig.get("/").text();
    assert!(page.contains("For research only") && !page.contains("<style") && !page.contains(" onclick"));
    // What a scan or an answer says is text and never markup.
    let script = rig.get("/app.js").text();
    assert!(
        ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            .iter()
            .all(|bad| !script.contains(bad))
    );
}

#[test]
fn slices_are_what_the_model_sees() {
    let rig = Rig::start();
    let id = rig.upload(scan());
    let reply = rig.get(&format!("/v1/files/{id}/slices"));
    assert_eq!((reply.status, reply.header("x-shape")), (200, Some("32,64,64")));
    // The upload is a prepared .npy, whose voxels are its last bytes.
    let voxels = scan()[scan().len() - 4 * reply.body.len()..].chunks_exact(4);
    let want = voxels.map(|four| (f32::from_le_bytes(four.try_into().unwrap()) * 255.0).round() as u8);
    assert!(want.eq(reply.body.iter().copied()));
    assert_eq!(rig.get(&format!("/v1/files/{id}/slices?window=wide")).code(), "invalid_request");
    assert_eq!(rig.get(&format!("/v1/files/{id}/slices?colour=red")).code(), "invalid_request");
    assert_eq!(rig.get("/v1/files/file-0/slices").code(), "file_not_found");
}
