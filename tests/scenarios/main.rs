//! Whole stories, told to the real program over HTTP and by its command line.

mod bad_input;
mod command_line;
mod corpus;
mod crash;
mod demo;
mod grace;
mod identity;
mod learner_access;
mod ordering;
mod set_aside;
// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod simulator;
mod statuses;
mod two_processes;
