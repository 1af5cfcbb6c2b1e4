//! Stripe's test cards, and what each does.

use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// What happens when a method of payment is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Behaviour {
    Succeeds,
    Declines,
    /// Attaching it and a first payment in the customer's presence succeed; everything later is declined.
    DeclinesLater,
    /// The bank wants the customer once, when the card is set up.
    AuthenticateOnce,
    /// The bank wants the customer at every payment.
    AuthenticateAlways,
    /// Succeeds, and is disputed at once.
    Disputed,
    /// Succeeds, and the bank asks about it at once.
    Inquired,
    /// Succeeds, and a refund of it fails.
    RefundFails,
    /// A bank debit: known to have succeeded days later.
    DebitSucceeds,
    /// A bank debit that turns out to have failed.
    DebitFails,
}

/// A card or a bank account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) brand: String,
    pub(crate) last4: String,
    pub(crate) behaviour: Behaviour,
    pub(crate) code: Option<String>,
    pub(crate) exp_month: u32,
    pub(crate) exp_year: i32,
}

impl Card {
    pub(crate) fn is_debit(&self) -> bool {
        matches!(self.behaviour, Behaviour::DebitSucceeds | Behaviour::DebitFails)
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_debit() { "sepa_debit" } else { "card" }
    }

    pub(crate) fn decline(&self) -> Decline {
        Decline::of(self.code.as_deref().unwrap_or("generic_decline"))
    }

    /// Reads a card number or an IBAN.
    pub(crate) fn read(number: &str) -> Result<Self, ApiError> {
        let number: String = number.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
        if number.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Self::iban(&number.to_ascii_uppercase());
        }
        if !(13..=19).contains(&number.len()) || !luhn(&number) {
            return Err(ApiError::card(&Decline::of("incorrect_number")).at("number"));
        }
        let (behaviour, code) = match number.as_str() {
            "4000000000000002" => (Behaviour::Declines, "generic_decline"),
            "4000000000009995" => (Behaviour::Declines, "insufficient_funds"),
            "4000000000000069" => (Behaviour::Declines, "expired_card"),
            "4000000000000341" => (Behaviour::DeclinesLater, "generic_decline"),
            "4000002500003155" => (Behaviour::AuthenticateOnce, "authentication_required"),
            "4000002760003184" | "4000000000003220" => {
                (Behaviour::AuthenticateAlways, "authentication_required")
            }
            "4000000000000259" => (Behaviour::Disputed, ""),
            "4000000000001976" => (Behaviour::Inquired, ""),
            "4000000000005126" => (Behaviour::RefundFails, ""),
            _ => (Behaviour::Succeeds, ""),
        };
        let brand = match number.as_bytes().first() {
            Some(b'3') => "amex",
            Some(b'5') => "mastercard",
            Some(b'6') => "discover",
            _ => "visa",
        };
        Ok(Self::new(brand, &number, behaviour, code))
    }

    fn iban(number: &str) -> Result<Self, ApiError> {
        if !(15..=34).contains(&number.len()) || !number.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(ApiError::invalid("The IBAN is not valid.").coded("invalid_bank_account_iban"));
        }
        let fails = number == "DE62370400440532013001";
        let behaviour = if fails { Behaviour::DebitFails } else { Behaviour::DebitSucceeds };
        Ok(Self::new("sepa_debit", number, behaviour, if fails { "debit_not_authorized" } else { "" }))
    }

    fn new(brand: &str, number: &str, behaviour: Behaviour, code: &str) -> Self {
        Self {
            brand: brand.to_owned(),
            last4: number.chars().skip(number.len().saturating_sub(4)).collect(),
            behaviour,
            code: Some(code).filter(|code| !code.is_empty()).map(str::to_owned),
            exp_month: 12,
            exp_year: 2034,
        }
    }

    /// Stripe's ready-made methods and tokens: `pm_card_visa`, `tok_visa` and the like.
    pub(crate) fn ready_made(name: &str) -> Option<Self> {
        let number = match name.strip_prefix("pm_card_").or_else(|| name.strip_prefix("tok_"))? {
            "visa" => "4242424242424242",
            "mastercard" => "5555555555554444",
            "amex" => "378282246310005",
            "chargeDeclined" | "visa_chargeDeclined" => "4000000000000002",
            "chargeDeclinedInsufficientFunds" => "4000000000009995",
            "chargeCustomerFail" => "4000000000000341",
            "authenticationRequiredOnSetup" => "4000002500003155",
            "authenticationRequired" => "4000002760003184",
            "createDispute" => "4000000000000259",
            "createDisputeInquiry" => "4000000000001976",
            "refundFail" => "4000000000005126",
            _ => return None,
        };
        Self::read(number).ok()
    }
}

fn luhn(number: &str) -> bool {
    let sum = number.chars().rev().enumerate().try_fold(0, |sum, (place, digit)| {
        let digit = digit.to_digit(10)?;
        let doubled = digit * (1 + u32::from(place % 2 == 1));
        Some(sum + doubled / 10 + doubled % 10)
    });
    sum.is_some_and(|sum| sum % 10 == 0)
}

/// Why a bank said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Decline {
    pub(crate) code: String,
    /// The bank's own reason.
    pub(crate) reason: Option<String>,
    pub(crate) message: String,
}

impl Decline {
    /// The error for one of Stripe's decline codes.
    pub(crate) fn of(reason: &str) -> Self {
        let (code, message) = match reason {
            "expired_card" => ("expired_card", "Your card has expired."),
            "insufficient_funds" => ("card_declined", "Your card has insufficient funds."),
            "incorrect_number" => ("incorrect_number", "Your card number is incorrect."),
            "authentication_required" => (
                "authentication_required",
                "Your card was declined. This transaction requires authentication.",
            ),
            "authentication_failed" => (
                "payment_intent_authentication_failure",
                "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
            ),
            "debit_not_authorized" => (
                "payment_intent_payment_attempt_failed",
                "The customer has told the bank that the debit was not authorized.",
            ),
            "no_payment_method" => (
                "resource_missing",
                "This customer has no attached payment source or default payment method.",
            ),
            _ => ("card_declined", "Your card was declined."),
        };
        let bank = (code == "card_declined" || code == reason).then(|| reason.to_owned());
        Self { code: code.to_owned(), reason: bank, message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_number_is_refused() {
        assert!(Card::read("4242 4242 4242 4242").is_ok());
        assert_eq!(Card::read("4242424242424241").unwrap_err().code.as_deref(), Some("incorrect_number"));
        assert!(Card::read("").is_err());
    }

    #[test]
    fn a_bank_account_is_a_debit() {
        let card = Card::read("DE89 3704 0044 0532 0130 00").unwrap();
        assert_eq!((card.kind(), card.last4.as_str()), ("sepa_debit", "3000"));
    }
}
