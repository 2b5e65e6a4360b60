//! The library has every function of the driver that we call.
// Built with it, as the library that `tools/fake-cuda` puts in the driver's place.
use fake_cuda as _;

#[test]
fn every_function_is_there() {
    let program = std::env::current_exe().expect("this test has a path");
    let library = program.with_file_name("libfake_cuda.so");
    let library = std::fs::read(&library).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    for function in include_str!("../../src/gpu/symbols.txt").lines() {
        let name = format!("\0{function}\0").into_bytes();
        assert!(library.windows(name.len()).any(|part| part == name), "{function}");
    }
}
