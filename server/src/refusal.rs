//! Answers to what never becomes a request: connections that find no room, and heads that hyper cannot read, to which it
//! answers with a bare status.

use axum::http::StatusCode;
use serde_json::json;

use crate::app::random;

/// An id for what never became a request.
pub(crate) fn request_id() -> String {
    let number = random().iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    format!("req_{number:020x}")
}

/// What a client that finds no room is told.
pub(crate) fn no_room() -> Vec<u8> {
    let detail = "The service has as many connections as it can keep; ask again shortly.";
    problem(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", "Too many connections", detail)
}

/// The problem to answer instead of hyper's bare refusal, if `written` is one. No other answer of 4xx is without a body.
pub(crate) fn instead_of(written: &[u8]) -> Option<Vec<u8>> {
    let status = written.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let has = |text: &[u8]| written.windows(text.len()).any(|part| part == text);
    if !status.starts_with(b"4") || !written.ends_with(b"\r\n\r\n") || has(b"content-type:") {
        return None;
    }
    let status = StatusCode::from_bytes(status).ok()?;
    let (code, title, detail) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
            "head_too_large",
            "Head too large",
            "The address and the headers together are too large; send less.",
        ),
        StatusCode::URI_TOO_LONG => {
            ("uri_too_long", "Address too long", "The address is too long; shorten it.")
        }
        _ => ("malformed_request", "Malformed request", "This is not a well-formed HTTP/1.1 request."),
    };
    Some(problem(status, code, title, detail))
}

fn problem(status: StatusCode, code: &str, title: &str, detail: &str) -> Vec<u8> {
    let id = request_id();
    let body = json!({
        "type": format!("urn:membership:problem:{code}"), "title": title, "status": status.as_u16(),
        "detail": detail, "code": code, "request_id": id,
    })
    .to_string();
    let retry = if status == StatusCode::SERVICE_UNAVAILABLE { "retry-after: 1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n{retry}x-request-id: {id}\r\n\
         membership-position: p-0\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_refusal_is_replaced() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let told = String::from_utf8(instead_of(bare).unwrap()).unwrap();
        assert!(told.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{told}");
        assert!(told.contains("\"code\":\"head_too_large\""), "{told}");
        for other in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: 9\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(instead_of(other), None);
        }
    }
}
