//! What the fuzz targets share: parts of the program that are compiled here by themselves, so that nobody who fuzzes has to
//! build databases and pages.

#[path = "../../server/src/catalog_file.rs"]
pub mod catalog_file;
#[path = "../../api/src/cursor.rs"]
pub mod cursor;

/// Inputs that hold several things are separated by lines like this.
pub const BETWEEN: &str = "\n---\n";

/// The things in an input.
pub fn parts(input: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), input);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN.as_bytes()) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}
