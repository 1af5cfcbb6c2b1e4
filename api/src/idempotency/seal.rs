//! Answers hold what their callers were told, e-mail addresses too. Sealed, they say nothing to whoever reads the database.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;

/// What an answer is sealed with; made of the key that the caller chose, so it is gone with the request.
pub(super) struct Seal(pub(super) [u8; 32]);

impl Seal {
    /// The body sealed, its nonce at the end.
    pub(super) fn close(&self, mut body: Vec<u8>) -> Result<Vec<u8>, Unspecified> {
        let nonce = self.key()?.seal_in_place_append_tag(Aad::empty(), &mut body)?;
        body.extend_from_slice(nonce.as_ref());
        Ok(body)
    }

    /// The body of an answer that was sealed with the same.
    pub(super) fn open(&self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Unspecified> {
        let end = sealed.len().checked_sub(NONCE_LEN).ok_or(Unspecified)?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed.split_off(end))?;
        let length = self.key()?.open_in_place(nonce, Aad::empty(), &mut sealed)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }

    fn key(&self) -> Result<RandomizedNonceKey, Unspecified> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_seal_opens_what_it_closed() {
        let sealed = Seal([1; 32]).close(b"ada@example.com".to_vec()).unwrap();
        assert_eq!(Seal([1; 32]).open(sealed.clone()).unwrap(), b"ada@example.com");
        assert!(Seal([2; 32]).open(sealed.clone()).is_err());
        let (mut changed, mut short) = (sealed.clone(), sealed);
        changed[0] ^= 1;
        short.truncate(NONCE_LEN - 1);
        assert!(Seal([1; 32]).open(changed).is_err() && Seal([1; 32]).open(short).is_err());
    }
}
