//! Stripe's real payloads, which are not part of this repository.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The folder of real payloads; when it is not there, says so on stderr, and the test that asked is skipped.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn folder(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment where they run")]
    let told = std::env::var("STRIPE_EVENT_CORPUS").unwrap_or_else(|_| "../shared/stripe-events".to_owned());
    let folder = root.join(told).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: {} is not there; set STRIPE_EVENT_CORPUS to the folder that holds {name}",
        folder.display()
    );
    None
}

/// The JSON files of a folder, by name.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    files
}

/// A file's JSON.
pub fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}
