//! Errors, as Stripe tells them.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::cards::Decline;

/// Why Stripe does not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// Stripe's `type`.
    pub kind: &'static str,
    /// Stripe's `code`.
    pub code: Option<Box<str>>,
    /// The bank's reason.
    pub decline_code: Option<Box<str>>,
    /// For people.
    pub message: Box<str>,
    /// The parameter that is wrong.
    pub param: Option<Box<str>>,
}

impl ApiError {
    pub(crate) fn new(status: u16, kind: &'static str, message: impl Into<Box<str>>) -> Self {
        let message = message.into();
        Self { status, kind, code: None, decline_code: None, message, param: None }
    }

    pub(crate) fn invalid(message: impl Into<Box<str>>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// There is no such object.
    pub(crate) fn missing(kind: &str, id: &str) -> Self {
        let missing = Self::new(404, "invalid_request_error", format!("No such {kind}: '{id}'"));
        missing.coded("resource_missing").at("id")
    }

    pub(crate) fn card(decline: &Decline) -> Self {
        let error = Self::new(402, "card_error", decline.message.as_str()).coded(&decline.code);
        Self { decline_code: decline.reason.as_deref().map(Into::into), ..error }
    }

    #[must_use]
    pub(crate) fn coded(mut self, code: &str) -> Self {
        self.code = Some(code.into());
        self
    }

    #[must_use]
    pub(crate) fn at(mut self, param: &str) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The body of the answer.
    pub fn body(&self) -> Value {
        let mut error = Map::new();
        error.insert("type".to_owned(), json!(self.kind));
        error.insert("message".to_owned(), json!(self.message));
        let optional = [("code", &self.code), ("decline_code", &self.decline_code), ("param", &self.param)];
        for (key, value) in optional {
            if let Some(value) = value {
                error.insert(key.to_owned(), json!(value));
            }
        }
        if let Some(code) = &self.code {
            error.insert("doc_url".to_owned(), json!(format!("https://stripe.com/docs/error-codes/{code}")));
        }
        json!({ "error": error })
    }
}
