//! Names as they are looked for: in small letters, without accents, word by word. Made here and not by a database, so that every
//! database finds alike.

use std::collections::HashSet;

use domain::ports::PayerRecord;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// So many words of a name count, which is more than names have.
pub(crate) const MOST_WORDS: usize = 12;
/// A word counts so far.
const LONGEST: usize = 64;

/// The words of a name, or of what somebody types to find one; each once.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut plain = String::new();
    for letter in text.nfkd().flat_map(char::to_lowercase).nfkd() {
        // Some letters are no plain one with a sign beside it, and are typed otherwise by whoever has no such key. What stands
        // within a word does not part it.
        match letter {
            'ß' => plain.push_str("ss"),
            'æ' => plain.push_str("ae"),
            'œ' => plain.push_str("oe"),
            'ø' => plain.push('o'),
            'ł' => plain.push('l'),
            'đ' | 'ð' => plain.push('d'),
            'þ' => plain.push_str("th"),
            'ı' => plain.push('i'),
            '\'' | '’' | 'ʼ' | '`' => {}
            letter if is_combining_mark(letter) => {}
            letter => plain.push(letter),
        }
    }
    let mut words: Vec<String> = Vec::new();
    for word in plain.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word: String = word.chars().take(LONGEST).collect();
        if words.len() < MOST_WORDS && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Several words of one name may begin alike.
pub(crate) fn each_once(mut found: Vec<PayerRecord>, limit: usize) -> Vec<PayerRecord> {
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert(found.customer.clone()));
    found.truncate(limit);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_alike_however_they_are_written_and_accented() {
        for (text, found) in [
            ("Ada Lovelace", &["ada", "lovelace"][..]),
            ("  ÉMILIE   du Châtelet ", &["emilie", "du", "chatelet"]),
            ("E\u{301}milie", &["emilie"]),
            ("Jean-Luc O'Hara", &["jean", "luc", "ohara"]),
            ("Søren Łukasz Groß İpek", &["soren", "lukasz", "gross", "ipek"]),
            ("山田 太郎", &["山田", "太郎"]),
            ("Anna Anna", &["anna"]),
            ("% _ *", &[]),
            ("", &[]),
        ] {
            assert_eq!(words(text), found, "{text}");
        }
    }

    #[test]
    fn nobody_makes_a_name_endless() {
        let endless: Vec<String> = (0..99).map(|number| format!("n{number}{} ", "x".repeat(99))).collect();
        let words = words(&endless.concat());
        assert_eq!(words.len(), MOST_WORDS);
        assert!(words.iter().all(|word| word.chars().count() == LONGEST));
    }
}
