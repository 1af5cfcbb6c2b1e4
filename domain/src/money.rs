//! Amounts of money in words.

/// Currencies whose smallest unit is the currency itself.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Currencies of which a hundred smallest units make one. The króna and the Ugandan shilling have no cents any more,
/// yet the provider counts them in hundredths: 500 is 5 UGX.
const HUNDREDTHS: [&str; 127] = [
    "AED", "AFN", "ALL", "AMD", "ANG", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BMD",
    "BND", "BOB", "BRL", "BSD", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CNY", "COP", "CRC", "CVE", "CZK",
    "DKK", "DOP", "DZD", "EEK", "EGP", "ETB", "EUR", "FJD", "FKP", "GBP", "GEL", "GIP", "GMD", "GTQ", "GYD",
    "HKD", "HNL", "HRK", "HTG", "HUF", "IDR", "ILS", "INR", "ISK", "JMD", "KES", "KGS", "KHR", "KYD", "KZT",
    "LAK", "LBP", "LKR", "LRD", "LSL", "LTL", "LVL", "MAD", "MDL", "MKD", "MMK", "MNT", "MOP", "MRO", "MUR",
    "MVR", "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "PAB", "PEN", "PGK", "PHP",
    "PKR", "PLN", "QAR", "RON", "RSD", "RUB", "SAR", "SBD", "SCR", "SEK", "SGD", "SHP", "SLE", "SLL", "SOS",
    "SRD", "STD", "SVC", "SZL", "THB", "TJS", "TOP", "TRY", "TTD", "TWD", "TZS", "UAH", "UGX", "USD", "UYU",
    "UZS", "VEF", "WST", "XCD", "YER", "ZAR", "ZMW",
];

/// Currencies of which a thousand smallest units make one.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// An amount in the provider's smallest unit of a currency, as people write it, such as `25.00 USD`. Where the currency
/// is missing or unknown, the number is left as it is and says that it counts smallest units.
///
/// How many of them make one is the provider's word, which is not always ISO 4217's: <https://docs.stripe.com/currencies>,
/// "Zero-decimal currencies", "Three-decimal currencies" and "Special cases" (the króna and the Ugandan shilling).
pub fn amount(amount: i64, currency: Option<&str>) -> String {
    let Some(currency) = currency.filter(|currency| !currency.is_empty()) else {
        return format!("{amount} (smallest unit)");
    };
    let currency = currency.to_ascii_uppercase();
    let (sign, size) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
    let one_of = |currencies: &[&str]| currencies.contains(&currency.as_str());
    if one_of(&WHOLE) {
        format!("{amount} {currency}")
    } else if one_of(&HUNDREDTHS) {
        format!("{sign}{}.{:02} {currency}", size / 100, size % 100)
    } else if one_of(&THOUSANDTHS) {
        format!("{sign}{}.{:03} {currency}", size / 1_000, size % 1_000)
    } else {
        format!("{amount} {currency} (smallest unit)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn amounts_are_written_as_people_write_them() {
        let written = |smallest, currency| amount(smallest, Some(currency));
        assert_eq!(written(2_500, "usd"), "25.00 USD");
        assert_eq!(written(1_705, "EUR"), "17.05 EUR");
        assert_eq!(written(-5, "usd"), "-0.05 USD");
        assert_eq!(written(1_700, "jpy"), "1700 JPY");
        assert_eq!(written(-1_700, "jpy"), "-1700 JPY");
        assert_eq!(written(5_120, "kwd"), "5.120 KWD");
        assert_eq!(written(i64::MIN, "tnd"), "-9223372036854775.808 TND");
    }

    #[test]
    fn currencies_that_lost_their_cents_are_still_counted_in_them() {
        assert_eq!(amount(500, Some("isk")), "5.00 ISK");
        assert_eq!(amount(500, Some("ugx")), "5.00 UGX");
    }

    #[test]
    fn an_unknown_currency_says_that_it_counts_smallest_units() {
        assert_eq!(amount(2_500, Some("zzz")), "2500 ZZZ (smallest unit)");
        assert_eq!(amount(2_500, None), "2500 (smallest unit)");
        assert_eq!(amount(-2_500, Some("")), "-2500 (smallest unit)");
    }

    #[test]
    fn a_currency_has_one_number_of_smallest_units() {
        let all: Vec<_> = [&WHOLE[..], &HUNDREDTHS, &THOUSANDTHS].concat();
        let distinct: BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
