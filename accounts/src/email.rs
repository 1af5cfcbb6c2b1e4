//! E-mail addresses as people write them.

use crate::error::AccountError;

const LONGEST: usize = 254;

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Email {
    /// As it was written, without spaces around it.
    pub(crate) written: String,
    /// As it is looked up: letters count alike in both sizes. Nothing else is made equal, since only its host knows what is.
    pub(crate) lower: String,
}

impl Email {
    /// Reads an address that came from outside.
    pub(crate) fn parse(text: &str) -> Result<Self, AccountError> {
        let text = text.trim();
        let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
        let one_at = text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'));
        if text.len() > LONGEST || !plain || !one_at {
            return Err(AccountError::InvalidEmail);
        }
        Ok(Self { written: text.to_owned(), lower: text.to_lowercase() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_as_written_and_looked_up_in_small_letters() {
        let email = Email::parse("  Ada@Example.COM ").unwrap();
        assert_eq!((email.written.as_str(), email.lower.as_str()), ("Ada@Example.COM", "ada@example.com"));
    }

    #[test]
    fn what_cannot_be_an_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(250));
        for bad in ["", "ada", "@example.com", "ada@", "a@b@c", "a da@example.com", "a\n@b", &long] {
            assert!(Email::parse(bad).is_err(), "{bad}");
        }
    }
}
