//! `docs/http.md` says of every field what the program does with it.
use std::path::Path;

const BEGIN: &str = "<!-- fields -->\n";
const END: &str = "<!-- end of fields -->";

/// With `MED2E3_WRITE_DOCS=1` the tables are written.
#[test]
fn the_tables_of_fields_are_the_programs_own() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the tables begin");
    let (found, after) = rest.split_once(END).expect("where they end");
    let want = format!("\n{}", med2e3_server::field_tables());
    if std::env::var_os("MED2E3_WRITE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{want}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(found, want, "run this test with MED2E3_WRITE_DOCS=1");
}
