//! Codes of authenticator apps, and the backup codes for when the app is lost.

use chrono::{DateTime, Utc};
use domain::ports::StoreError;
use sha2::{Digest, Sha256};
use totp_rs::{Algorithm, Builder, Secret, Totp};

use crate::answers::Enrolment;
use crate::random::Random;
use crate::secrets::bytes;
use crate::store::{Hash, TotpRecord};

/// As long as the hash of the algorithm that every app knows.
pub(crate) const SECRET: usize = 20;
/// How many backup codes there are.
pub(crate) const BACKUP_CODES: usize = 10;
/// Letters and digits that are not taken for one another, 32 of them.
const ALPHABET: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// 120 bits: enough for a plain hash.
const LENGTH: usize = 24;
const GROUP: usize = 4;

/// The second factor with this secret: six digits, thirty seconds, one step early or late.
fn totp(secret: &[u8], account: &str, service: &str) -> Result<Totp, StoreError> {
    // A colon would end the name in the address that apps read.
    let plain = |text: &str| text.replace(':', " ");
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(30)
        .with_secret(Secret::new(secret.into()))
        .with_account_name(plain(account))
        .with_issuer(Some(plain(service)))
        .build()
        .map_err(|why| StoreError::Corrupt(format!("the secret of a second factor: {why}")))
}

/// What an app is given.
pub(crate) fn enrolment(secret: &[u8], account: &str, service: &str) -> Result<Enrolment, StoreError> {
    let totp = totp(secret, account, service)?;
    let url = totp.to_url().map_err(|why| StoreError::Corrupt(why.to_string()))?;
    Ok(Enrolment { secret: totp.secret().to_base32(), url })
}

/// The step a code belongs to, if it is right now and later than any that was used.
pub(crate) fn step(record: &TotpRecord, code: &str, now: DateTime<Utc>) -> Result<Option<i64>, StoreError> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let plain = code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit());
    let Some(seconds) = u64::try_from(now.timestamp()).ok().filter(|_| plain) else { return Ok(None) };
    let step = totp(&record.secret, "account", "service")?.check(&code, seconds);
    let step = step.and_then(|step| i64::try_from(step).ok());
    Ok(step.filter(|step| *step > record.last_step))
}

/// New backup codes, as they are shown, and what is kept of them.
pub(crate) fn backup_codes(random: &dyn Random) -> Result<(Vec<String>, Vec<Hash>), StoreError> {
    let mut codes = Vec::with_capacity(BACKUP_CODES);
    for _ in 0..BACKUP_CODES {
        let code: Vec<u8> =
            bytes::<LENGTH>(random)?.iter().map(|byte| ALPHABET[usize::from(byte % 32)]).collect();
        let groups: Vec<String> =
            code.chunks(GROUP).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
        codes.push(groups.join("-"));
    }
    let hashes = codes.iter().filter_map(|code| backup_code(code)).collect();
    Ok((codes, hashes))
}

/// What is kept of a backup code, however it was typed; none where it cannot be one.
pub(crate) fn backup_code(typed: &str) -> Option<Hash> {
    let plain: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').take(LENGTH + 1).collect();
    (plain.len() == LENGTH).then(|| Sha256::digest(plain.to_ascii_lowercase()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn record(last_step: i64) -> TotpRecord {
        TotpRecord { secret: b"12345678901234567890".to_vec(), confirmed: true, last_step }
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // RFC 6238, appendix B, the last six digits.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step(&record(0), code, at(seconds)).unwrap(), Some(seconds / 30), "{seconds}");
        }
        assert_eq!(step(&record(0), " 287 082 ", at(59)).unwrap(), Some(1));
    }

    #[test]
    fn a_code_counts_one_step_early_or_late_and_not_two() {
        let step = |seconds| step(&record(0), "081804", at(seconds)).unwrap();
        let its = 1_111_111_109 / 30 * 30;
        assert!(step(its - 30).is_some() && step(its + 59).is_some());
        assert!(step(its - 31).is_none() && step(its + 60).is_none());
    }

    #[test]
    fn a_code_that_was_used_and_those_before_it_count_no_more() {
        assert_eq!(step(&record(0), "287082", at(59)).unwrap(), Some(1));
        assert_eq!(step(&record(1), "287082", at(59)).unwrap(), None);
    }

    #[test]
    fn what_is_no_code_is_wrong() {
        for bad in ["", "28708", "2870822", "28708x", "٢٨٧٠٨٢", "-87082"] {
            assert_eq!(step(&record(0), bad, at(59)).unwrap(), None, "{bad}");
        }
    }

    #[test]
    fn backup_codes_are_read_however_they_are_typed() {
        let (codes, hashes) = backup_codes(&SystemRandom).unwrap();
        assert_eq!((codes.len(), hashes.len()), (BACKUP_CODES, BACKUP_CODES));
        let typed = codes[3].to_uppercase().replace('-', " ");
        assert_eq!(backup_code(&typed), Some(hashes[3]));
        assert_eq!(backup_code("abcd"), None);
        assert_eq!(backup_code(&"a".repeat(100_000)), None);
    }

    #[test]
    fn an_app_is_given_who_it_is_for() {
        let enrolment = enrolment(&[7; SECRET], "ada@example.com", "Member: ship").unwrap();
        assert_eq!(enrolment.secret.len(), 32);
        assert!(
            enrolment.url.starts_with("otpauth://totp/Member%20%20ship:ada%40example.com?"),
            "{}",
            enrolment.url
        );
        assert!(enrolment.url.contains(&enrolment.secret), "{}", enrolment.url);
    }
}
