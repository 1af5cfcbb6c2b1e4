//! The one program: its command line, its settings, and [`app`], the one place where everything is put together.

pub mod app;
pub mod catalog_file;
mod cli;
mod commands;
pub mod config;
pub mod demo;
pub mod keeper;
pub mod serve;
mod telemetry;

pub use cli::{Cli, run};
