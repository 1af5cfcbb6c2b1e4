//! The one program: its command line, its settings, and [`app`], the one place where everything is put together.

pub mod app;
pub mod catalog_file;
mod cli;
mod commands;
pub mod config;
mod connection;
mod demo;
#[cfg(feature = "failpoints")]
mod failpoints;
mod index_file;
pub mod keeper;
pub mod limits;
mod mail;
pub mod metrics;
mod rebuilds;
mod refusal;
pub mod serve;
mod telemetry;
mod waiting;

pub use cli::{Cli, run};
