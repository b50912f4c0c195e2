//! The `options` startup parameter. What is split can be written down again and splits to the same.
#![no_main]

use helios_wire::options::split;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|options: &str| {
    let settings = match split(options) {
        Ok(settings) => settings,
        Err(error) => {
            assert_eq!(error.sqlstate().len(), 5);
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let written: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("-c {}={}", escape(name), escape(value)))
        .collect();
    assert_eq!(split(&written.join(" ")), Ok(settings));
});

fn escape(text: &str) -> String {
    text.chars().flat_map(|c| ['\\', c]).collect()
}
