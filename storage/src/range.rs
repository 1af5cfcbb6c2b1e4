//! Texts that begin alike lie side by side, so an index finds them without looking at others.

/// From where to where, the end not among them, the texts are that begin with `prefix`, in the order of their bytes.
pub(crate) fn range_of(prefix: &str) -> [String; 2] {
    [prefix.to_owned(), format!("{prefix}{}", char::MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_that_begins_so_and_no_other_is_in_the_range() {
        let [from, to] = range_of("sub_1%");
        let in_range = |text: &str| *from <= *text && *text < *to;
        assert!(["sub_1%", "sub_1%a", "sub_1%%", "sub_1%\u{1F980}"].into_iter().all(in_range));
        assert!(!["sub_1", "sub_1a", "sub_1$", "sub_1&", "sub_2", ""].into_iter().any(in_range));
    }
}
