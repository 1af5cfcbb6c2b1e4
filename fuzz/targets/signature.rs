//! The `Stripe-Signature` header, against a second reading of Stripe's rule that shares no code with the first.
#![no_main]

use arbitrary::Arbitrary;
use chrono::DateTime;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use webhook_ingest::stripe::signature::{BadSignature, Secrets, sign, verify};

const NOW: i64 = 1_700_000_000;
const BLOCK: usize = 64;

/// A header in pieces, so that genuine ones come about.
#[derive(Arbitrary, Debug)]
enum Piece {
    Time { age: i16 },
    AnyTime(String),
    Genuine { second: bool, age: i16, upper_case: bool },
    Hex(Vec<u8>),
    Text(String),
    Pair { key: String, value: String },
    Empty,
}

#[derive(Arbitrary, Debug)]
struct Input {
    body: Vec<u8>,
    pieces: Vec<Piece>,
    spaced: bool,
}

const SECRETS: [&str; 2] =
    ["whsec_one", "whsec_a_longer_one_that_does_not_fit_into_a_block_of_the_hash_and_is_hashed_itself"];

/// HMAC as RFC 2104 writes it.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36), message].concat());
    Sha256::digest([&block.map(|byte| byte ^ 0x5c), inner.as_slice()].concat()).to_vec()
}

/// Stripe's rule, read backwards: what would have to be in the header is computed, then looked for.
fn reference(header: &str, body: &[u8]) -> Result<Vec<usize>, BadSignature> {
    let entries: Vec<&str> = header.split(',').map(str::trim).collect();
    let values = |scheme: &str| -> Vec<String> {
        entries
            .iter()
            .filter_map(|entry| entry.strip_prefix(scheme)?.strip_prefix('=').map(str::to_owned))
            .collect()
    };
    let Some(time) = values("t").into_iter().next() else { return Err(BadSignature::Malformed) };
    let Ok(signed_at) = time.parse::<i64>() else { return Err(BadSignature::Malformed) };
    let is_hex = |text: &String| text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let given: Vec<String> =
        values("v1").into_iter().filter(is_hex).map(|text| text.to_ascii_lowercase()).collect();
    if given.is_empty() {
        return Err(BadSignature::Malformed);
    }
    let message = [time.as_bytes(), b".", body].concat();
    let wanted = SECRETS.map(|secret| hex::encode(hmac(secret.as_bytes(), &message)));
    let signers: Vec<usize> =
        (1..).zip(&wanted).filter(|(_, wanted)| given.contains(wanted)).map(|(place, _)| place).collect();
    if signers.is_empty() {
        return Err(BadSignature::NoMatch);
    }
    if i128::from(NOW) - i128::from(signed_at) > 300 { Err(BadSignature::TooOld) } else { Ok(signers) }
}

fn write(input: &Input) -> String {
    let genuine = |second: bool, age: i16| {
        let at = DateTime::from_timestamp(NOW - i64::from(age), 0).expect("near now");
        sign(SECRETS[usize::from(second)], &input.body, at)
    };
    let piece = |piece: &Piece| match piece {
        Piece::Time { age } => format!("t={}", NOW - i64::from(*age)),
        Piece::AnyTime(text) => format!("t={text}"),
        Piece::Genuine { second, age, upper_case } => {
            let header = genuine(*second, *age);
            let (time, signature) = header.split_once(",v1=").expect("both are there");
            let signature = if *upper_case { signature.to_ascii_uppercase() } else { signature.to_owned() };
            format!("{time},v1={signature}")
        }
        Piece::Hex(bytes) => format!("v1={}", hex::encode(bytes)),
        Piece::Text(text) => format!("v1={text}"),
        Piece::Pair { key, value } => format!("{key}={value}"),
        Piece::Empty => String::new(),
    };
    let pieces: Vec<String> = input.pieces.iter().map(piece).collect();
    pieces.join(if input.spaced { ", " } else { "," })
}

fuzz_target!(|input: Input| {
    let header = write(&input);
    let secrets = Secrets::parse(&SECRETS.join(",")).expect("they are secrets");
    let now = DateTime::from_timestamp(NOW, 0).expect("a moment");
    assert_eq!(verify(&secrets, &header, &input.body, now), reference(&header, &input.body), "{header:?}");
});
