//! Whole stories, told to the real program over HTTP and by its command line.

mod access_events;
mod api_contract;
mod bad_input;
mod buying;
mod cold_start;
mod command_line;
mod corpus;
mod crash;
mod demo;
mod doctor;
mod grace;
mod identity;
mod known_bugs;
mod learner_access;
mod logs;
mod metrics;
mod ordering;
mod overload;
mod poison;
mod purchase_soak;
mod rebuild;
mod reversals;
mod set_aside;
// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod simulator;
mod slow_clients;
mod statuses;
mod stopping;
mod store_faults;
mod two_processes;
mod without_webhooks;
