//! Whole stories, told to the real program over HTTP and by its command line.

// `cfg(test)` is said once more where helpers are in the file, so that clippy takes them for tests too.
#[cfg(test)]
mod access_events;
mod accounts;
mod accounts_attacks;
mod api_contract;
mod bad_input;
#[cfg(test)]
mod buying;
mod cold_start;
mod command_line;
#[cfg(test)]
mod comparing;
#[cfg(test)]
mod console_account;
mod corpus;
mod crash;
#[cfg(test)]
mod cut_off;
// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod demo;
mod doctor;
#[cfg(test)]
mod erasing;
mod grace;
// Said once more, so that clippy takes the helpers for tests too.
#[cfg(test)]
mod history;
mod identity;
mod known_bugs;
mod learner_access;
mod logs;
mod metrics;
mod ordering;
mod overload;
#[cfg(test)]
mod people;
mod poison;
#[cfg(test)]
mod positions;
#[cfg(test)]
mod providers;
#[cfg(test)]
mod purchase_soak;
mod rebuild;
mod repeated_commands;
mod reversals;
#[cfg(test)]
mod searching;
mod set_aside;
#[cfg(test)]
mod simulator;
mod slow_clients;
mod statuses;
mod stopping;
mod store_faults;
mod stripe_events;
#[cfg(test)]
mod support_acts;
#[cfg(test)]
mod support_console;
mod two_processes;
mod without_webhooks;
#[cfg(test)]
mod year;
