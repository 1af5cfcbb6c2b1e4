//! Folds of the log.

pub mod view_store;
