//! Whole stories, told to the real program over HTTP and by its command line.

mod bad_input;
mod command_line;
mod corpus;
mod crash;
mod demo;
mod grace;
mod identity;
mod known_bugs;
mod learner_access;
mod ordering;
mod reversals;
mod set_aside;
mod statuses;
mod two_processes;
mod without_webhooks;
