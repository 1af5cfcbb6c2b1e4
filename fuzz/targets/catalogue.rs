//! The text of catalogue files, one after the other applied to the same catalogue.
#![no_main]

use domain::catalog::{Catalog, CatalogCommand, CatalogError, CatalogEvent, decide, evolve};
use fuzz::{catalog_file, parts};
use libfuzzer_sys::fuzz_target;

/// More would be slow and find nothing else.
const MOST: usize = 4;

fuzz_target!(|input: &[u8]| {
    let mut catalog = Catalog::default();
    for text in parts(input).into_iter().take(MOST).filter_map(|text| std::str::from_utf8(text).ok()) {
        let content = match catalog_file::parse(text) {
            Ok(content) => content,
            Err(mistake) => {
                let line = mistake.line_in(text);
                assert!((1..=text.split('\n').count()).contains(&line), "{line} is no line: {mistake}");
                assert!(!mistake.to_string().is_empty(), "line {line} is wrong, and nobody says why");
                continue;
            }
        };
        let apply = || CatalogCommand::Apply(Box::new(content.clone()));
        let events = match decide(&catalog, apply()) {
            Ok(events) => events,
            // Alone it was right; together with the ones before there may be too many.
            Err(error) => {
                assert_eq!(error, CatalogError::TooManyPlans);
                continue;
            }
        };
        for event in events {
            let stored = serde_json::to_string(&event).expect("an event can be written");
            assert_eq!(serde_json::from_str::<CatalogEvent>(&stored).ok().as_ref(), Some(&event), "{stored}");
            assert!(!stored.contains("\\u0000"), "{stored} is stored by no PostgreSQL");
            evolve(&mut catalog, &event);
        }
        assert_eq!(decide(&catalog, apply()), Ok(Vec::new()), "applied twice");
    }
});
