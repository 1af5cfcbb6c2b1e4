//! Folds of the log: everything that is computed from events and can be computed again.
//!
//! | projection | where | answers |
//! |---|---|---|
//! | [`access_index::AccessIndex`] | memory of every node | may this member watch this video, now? |
//! | [`directory::Directory`] | view tables | which payers and subscriptions does a member have? |
//! | [`search::Search`] | nothing kept, asks the directory | whom may somebody mean by what was typed? |
//! | [`dossier`] | nothing kept, folds on demand | what has a member asked for and bought? |
//! | [`past::Past`] | nothing kept, folds on demand | may she have watched it then, and why? |

pub mod access_index;
pub mod case;
pub mod directory;
pub mod dossier;
pub mod parked;
pub mod past;
pub mod rebuild;
pub mod runner;
pub mod search;
pub mod timeline;
pub mod verify;
pub mod view_store;
