//! What a form sends.

use std::collections::BTreeMap;

use api::ApiState;
use api::error::ApiError;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;

/// The fields of a form, each with its last value. What was left empty is not there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Reads a query or a body.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes).into_owned();
        Self(pairs.filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// A field's text as it was typed.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field that somebody filled in, without spaces around.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim())
    }
}

impl FromRequest<ApiState> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, ApiError> {
        let kind =
            request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(ApiError::WrongShape("it has to be what a form of these pages sends".to_owned()));
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|_| ApiError::TooLarge)?;
        Ok(Self::read(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_empty_is_not_there() {
        let fields = Fields::read(b"a=1&a=2&b=&c=+&d=x+%26+y");
        assert_eq!(fields.filled("a"), Some("2"));
        assert_eq!((fields.filled("b"), fields.filled("c"), fields.text("e")), (None, None, ""));
        assert_eq!(fields.text("d"), "x & y");
    }
}
