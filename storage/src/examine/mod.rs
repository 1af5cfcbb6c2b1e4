//! Looks a store over from outside, without changing anything, and says what is wrong with it. Works beside a service
//! that runs on the same store, and on a store that no service could open.

mod postgres;
mod sqlite;

use std::fmt;

use serde::Serialize;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or may lose something.
    Problem,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// What was found about one thing. No text holds a secret or anything about a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What is so, and why that matters.
    pub what: String,
    /// What to do.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, what: what.into(), remedy: None }
    }

    /// Somebody should look at it.
    pub fn warning(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    /// It is wrong.
    pub fn problem(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks over the store at `url`. `deep` looks at every page of a file, however long that takes.
pub async fn examine(url: &str, deep: bool) -> Vec<Finding> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path).to_owned();
        let looked = tokio::task::spawn_blocking(move || sqlite::examine(path.as_ref(), deep)).await;
        looked.unwrap_or_else(|why| vec![Finding::problem("store", why.to_string(), "try again")])
    } else {
        postgres::examine(url).await
    }
}
