//! How both databases write a kept answer.

use domain::idempotency::KeptAnswer;
use domain::ports::StoreError;

/// The headers as one text.
pub(crate) fn written(headers: &[(String, String)]) -> String {
    serde_json::json!(headers).to_string()
}

/// The answer of a row.
pub(crate) fn read(
    status: i64,
    headers: Option<&str>,
    body: Option<Vec<u8>>,
) -> Result<KeptAnswer, StoreError> {
    let unreadable = |what: String| StoreError::Corrupt(format!("a kept answer: {what}"));
    let status = u16::try_from(status).map_err(|why| unreadable(why.to_string()))?;
    let headers = serde_json::from_str(headers.unwrap_or("[]")).map_err(|why| unreadable(why.to_string()))?;
    Ok(KeptAnswer { status, headers, body: body.unwrap_or_default() })
}
