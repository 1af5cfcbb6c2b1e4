//! The file that the access index is kept in: whatever is in it, it is a whole snapshot or none.
#![no_main]

use std::sync::Arc;

use domain::ids::MemberId;
use libfuzzer_sys::fuzz_target;
use projections::access_index::{AccessIndex, IndexFollower, decode, seal};

fuzz_target!(|bytes: &[u8]| {
    drop(decode(bytes));
    // Behind a right digest, so that what is in it is looked at too.
    if let Ok(snapshot) = decode(&seal(bytes)) {
        let index = Arc::new(AccessIndex::default());
        IndexFollower::resume(index.clone(), snapshot);
        let catalog = index.catalog();
        index.sources(&MemberId::from("mem_1"), &catalog);
    }
});
