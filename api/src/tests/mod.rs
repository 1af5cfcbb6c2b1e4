//! The routes over small stand-ins for their ports.

mod access;
mod admission;
mod dial;
mod document;
mod idempotency;
mod learner;
mod members;
mod shell;
mod sign_in;
mod stores;
mod story;
mod support;
mod world;
